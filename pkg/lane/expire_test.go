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
