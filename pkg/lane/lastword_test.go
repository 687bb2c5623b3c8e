package lane_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
)

// A handler's last word stands in place of a dead letter: it is asked for until it
// is said, once the schedule is used up and for nothing else.
func TestLastWordInPlaceOfADeadLetter(t *testing.T) {
	withEachSource(t, testLastWordInPlaceOfADeadLetter)
}

func testLastWordInPlaceOfADeadLetter(r *rig) {
	t := r.t
	var stalls atomic.Int32
	r.handler.policy["e"] = lane.Policy{Schedule: quick, LastWord: true}
	r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
		switch {
		case task.Place.Counter == 2 && task.GivenUp == "":
			return lane.Retry(0, errors.New("answered 500")).With(lane.Detail{Status: 500})
		case task.Place.Counter == 2:
			if task.GivenUp != lane.ReasonExhausted || task.Number != len(quick)+1 && task.Number != len(quick)+2 {
				return lane.Dead("wrong task", nil)
			}
			if stalls.Add(1) == 1 {
				return lane.Stall(errors.New("the broker is away"))
			}
			return lane.Done()
		case task.Place.Counter == 3 && task.GivenUp == "":
			return lane.Dead("refused", errors.New("never"))
		case task.Place.Counter == 4 && task.GivenUp == "":
			return lane.Retry(0, errors.New("no"))
		case task.Place.Counter == 4:
			panic("no last word")
		case task.GivenUp != "":
			return lane.Stall(errors.New("asked without need"))
		}
		return lane.Done()
	}
	r.start()
	for i := range 5 {
		r.publish("e", "a", i+1)
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2 })
	require.Equal(t, []uint64{1, 5}, r.handler.seen["e a"])
	require.EqualValues(t, 2, stalls.Load())
	require.Equal(t, 1, r.handler.ended[chat.OutcomeFailed])
	var reasons []string
	for _, letter := range r.memory.letters {
		reasons = append(reasons, letter.Reason)
	}
	require.Equal(t, []string{"refused", lane.ReasonExhausted}, reasons)
	r.requireEmpty()
}

// TestNoLastWord: what an operator ends, or time, has none.
func TestNoLastWord(t *testing.T) {
	hourly := retry.Schedule{time.Hour}
	for name, c := range map[string]struct {
		policy  lane.Policy
		action  lane.Action
		reason  string // of the dead letter
		outcome chat.Outcome
	}{
		"skipped":      {policy: lane.Policy{Schedule: hourly}, action: lane.Skip, reason: lane.ReasonSkipped, outcome: chat.OutcomeDead},
		"discarded":    {policy: lane.Policy{Schedule: hourly}, action: lane.Discard, reason: lane.ReasonDiscarded, outcome: chat.OutcomeDead},
		"while closed": {policy: lane.Policy{Schedule: hourly, Closed: "paused"}, action: lane.Discard, reason: lane.ReasonDiscarded, outcome: chat.OutcomeDead},
		"expired":      {policy: lane.Policy{Schedule: hourly, ExpireAfter: soon}, outcome: chat.OutcomeExpired},
	} {
		t.Run(name, func(t *testing.T) {
			withEachSource(t, func(r *rig) {
				var asked atomic.Int32
				c.policy.LastWord = true
				r.handler.policy["e"] = c.policy
				r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
					if task.GivenUp != "" {
						asked.Add(1)
						return lane.Done()
					}
					return fails(task)
				}
				r.start()
				r.publish("e", "a", 1)
				if c.action != "" {
					r.awaitParked("e", "a", 1)
					r.command("e", "a", c.action)
				}
				r.handler.await(r.t, func() bool { return r.handler.ended[c.outcome] == 1 })
				require.Zero(r.t, asked.Load())
				if c.reason != "" {
					require.Equal(r.t, map[uint64]string{1: c.reason}, r.reasons())
				}
				r.requireEmpty()
			})
		})
	}
}

// TestLastWordThatCanNotBeSaidInTime: when the message's time is up it is not
// asked for any more. Only if it was said already, and that alone could not be
// settled, it stands.
func TestLastWordThatCanNotBeSaidInTime(t *testing.T) {
	for name, said := range map[string]bool{"not said": false, "said": true} {
		t.Run(name, func(t *testing.T) {
			withEachSource(t, func(r *rig) {
				var asked atomic.Int32
				r.handler.policy["e"] = lane.Policy{Schedule: quick[:1], ExpireAfter: soon, LastWord: true}
				r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
					if task.GivenUp == "" {
						return fails(task)
					}
					asked.Add(1)
					return lane.Stall(errors.New("the broker is away"))
				}
				want := chat.OutcomeDead
				if said {
					want = chat.OutcomeFailed
					r.handler.expire = func(*lane.Task) lane.Verdict { return lane.Done() }
				}
				r.start()
				r.publish("e", "a", 1)
				r.handler.await(r.t, func() bool { return r.handler.ended[want] == 1 })
				require.EqualValues(r.t, 1, asked.Load())
				require.Zero(r.t, r.handler.ended[chat.OutcomeExpired])
				if !said {
					require.Equal(r.t, map[uint64]string{1: lane.ReasonExhausted}, r.reasons())
				}
				r.requireEmpty()
			})
		})
	}
}

// TestNoLastWordWhenTheLastAttemptTookTooLong: its time was up meanwhile.
func TestNoLastWordWhenTheLastAttemptTookTooLong(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.handler.policy["e"] = lane.Policy{Schedule: quick[:1], ExpireAfter: soon, LastWord: true}
		r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
			switch {
			case task.GivenUp != "":
				return lane.Done()
			case task.Number == 2:
				<-time.After(2 * soon)
			}
			return fails(task)
		}
		r.start()
		r.publish("e", "a", 1)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDead]+r.handler.ended[chat.OutcomeFailed] == 1 })
		require.Equal(r.t, map[uint64]string{1: lane.ReasonExhausted}, r.reasons())
		r.requireEmpty()
	})
}
