package lane_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/topology"
)

// long is how long these tests wait for an owner: as long as it takes.
const long = 30 * time.Second

func (r *rig) waiting() *lane.Waiting {
	return lane.NewWaiting(r.conn, brokertest.Layout.Partitions)
}

func idOf(endpoint, conv string) lane.ID {
	return lane.ID{Group: endpoint, Key: chat.KeyOf("c", conv)}
}

// command has a command carried out.
func (r *rig) command(endpoint, conv string, action lane.Action) {
	r.t.Helper()
	got, err := r.waiting().Command(r.t.Context(), chat.StageBot, idOf(endpoint, conv), action, "ada", long)
	require.NoError(r.t, err)
	require.Equal(r.t, lane.Commanded{Lanes: 1, Done: 1}, got)
}

// reasons are those of the dead letters, by place.
func (r *rig) reasons() map[uint64]string {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	out := map[uint64]string{}
	for _, l := range r.memory.letters {
		out[l.Counter] = l.Reason
	}
	return out
}

// failing makes the attempts of an endpoint fail until the returned function is
// called.
func (r *rig) failing(endpoint string) (mend func()) {
	var mu sync.Mutex
	broken := true
	r.handler.script[endpoint] = func(*lane.Task) lane.Verdict {
		mu.Lock()
		defer mu.Unlock()
		if broken {
			return lane.Retry(0, errors.New("no"))
		}
		return lane.Done()
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		broken = false
	}
}

// TestRetryNow: the head gets its attempt at once, wherever it waits.
func TestRetryNow(t *testing.T) {
	for name, policy := range map[string]lane.Policy{
		"waits for its next attempt": {Schedule: retry.Schedule{time.Hour}},
		"is held":                    {Schedule: quick[:1], Hold: true},
	} {
		t.Run(name, func(t *testing.T) {
			withEachSource(t, func(r *rig) {
				mend := r.failing("e")
				r.handler.policy["e"] = policy
				r.start()
				for i := range 3 {
					r.publish("e", "a", i+1)
				}
				tries := 1 // then it waits
				if policy.Hold {
					tries = 2
				}
				r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeRetry] == tries })
				r.awaitParked("e", "a", 3)

				if policy.Hold { // still no use: held as before, after one attempt more
					r.command("e", "a", lane.RetryNow)
					r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeRetry] == tries+1 })
				}
				mend()
				r.command("e", "a", lane.RetryNow)
				r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 3 })
				require.Equal(r.t, upTo(3), r.handler.seen["e a"])
				require.Empty(r.t, r.memory.letters)
				r.requireEmpty()
			})
		})
	}
}

func TestSkipAndDiscard(t *testing.T) {
	withEachSource(t, func(r *rig) {
		mend := r.failing("e")
		r.handler.policy["e"] = lane.Policy{Schedule: quick[:1], Hold: true}
		r.start()
		for i := range 4 {
			r.publish("e", "a", i+1)
		}
		for place := range 2 {
			r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeRetry] == 2*(place+1) })
			r.awaitParked("e", "a", uint64(4-place))
			r.command("e", "a", lane.Skip)
		}
		skipped := map[uint64]string{1: lane.ReasonSkipped, 2: lane.ReasonSkipped}
		require.Equal(r.t, skipped, r.reasons(), "the head alone, each time")
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeRetry] == 6 })
		r.command("e", "a", lane.Discard)
		require.Equal(r.t, map[uint64]string{1: lane.ReasonSkipped, 2: lane.ReasonSkipped, 3: lane.ReasonDiscarded, 4: lane.ReasonDiscarded}, r.reasons())
		mend()
		r.publish("e", "a", 5)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 1 })
		require.Equal(r.t, []uint64{5}, r.handler.seen["e a"], "what comes later is not meant")
		_, err := r.waiting().Command(r.t.Context(), chat.StageBot, idOf("e", "a"), lane.Skip, "ada", long)
		require.ErrorIs(r.t, err, lane.ErrNotParked)
		r.requireEmpty()
	})
}

// TestCommandWhileClosed: the operator's hand reaches lanes that are paused.
func TestCommandWhileClosed(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.handler.policy["e"] = lane.Policy{Schedule: quick, Closed: "paused"}
		r.start()
		for i := range 3 {
			r.publish("e", "a", i+1)
		}
		r.awaitParked("e", "a", 3)
		r.command("e", "a", lane.RetryNow)
		require.Zero(r.t, r.handler.tries["e a"], "paused is paused")
		r.command("e", "a", lane.Skip)
		require.Equal(r.t, map[uint64]string{1: lane.ReasonSkipped}, r.reasons())
		r.command("e", "a", lane.Discard)
		require.Len(r.t, r.reasons(), 3)
		r.requireEmpty()
	})
}

