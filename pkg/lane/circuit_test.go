package lane_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
)

// steered is a circuit whose time goes by when a test says so.
type steered struct {
	circuit *health.Circuit

	mu      sync.Mutex
	skipped time.Duration
	changes map[health.Change]int
}

// newSteered opens after so many failures in a row, for longer than a test.
func newSteered(failures int) *steered {
	return &steered{changes: map[health.Change]int{}, circuit: health.NewCircuit(health.CircuitOptions{
		Failures: failures, CoolDown: time.Hour, MaxCoolDown: time.Hour, ProbeTimeout: time.Hour, Rand: func() float64 { return 0 },
	})}
}

func (c *steered) shift() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skipped
}

// coolDown lets the cool-down pass.
func (c *steered) coolDown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skipped += time.Hour
}

// count is how often a report did that.
func (c *steered) count(change health.Change) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes[change]
}

func (c *steered) Admit(_ context.Context, now time.Time) (health.Pass, bool) {
	return c.circuit.Admit(now.Add(c.shift()))
}

func (c *steered) Report(now time.Time, p health.Pass, o health.Outcome) health.Change {
	change := c.circuit.Report(now.Add(c.shift()), p, o)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes[change]++
	return change
}

func (c *steered) NextProbe() time.Time {
	next := c.circuit.NextProbe()
	if next.IsZero() {
		return next
	}
	return next.Add(-c.shift())
}

func (c *steered) Bound(time.Duration) {} // its clock is not the schedule's

func (c *steered) Status(now time.Time) health.Status { return c.circuit.Status(now) }

// attempts is how often a lane's endpoint was tried, over all conversations.
func (h *handler) attempts(endpoint string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, tries := range h.tries {
		if group, _, _ := strings.Cut(name, " "); group == endpoint {
			n += tries
		}
	}
	return n
}

// While a circuit is open its messages are parked without an attempt, and nobody
// else waits for that. One probe at a time is made; when one succeeds everything
// arrives, in order, also what has failed and is not due for long.
func TestOpenCircuit(t *testing.T) { withEachSource(t, testOpenCircuit) }

func testOpenCircuit(r *rig) {
	t := r.t
	const first, conversations, messages = 3, 40, 3
	c := newSteered(first)
	r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Hour, time.Hour, time.Hour}, Circuit: c}
	mend := r.failing("e")
	r.start()
	for i := range first {
		r.publish("e", strconv.Itoa(i), 1)
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeRetry] == first })
	require.Equal(t, 1, c.count(health.Opened))
	for i := range messages {
		for conv := range conversations {
			if i > 0 || conv >= first {
				r.publish("e,other", strconv.Itoa(conv), i+1)
			}
		}
	}
	const rest = conversations*messages - first
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == rest }) // the other's
	for conv := range conversations {
		r.awaitParked("e", strconv.Itoa(conv), messages)
	}
	require.Equal(t, first, r.handler.attempts("e"))
	c.coolDown()
	r.engine.CircuitChanged("e")
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeRetry] == first+1 })
	require.Equal(t, 1, c.count(health.Reopened))
	require.Equal(t, first+1, r.handler.attempts("e"))

	mend()
	c.coolDown()
	r.engine.CircuitChanged("e")
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2*rest+first })
	require.Equal(t, 1, c.count(health.Reclosed))
	require.Equal(t, first+1+rest+first, r.handler.attempts("e"))
	for conv := range conversations {
		require.Equal(t, upTo(messages), r.handler.seen["e "+strconv.Itoa(conv)])
	}
	require.Empty(t, r.memory.letters)
	r.requireEmpty()
}

// What an attempt says that a closing circuit brought forward is not held against
// its message: the schedule has as many as before.
func TestEarlyAttempts(t *testing.T) {
	r := newRig(t)
	c := newSteered(1)
	r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Hour}, Circuit: c}
	bad := func(task *lane.Task) lane.Verdict {
		if task.ConversationID == "bad" {
			return lane.Retry(0, errors.New("not this one"))
		}
		return lane.Done()
	}
	r.handler.script["e"] = bad
	r.start()
	r.publish("e", "bad", 1)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeRetry] == 1 })
	for i := range 5 { // the circuit opens by the bad one, and closes by a good one
		r.publish("e", "good", i+1)
		r.awaitParked("e", "good", 1)
		c.coolDown()
		r.engine.CircuitChanged("e")
		r.handler.await(t, func() bool {
			return r.handler.ended[chat.OutcomeRetry] == i+2 && r.handler.ended[chat.OutcomeDelivered] == i+1
		})
	}
	require.Equal(t, upTo(5), r.handler.seen["e good"])
	require.Empty(t, r.memory.letters)
	state, err := r.waiting().Get(t.Context(), chat.StageBot, idOf("e", "bad"))
	require.NoError(t, err)
	require.Equal(t, 6, state.State.AttemptCount)
	require.Equal(t, 5, state.State.EarlyCount)
}

// What is not the destination's fault leaves its circuit closed.
func TestWhatSaysNothingOfTheDestination(t *testing.T) {
	for name, v := range map[string]lane.Verdict{
		"dead":    lane.Dead("no", errors.New("no")),
		"stall":   lane.Stall(errors.New("the broker")),
		"expired": lane.Expired(),
		"said":    lane.Retry(0, errors.New("our fault")).Saying(health.Interrupted),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c := newSteered(1)
			r.handler.policy["e"] = lane.Policy{Schedule: many, Circuit: c}
			tried := make(chan struct{}, 1)
			r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
				if task.Place.Counter == 1 && len(tried) == 0 {
					tried <- struct{}{}
					return v
				}
				return lane.Done()
			}
			r.start()
			r.publish("e", "a", 1)
			r.publish("e", "a", 2)
			r.handler.await(t, func() bool { n := len(r.handler.seen["e a"]); return n > 0 && r.handler.seen["e a"][n-1] == 2 })
			require.Zero(t, c.count(health.Opened))
		})
	}
}

// The cap of a destination that pleads for less falls to its least and never
// below, and what is over it waits.
func TestCapFollowsTheDestination(t *testing.T) {
	r := newRig(t)
	const conversations = 60
	r.handler.policy["e"] = lane.Policy{Schedule: many, MaxInFlight: 16, MinInFlight: 2}
	var throttled atomic.Bool
	throttled.Store(true)
	r.handler.script["e"] = func(*lane.Task) lane.Verdict {
		if throttled.Load() {
			return lane.Retry(0, errors.New("slow down")).Saying(health.Throttled)
		}
		return lane.Done()
	}
	r.start()
	for i := range conversations {
		r.publish("e", strconv.Itoa(i), 1)
	}
	r.handler.await(t, func() bool { now, _ := r.engine.Cap("e"); return now == 2 })
	throttled.Store(false)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == conversations })
	now, limit := r.engine.Cap("e")
	require.GreaterOrEqual(t, now, 2)
	require.Equal(t, 16, limit)
	r.requireEmpty()
}
