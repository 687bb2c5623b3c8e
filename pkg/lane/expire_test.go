package lane_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/topology"
)

// soon is after when messages expire in these tests.
const soon = 200 * time.Millisecond

func fails(*lane.Task) lane.Verdict { return lane.Retry(0, errors.New("no")) }

// TestExpiry: a message ends when its time is up, wherever it waits.
func TestExpiry(t *testing.T) {
	hourly := retry.Schedule{time.Hour}
	for name, c := range map[string]struct {
		policy lane.Policy
		lasts  time.Duration // by the message itself
		script func(*lane.Task) lane.Verdict
		tries  int
	}{
		"before its next attempt":    {policy: lane.Policy{Schedule: hourly, ExpireAfter: soon}, script: fails, tries: 1},
		"by the message":             {policy: lane.Policy{Schedule: hourly}, lasts: soon, script: fails, tries: 1},
		"the message's comes first":  {policy: lane.Policy{Schedule: hourly, ExpireAfter: time.Hour}, lasts: soon, script: fails, tries: 1},
		"the endpoint's comes first": {policy: lane.Policy{Schedule: hourly, ExpireAfter: soon}, lasts: time.Hour, script: fails, tries: 1},
		"while its lane is held":     {policy: lane.Policy{Schedule: quick[:1], Hold: true, ExpireAfter: soon}, script: fails, tries: 2},
		"while closed":               {policy: lane.Policy{Schedule: hourly, Closed: "paused", ExpireAfter: soon}},
		"by itself while closed":     {policy: lane.Policy{Schedule: hourly, Closed: "paused"}, lasts: soon},
	} {
		t.Run(name, func(t *testing.T) {
			withEachSource(t, func(r *rig) {
				r.handler.policy["e"], r.handler.script["e"] = c.policy, c.script
				if c.lasts != 0 {
					r.handler.lasts["e"] = c.lasts
				}
				r.start()
				for i := range 3 {
					r.publish("e", "a", i+1)
				}
				r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeExpired] == 3 })
				require.LessOrEqual(r.t, r.handler.tries["e a"], 3*c.tries, "only the attempts before the end")
				require.GreaterOrEqual(r.t, r.handler.tries["e a"], c.tries)
				require.Empty(r.t, r.memory.letters)
				r.requireEmpty()
			})
		})
	}
}

func TestNothingExpiresBeforeItsTime(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.handler.policy["e"] = lane.Policy{Schedule: many, ExpireAfter: time.Hour}
		r.handler.lasts["e"] = 2 * time.Hour
		tries := 0
		r.handler.script["e"] = func(*lane.Task) lane.Verdict {
			if tries++; tries < 4 {
				return fails(nil)
			}
			return lane.Done()
		}
		r.start()
		for i := range 3 {
			r.publish("e", "a", i+1)
		}
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 3 })
		require.Equal(r.t, upTo(3), r.handler.seen["e a"])
		require.Zero(r.t, r.handler.ended[chat.OutcomeExpired])
		r.requireEmpty()
	})
}

// TestGivenUpDoesNotExpire: the verdict was final before the message's time was
// up, so its end is the dead letter.
func TestGivenUpDoesNotExpire(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.memory.full = true
		r.handler.policy["e"] = lane.Policy{Schedule: quick[:1], ExpireAfter: soon}
		r.handler.script["e"] = fails
		r.start()
		r.publish("e", "a", 1)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeRetry] == 2 })
		time.AfterFunc(2*soon, func() {
			r.memory.mu.Lock()
			defer r.memory.mu.Unlock()
			r.memory.full = false
		})
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDead] == 1 })
		require.Zero(r.t, r.handler.ended[chat.OutcomeExpired])
		r.requireEmpty()
	})
}

// TestExpiryWhileClosedAfterARestart: a lane that was taken over while its
// destination is closed is looked at when something changes there.
func TestExpiryWhileClosedAfterARestart(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.handler.policy["e"] = lane.Policy{Schedule: quick, Closed: "paused"}
		r.start()
		r.publish("e", "a", 1)
		r.publish("e", "a", 2)
		r.awaitParked("e", "a", 2)
		r.stop()
		r.start()
		r.handler.setPolicy("e", lane.Policy{Schedule: quick, Closed: "paused", ExpireAfter: time.Millisecond})
		require.Eventually(r.t, func() bool {
			r.engine.Wake("e")
			r.handler.mu.Lock()
			defer r.handler.mu.Unlock()
			return r.handler.ended[chat.OutcomeExpired] == 2
		}, 20*time.Second, 10*time.Millisecond)
		require.Zero(r.t, r.handler.tries["e a"])
		r.requireEmpty()
	})
}

