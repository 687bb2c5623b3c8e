package lane

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

// Every reason is counted as itself where it is among the labels, and as another
// where it isn't: the labels are bounded.
func TestDeadLettersAreCountedByReason(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry(), chat.StageBot, []string{"endpoint_removed"})
	for reason, label := range map[string]string{
		ReasonExhausted: ReasonExhausted, ReasonPoison: ReasonPoison, ReasonSkipped: ReasonSkipped, "endpoint_removed": "endpoint_removed",
		"never heard of": reasonOther,
	} {
		require.Zero(t, testutil.ToFloat64(m.dead[label]), reason)
		m.died(reason)
		require.EqualValues(t, 1, testutil.ToFloat64(m.dead[label]), reason)
	}
	require.NotContains(t, m.dead, "never heard of")
}
