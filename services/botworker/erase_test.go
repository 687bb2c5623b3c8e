package botworker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/topology"
)

// eraseUpTo erases a conversation, as its lane's owner does.
func (r *rig) eraseUpTo(conversation string, m *lane.Message) {
	r.t.Helper()
	id := lane.ID{Group: channel, Key: chat.KeyOf(channel, conversation)}
	require.NoError(r.t, r.h.erased(r.t.Context(), id, chat.Ordinal{Counter: m.Seq, InputAt: m.Time.UnixMilli()}))
}

// TestErasedConversationBeginsAnew: the bot gets nothing of the former one, not
// even from this worker's memory, and the epoch is above it, whatever the clocks.
func TestErasedConversationBeginsAnew(t *testing.T) {
	for name, restarted := range map[string]bool{"the same worker": false, "another": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			secret := func(um *chat.UserMessage) {
				um.SessionData, um.User, um.Locale = []byte(`{"card":"4111"}`), []byte(`{"firstName":"Ada"}`), "nl"
			}
			one := r.said("c1", "my card", secret)
			require.Equal(t, "done", r.handle(one))
			require.Equal(t, "done", r.handle(r.ordered("c1", `{"pauseBot":true}`)))
			key := chat.KeyOf(channel, "c1")
			rec, revision, err := r.sessions.Load(t.Context(), key)
			require.NoError(t, err)
			before := *rec
			ahead := uint64(time.Now().Add(time.Hour).UnixMilli()) // as if the clocks had stepped back since
			rec.Epoch = ahead
			_, err = r.sessions.Save(t.Context(), key, rec, revision)
			require.NoError(t, err)
			r.faults.take(t)

			r.eraseUpTo("c1", one)
			left := r.session("c1")
			require.True(t, left.Erased())
			require.Equal(t, chat.Session{
				Epoch: ahead, Counter: before.Counter, LastInputSeq: before.LastInputSeq, LastInputAt: before.LastInputAt, LastInputID: before.LastInputID,
			}, *left, "nothing that was said, and nobody's name")
			if restarted {
				r.restart()
			}
			runs := r.bot.runs()
			require.Equal(t, "done", r.handle(one), "it was settled before")
			data, _ := r.faults.take(t)
			require.Empty(t, data)
			require.Equal(t, runs, r.bot.runs())

			require.Equal(t, "done", r.handle(r.said("c1", "hello")))
			_, got := r.faults.take(t)
			require.Equal(t, []string{"1: hello", "2: hello"}, texts(t, got))
			require.Equal(t, ahead+1, got[0].Ordinal.Epoch)
			require.EqualValues(t, 1, got[0].Ordinal.Counter)
			last := chat.Ordinal{Epoch: ahead, Counter: before.Counter, InputAt: before.LastInputAt}
			require.False(t, last.Covers(got[0].Ordinal), "no mark of the former conversation takes it for old")
			turn := r.bot.last()
			require.True(t, turn.First)
			require.Zero(t, turn.Counter)
			require.Empty(t, turn.Session.Variables)
			require.Empty(t, turn.Session.User)
			require.Empty(t, turn.Session.Locale)
			require.Equal(t, "done", r.handle(r.said("c1", "and on")))
			require.EqualValues(t, 4, r.session("c1").Counter)
			require.Equal(t, ahead+1, r.session("c1").Epoch)
		})
	}
}

// TestErasedInputsAreSettled: what was erased and is delivered again has no turn,
// though the conversation never had a session.
func TestErasedInputsAreSettled(t *testing.T) {
	r := newRig(t)
	one, two := r.said("c1", "one"), r.said("c1", "two")
	r.eraseUpTo("c1", one)
	require.Equal(t, "done", r.handle(one))
	require.Zero(t, r.bot.runs())
	require.Equal(t, "done", r.handle(two))
	require.Equal(t, 1, r.bot.runs())
	require.Equal(t, "two", textOf(r.bot.last().Input))
}

// TestEraseDropsTheOutbox: what did not leave before is not sent after.
func TestEraseDropsTheOutbox(t *testing.T) {
	r := newRig(t)
	r.faults.publish = func(int) error { return broker.ErrUnavailable }
	one := r.said("c1", "one")
	require.Contains(t, r.handle(one), "stall: ")
	r.faults.publish = nil
	r.faults.take(t)
	r.eraseUpTo("c1", one)
	require.Equal(t, "done", r.handle(one))
	require.Equal(t, "done", r.handle(r.said("c1", "two")))
	_, got := r.faults.take(t)
	require.Equal(t, []string{"1: two", "2: two"}, texts(t, got))
}

// TestEraseOfAnUnreadableSession: the next is above it, as if it were lost.
func TestEraseOfAnUnreadableSession(t *testing.T) {
	r := newRig(t)
	one := r.said("c1", "one")
	require.Equal(t, "done", r.handle(one))
	before := r.session("c1").Epoch
	key := chat.KeyOf(channel, "c1")
	_, err := r.conn.Publish(t.Context(), broker.Message{
		Subject: topology.SessionSubject(key.Partition(r.h.Partitions), key), Data: []byte("\xff\xff"),
	})
	require.NoError(t, err)
	r.eraseUpTo("c1", one)
	require.GreaterOrEqual(t, r.session("c1").Epoch, before)
	require.Equal(t, "done", r.handle(r.said("c1", "two")))
	require.Greater(t, r.session("c1").Epoch, before)
}

// TestEraseIsFenced: a worker that has lost the conversation erases nothing.
func TestEraseIsFenced(t *testing.T) {
	r := newRig(t)
	require.Equal(t, "done", r.handle(r.said("c1", "one")))
	r.faults.save = func() error { return broker.ErrConflict }
	id := lane.ID{Group: channel, Key: chat.KeyOf(channel, "c1")}
	require.ErrorIs(t, r.h.erased(t.Context(), id, chat.Ordinal{}), broker.ErrConflict)
	require.False(t, r.session("c1").Erased())
}

// TestDiscardedIsNotJournalled: that would be what was just erased.
func TestDiscardedIsNotJournalled(t *testing.T) {
	r := newRig(t)
	r.h.Ended(r.task(r.said("c1", "one")), nil, chat.OutcomeDiscarded)
	require.Empty(t, r.journal.turns)
	require.Empty(t, r.events.events)
}
