package lane_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/lane"
)

func TestVerdictInWords(t *testing.T) {
	err := errors.New("no answer")
	for want, v := range map[string]lane.Verdict{
		"retry after 0s: <nil>":     {},
		"retry after 2s: no answer": lane.Retry(2*time.Second, err),
		"done":                      lane.Done().With(lane.Detail{Status: 200}),
		"expired":                   lane.Expired(),
		"dead, gone: no answer":     lane.Dead("gone", err),
		"stall: no answer":          lane.Stall(err),
	} {
		require.Equal(t, want, v.String())
	}
}
