package partition

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecordCountsVanishedOwners(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := leaseRecord{}.taken("m1", "one", now, false)
	require.False(t, now.Before(r.carefulUntil()))
	require.Equal(t, "m1", r.Member)

	r = r.taken("m2", "two", now.Add(time.Minute), true)
	require.False(t, now.Add(time.Minute).Before(r.carefulUntil()))
	r = r.released(now.Add(2 * time.Minute))
	require.Empty(t, r.Member)
	require.Equal(t, "two", r.Instance)
	r = r.taken("m3", "three", now.Add(3*time.Minute), true)
	require.True(t, now.Add(3*time.Minute).Before(r.carefulUntil()))
	require.False(t, now.Add(11*time.Minute).Before(r.carefulUntil()), "the first is forgotten")
	require.Len(t, r.released(now.Add(11*time.Minute)).Vanished, 1)

	for i := range 3 * keptVanished {
		r = r.taken("m", "w", now.Add(time.Duration(i)*time.Second), true)
	}
	require.Len(t, r.Vanished, keptVanished)
}

func TestRecordNamesTheSuspects(t *testing.T) {
	now := time.Now()
	vanish := func(r leaseRecord) leaseRecord { return r.taken("m", "w", now, true) }
	set := func(seqs ...uint64) (out []Work) {
		for _, seq := range seqs {
			out = append(out, Work{Seq: seq})
		}
		return out
	}
	requireSuspects := func(times int, suspects []Work, r leaseRecord, why string) {
		t.Helper()
		require.Equal(t, suspects, r.Suspects, why)
		require.Equal(t, times, r.Suspected, why)
	}

	r := vanish(leaseRecord{})
	requireSuspects(0, nil, r, "nothing was noted")
	r = r.noted(9, set(41, 42, 43))
	require.EqualValues(t, 9, r.Epoch)
	r = vanish(r)
	requireSuspects(1, set(41, 42, 43), r, "all that was in flight")
	require.Empty(t, r.InFlight)
	require.Zero(t, r.Epoch)
	requireSuspects(1, set(41, 42, 43), vanish(r), "the next one vanished before it noted anything")
	requireSuspects(1, set(43), r.noted(10, set(41)).noted(10, set(42)).noted(10, set(42, 50)).noted(10, nil), "two were survived")
	r = vanish(r.noted(10, set(41)).noted(10, set(42)))
	requireSuspects(2, set(42), r, "one was survived, the next one was not; the last was not tried")
	requireSuspects(2, set(42), r.released(now).taken("m", "w", now, false), "kept over a release")
	requireSuspects(1, set(60, 61), vanish(r.noted(11, set(60, 61))), "none of them again")
	requireSuspects(2, set(42), r.noted(12, set(41)), "its turn has not come")
	requireSuspects(3, set(42), vanish(r.noted(12, set(41)).noted(12, set(42, 70))), "again, beside another")
	requireSuspects(0, nil, r.noted(12, set(42)).noted(12, nil), "it was survived")
	requireSuspects(0, nil, r.noted(12, set(42)).noted(12, set(44)), "so it was when the next is noted")
	requireSuspects(2, set(42), r.noted(12, set(44)).released(now).taken("m", "w", now, false), "released: nothing vanished")
	requireSuspects(1, []Work{{Seq: 42, Lane: "f"}}, vanish(r.noted(13, []Work{{Seq: 42, Lane: "f"}})), "the same message in another lane is another")
}

func TestRecordThatIsANameAlone(t *testing.T) {
	r := decodeLease([]byte("host-1"))
	require.Empty(t, r.Member)
	require.Equal(t, "host-1", r.Instance)
	require.Equal(t, leaseRecord{}, decodeLease(nil))
}

func TestOptionsValidate(t *testing.T) {
	for name, c := range map[string]struct {
		o  Options
		ok bool
	}{
		"defaults":             {Options{}, true},
		"shortest":             {Options{TTL: time.Second}, true},
		"a fraction":           {Options{TTL: 1500 * time.Millisecond}, false},
		"too short":            {Options{TTL: 500 * time.Millisecond}, false},
		"a wide margin":        {Options{TTL: 2 * time.Second, Margin: 1100 * time.Millisecond}, false},
		"a rare heartbeat":     {Options{TTL: 2 * time.Second, Heartbeat: time.Second}, false},
		"negative settle":      {Options{Settle: -1}, false},
		"all set":              {Options{TTL: 2 * time.Second, Heartbeat: 300 * time.Millisecond, Margin: 300 * time.Millisecond, Settle: time.Second}, true},
		"a negative heartbeat": {Options{Heartbeat: -1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.o.Validate(); c.ok {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	o := &Shared{Options: Options{TTL: 10 * time.Second, Margin: time.Second}}
	now := time.Now()
	term := newTerm(o, "user.w.1")
	term.sent = now
	require.Equal(t, now.Add(9*time.Second), term.deadline())
	// A machine that slept: its monotonic clock, unlike the wall's, stood still.
	term.sent = now.Add(-10 * time.Second).Round(0)
	require.False(t, term.deadline().After(time.Now()))
	term.sent, term.over = now, true
	require.False(t, term.deadline().After(time.Now()), "a term that is over has no time left")
}