// TestCommandWithoutAnOwner: it waits for the next one, and a lane takes one at
// a time. Carried out again by another owner it does nothing more.
func TestCommandWithoutAnOwner(t *testing.T) {
	withEachSource(t, func(r *rig) {
		mend := r.failing("e")
		r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Hour}}
		r.start()
		for i := range 3 {
			r.publish("e", "a", i+1)
		}
		r.awaitParked("e", "a", 3)
		r.stop()
		got, err := r.waiting().Command(r.t.Context(), chat.StageBot, idOf("e", "a"), lane.Skip, "ada", time.Millisecond)
		require.NoError(r.t, err)
		require.Equal(r.t, lane.Commanded{Lanes: 1}, got)
		_, err = r.waiting().Command(r.t.Context(), chat.StageBot, idOf("e", "a"), lane.Discard, "ada", time.Millisecond)
		require.ErrorIs(r.t, err, lane.ErrBusy)
		p, err := r.waiting().Get(r.t.Context(), chat.StageBot, idOf("e", "a"))
		require.NoError(r.t, err)
		require.Equal(r.t, lane.Skip, p.Command.Action)
		require.Equal(r.t, "ada", p.Command.By)
		mend()
		r.refuseDone = true
		r.start()
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2 })
		r.stop()
		r.handler.policy["e"] = lane.Policy{Schedule: quick, Closed: "paused"}
		r.refuseDone = false
		r.start()
		r.publish("e", "a", 4)
		require.Eventually(r.t, func() bool { return r.commands() == 0 }, long, 5*time.Millisecond)
		r.handler.setPolicy("e", lane.Policy{Schedule: quick})
		r.engine.Wake("e")
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 3 })
		require.Equal(r.t, []uint64{2, 3, 4}, r.handler.seen["e a"])
		require.Equal(r.t, map[uint64]string{1: lane.ReasonSkipped}, r.reasons())
		r.requireEmpty()
	})
}

// TestCommandOutlastsARefusedDeadLetter: it is done when the letter is stored.
func TestCommandOutlastsARefusedDeadLetter(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.failing("e")
		r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Hour}}
		r.memory.full = true
		r.start()
		r.publish("e", "a", 1)
		r.awaitParked("e", "a", 1)
		got, err := r.waiting().Command(r.t.Context(), chat.StageBot, idOf("e", "a"), lane.Skip, "ada", 100*time.Millisecond)
		require.NoError(r.t, err)
		require.Zero(r.t, got.Done)
		r.memory.mu.Lock()
		r.memory.full = false
		r.memory.mu.Unlock()
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDead] == 1 })
		require.Equal(r.t, map[uint64]string{1: lane.ReasonSkipped}, r.reasons())
		require.Eventually(r.t, func() bool { return r.commands() == 0 }, long, 5*time.Millisecond)
		r.requireEmpty()
	})
}

func TestCommandAllAndList(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.failing("e")
		r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Hour}}
		r.handler.policy["f"] = lane.Policy{Schedule: retry.Schedule{time.Hour}, Closed: "paused"}
		r.start()
		convs := []string{"a", "b", "c", "d", "g"}
		for _, conv := range convs {
			r.publish("e", conv, 1)
			r.publish("e,f", conv, 2)
		}
		for _, conv := range convs {
			r.awaitParked("e", conv, 2)
			r.awaitParked("f", conv, 1)
		}
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeRetry] == len(convs) })

		var names []string
		after := ""
		for {
			page, next, err := r.waiting().List(r.t.Context(), lane.Filter{}, after, 3)
			require.NoError(r.t, err)
			for i := range page {
				p := &page[i]
				names = append(names, p.Name())
				if p.ID.Group == "e" {
					require.EqualValues(r.t, 2, p.Messages)
					require.Equal(r.t, 1, p.State.AttemptCount)
					require.Equal(r.t, "no", p.State.Attempts[0].Error)
					require.True(r.t, p.State.Due.After(time.Now()))
				} else {
					require.Nil(r.t, p.State)
				}
				stage, id, err := lane.ParseName(p.Name())
				require.NoError(r.t, err)
				require.Equal(r.t, p.Stage, stage)
				require.Equal(r.t, p.ID, id)
			}
			if after = next; next == "" {
				break
			}
		}
		require.Len(r.t, names, 2*len(convs))
		require.IsIncreasing(r.t, names)
		held, _, err := r.waiting().List(r.t.Context(), lane.Filter{Stage: chat.StageBot, Group: "e", Held: true}, "", 10)
		require.NoError(r.t, err)
		require.Empty(r.t, held)

		got, err := r.waiting().CommandAll(r.t.Context(), lane.Filter{Stage: chat.StageBot, Group: "e"}, lane.Discard, "ada", long)
		require.NoError(r.t, err)
		require.Equal(r.t, lane.Commanded{Lanes: len(convs), Done: len(convs)}, got)
		require.Len(r.t, r.memory.letters, 2*len(convs))
		r.handler.setPolicy("f", lane.Policy{Schedule: quick})
		r.engine.Wake("f")
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == len(convs) })
		r.requireEmpty()
	})
}

func TestParseName(t *testing.T) {
	for _, bad := range []string{"", "bot", "bot.e", "bot.e.x", "dog.e." + chat.KeyOf("c", "a").String(), "bot.E." + chat.KeyOf("c", "a").String(), "bot.>." + chat.KeyOf("c", "a").String()} {
		_, _, err := lane.ParseName(bad)
		require.ErrorContains(t, err, "is no lane", bad)
	}
}

// commands counts those that stand.
func (r *rig) commands() int {
	kv, err := r.conn.JS.KeyValue(r.t.Context(), topology.BucketCommands)
	require.NoError(r.t, err)
	keys, err := kv.ListKeys(r.t.Context())
	require.NoError(r.t, err)
	n := 0
	for range keys.Keys() {
		n++
	}
	return n
}

// deafCommands are never done.
type deafCommands struct{ lane.Commands }

func (deafCommands) Done(context.Context, *lane.Command) error { return errors.New("refused") }