// awaitParked waits until so many messages of a lane are parked.
func (r *rig) awaitParked(endpoint, conv string, n uint64) {
	r.t.Helper()
	key := chat.KeyOf("c", conv)
	subject, _ := topology.LaneSubjects(chat.StageBot, key.Partition(brokertest.Layout.Partitions), endpoint, key)
	stream, err := r.conn.JS.Stream(r.t.Context(), topology.ParkedStream(chat.StageBot))
	require.NoError(r.t, err)
	require.Eventually(r.t, func() bool {
		info, err := stream.Info(r.t.Context(), jetstream.WithSubjectFilter(subject))
		return err == nil && info.State.Subjects[subject] == n
	}, 20*time.Second, 5*time.Millisecond)
}

// TestSuperseded: a message that waits ends when its conversation has gone on,
// wherever it waits, and only where that is asked for.
func TestSuperseded(t *testing.T) {
	hourly := retry.Schedule{time.Hour}
	for name, c := range map[string]struct {
		policy lane.Policy
		script func(*lane.Task) lane.Verdict
		tries  int // before the conversation goes on
	}{
		"before its next attempt": {policy: lane.Policy{Schedule: retry.Schedule{soon, time.Hour}, Supersede: true}, script: fails, tries: 1},
		"while its lane is held":  {policy: lane.Policy{Schedule: quick[:1], Hold: true, Supersede: true}, script: fails, tries: 2},
		"while closed":            {policy: lane.Policy{Schedule: hourly, Closed: "paused", Supersede: true}},
	} {
		t.Run(name, func(t *testing.T) {
			withEachSource(t, func(r *rig) {
				r.handler.policy["e"], r.handler.script["e"] = c.policy, c.script
				r.start()
				r.publish("e", "a", 1)
				r.publish("e", "a", 2)
				r.handler.await(r.t, func() bool { return r.handler.tries["e a"] >= c.tries })
				r.awaitParked("e", "a", 2)
				r.handler.goOn("a", 3)
				r.wakeUntil("e", func() bool { return len(r.handler.superseded) == 2 })
				require.Equal(r.t, upTo(2), r.handler.superseded)
				require.Equal(r.t, 2, r.handler.ended[chat.OutcomeExpired])
				require.Equal(r.t, c.tries, r.handler.tries["e a"])
				require.Empty(r.t, r.memory.letters)
				r.requireEmpty()
			})
		})
	}
}

// TestFirstAttemptAsksNothing: what is sent as it comes is not asked about, nor is
// a replay or what nobody wants to be superseded, however long it waits.
func TestFirstAttemptAsksNothing(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.handler.policy["at-once"] = lane.Policy{Schedule: quick, Supersede: true}
		r.handler.policy["never"] = lane.Policy{Schedule: retry.Schedule{time.Millisecond, time.Hour}}
		failed := false
		r.handler.script["never"] = func(*lane.Task) lane.Verdict {
			if failed = !failed; failed {
				return fails(nil)
			}
			return lane.Done()
		}
		r.handler.past["a"] = 100
		r.handler.age["at-once"] = -time.Hour // however slow the machine is
		r.start()
		for i := range 3 {
			r.publish("never", "b", i+1)
			r.publish("at-once", "a", i+1)
			r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2*(i+1) })
		}
		require.Zero(r.t, r.handler.asked)
		require.Zero(r.t, r.handler.ended[chat.OutcomeExpired])
		r.requireEmpty()
	})
}

// TestSupersededBeforeALateFirstAttempt: what stood behind others for long has
// waited too, though it was never parked.
func TestSupersededBeforeALateFirstAttempt(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.handler.policy["e"] = lane.Policy{Schedule: quick, Supersede: true}
		r.handler.age["e"] = time.Hour
		r.handler.past["a"] = 2
		r.start()
		r.publish("e", "a", 1)
		r.publish("e", "a", 2)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 1 })
		require.Equal(r.t, upTo(1), r.handler.superseded)
		require.Equal(r.t, []uint64{2}, r.handler.seen["e a"])
		r.requireEmpty()
	})
}

// goOn takes a conversation on to a place.
func (h *handler) goOn(conv string, place uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.past[conv] = place
}

// wakeUntil wakes a destination's lanes until the handler has seen what the
// condition asks for: one that is woken before it waits looks only at the next poll.
func (r *rig) wakeUntil(destination string, condition func() bool) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		r.engine.Wake(destination)
		r.handler.mu.Lock()
		defer r.handler.mu.Unlock()
		return condition()
	}, 20*time.Second, 10*time.Millisecond)
}
