package lane

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/retry"
)

// What counts as evidence that a message waits in vain.
func TestWaitedInVain(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	const hour = time.Hour
	for name, test := range map[string]struct {
		parkedAt time.Time
		opened   time.Time // after its lane was paused
		hot      bool
		hold     bool
		happened func(d *destination)
		now      time.Time
		want     bool
	}{
		"longer than the schedule":         {parkedAt: at(0), now: at(hour + 1), want: true},
		"as long as the schedule":          {parkedAt: at(0), now: at(hour)},
		"not parked":                       {hot: true, now: at(2 * hour)},
		"to be held for the operator":      {parkedAt: at(0), hold: true, now: at(2 * hour)},
		"something got through since":      {parkedAt: at(0), happened: func(d *destination) { d.succeeded(at(1)) }, now: at(2 * hour)},
		"something got through before":     {parkedAt: at(2), happened: func(d *destination) { d.succeeded(at(1)) }, now: at(2 * hour), want: true},
		"this process has just started":    {parkedAt: at(-2 * hour), now: at(evidence - 1)},
		"this process has seen it fail":    {parkedAt: at(-2 * hour), now: at(evidence), want: true},
		"its lane paused until just now":   {parkedAt: at(0), opened: at(2 * hour), now: at(2*hour + 1)},
		"paused, then open for too long":   {parkedAt: at(0), opened: at(2 * hour), now: at(3*hour + 1), want: true},
		"closed until just now":            {parkedAt: at(0), happened: closedBetween(at(1), at(2*hour)), now: at(2*hour + 1)},
		"closed, then open for too long":   {parkedAt: at(0), happened: closedBetween(at(1), at(2*hour)), now: at(3*hour + 1), want: true},
		"closed before the message waited": {parkedAt: at(3 * hour), happened: closedBetween(at(1), at(2*hour)), now: at(4*hour + 1), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := &destination{known: start}
			if test.happened != nil {
				test.happened(d)
			}
			it := &item{parkedSeq: 1, parkedAt: test.parkedAt}
			if test.hot {
				it = &item{}
			}
			policy := Policy{Schedule: retry.Schedule{hour}, Hold: test.hold}
			require.Equal(t, test.want, it.waitedInVain(policy, &lane{dest: d, opened: test.opened}, test.now))
		})
	}
}

func closedBetween(from, to time.Time) func(*destination) {
	return func(d *destination) {
		d.treat(Policy{Closed: "paused"}, from)
		d.treat(Policy{Closed: "paused"}, from.Add(1))
		d.treat(Policy{}, to)
		d.treat(Policy{}, to.Add(time.Hour))
	}
}

// A destination fails for a lane when another lane's attempt failed lately.
func TestFailing(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	own, other := ID{Key: chat.KeyOf("c", "own")}, ID{Key: chat.KeyOf("c", "other")}
	d := &destination{known: start}
	require.False(t, d.failing(own, start))
	d.failed(own, start)
	require.False(t, d.failing(own, start.Add(1)))
	require.True(t, d.failing(other, start.Add(1)))
	d.failed(other, start.Add(2))
	require.True(t, d.failing(own, start.Add(evidence)))
	require.False(t, d.failing(own, start.Add(evidence+3)))
}

// A head that the circuit keeps from its attempts is given up once it has waited for
// as long as they would have taken, and a lane is looked at by then.
func TestHeadInVain(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	policy := Policy{Schedule: retry.Schedule{time.Minute, time.Hour}}
	other := ID{Key: chat.KeyOf("c", "other")}
	late := start.Add(2 * time.Hour)
	for name, test := range map[string]struct {
		state *chat.LaneState
		fails time.Time // at another lane
		now   time.Time
		want  bool
	}{
		"it had attempts, and was due": {state: &chat.LaneState{AttemptCount: 1, Due: start.Add(time.Minute)}, fails: late, now: late, want: true},
		"it is not due yet":            {state: &chat.LaneState{AttemptCount: 2, Due: late.Add(1)}, fails: late, now: late},
		"it has not waited for long":   {state: &chat.LaneState{AttemptCount: 1, Due: start}, fails: start.Add(time.Hour), now: start.Add(time.Hour)},
		"nobody has tried lately":      {state: &chat.LaneState{AttemptCount: 1, Due: start}, fails: late.Add(-2 * evidence), now: late},
		"without attempts":             {fails: late, now: late}, // is asked about before the circuit is
	} {
		t.Run(name, func(t *testing.T) {
			d := &destination{known: start}
			d.failed(other, test.fails)
			l, it := &lane{dest: d}, &item{parkedSeq: 1, parkedAt: start}
			require.Equal(t, test.want, new(shard).inVain(l, it, policy, test.state, test.now))
			vain := it.vainFrom(policy, l, start)
			require.True(t, it.waitedInVain(policy, l, vain), "it is looked at late enough")
			require.False(t, it.waitedInVain(policy, l, vain.Add(-2*time.Millisecond)), "and not much later")
			d.opened = start.Add(time.Hour)
			require.Equal(t, vain.Add(time.Hour), it.vainFrom(policy, l, start), "it counts from when the destination was opened")
		})
	}
}
