package deliveryworker

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
)

// TestDiscarded: it is counted, and in no journal.
func TestDiscarded(t *testing.T) {
	r := newRig(t)
	r.endpoint("a", "https://example.com/a")
	m := r.message("c1", 1)
	r.h.Ended(r.task(m, "a", 1), nil, chat.OutcomeDiscarded)
	require.EqualValues(t, 1, testutil.ToFloat64(r.h.metrics.outcomes[chat.OutcomeDiscarded]))
	require.Empty(t, r.journal.with(chat.OutcomeDiscarded))
}

// unwritten is a journal that can't be written.
type unwritten struct{ Journal }

var errUnwritten = errors.New("it is full")

func (unwritten) Flush(context.Context) error { return errUnwritten }

// TestErasedOnceTheJournalIsWritten: else the journal would have it afterwards.
func TestErasedOnceTheJournalIsWritten(t *testing.T) {
	r := newRig(t)
	id := lane.ID{Group: "a", Key: chat.KeyOf(channel, "c1")}
	require.NoError(t, r.h.erased(t.Context(), id, chat.Ordinal{}))
	r.h.Journal = unwritten{r.h.Journal}
	require.ErrorIs(t, r.h.erased(t.Context(), id, chat.Ordinal{}), errUnwritten)
}
