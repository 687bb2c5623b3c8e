package partition

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecordCountsVanishedOwners(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := leaseRecord{}.taken("m1", "one", now, false)
	require.False(t, r.careful(now))
	require.Equal(t, "m1", r.Member)

	r = r.taken("m2", "two", now.Add(time.Minute), true)
	require.False(t, r.careful(now.Add(time.Minute)))
	r = r.released(now.Add(2 * time.Minute))
	require.Empty(t, r.Member)
	require.Equal(t, "two", r.Instance)
	r = r.taken("m3", "three", now.Add(3*time.Minute), true)
	require.True(t, r.careful(now.Add(3*time.Minute)))
	require.False(t, r.careful(now.Add(11*time.Minute)), "the first is forgotten")
	require.Len(t, r.released(now.Add(11*time.Minute)).Vanished, 1)

	for i := range 3 * keptVanished {
		r = r.taken("m", "w", now.Add(time.Duration(i)*time.Second), true)
	}
	require.Len(t, r.Vanished, keptVanished)
}

func TestRecordNamesTheSuspect(t *testing.T) {
	now := time.Now()
	vanish := func(r leaseRecord) leaseRecord { return r.taken("m", "w", now, true) }
	suspect := func(r leaseRecord) [2]uint64 { return [2]uint64{r.Suspect, uint64(r.Suspected)} }

	r := vanish(leaseRecord{})
	require.Equal(t, [2]uint64{0, 0}, suspect(r), "nothing was noted")
	r = r.noted(9, 42)
	require.EqualValues(t, 9, r.Epoch)
	r = vanish(r)
	require.Equal(t, [2]uint64{42, 1}, suspect(r))
	require.Zero(t, r.InFlight)
	require.Zero(t, r.Epoch)
	require.Equal(t, [2]uint64{42, 1}, suspect(vanish(r)), "the next one vanished before it noted anything")
	r = vanish(r.noted(10, 42))
	require.Equal(t, [2]uint64{42, 2}, suspect(r), "the same again")
	require.Equal(t, [2]uint64{42, 2}, suspect(r.released(now).taken("m", "w", now, false)), "kept over a release")
	require.Equal(t, [2]uint64{43, 1}, suspect(vanish(r.noted(11, 43))), "another")
	require.Equal(t, [2]uint64{42, 2}, suspect(r.noted(12, 41)), "its turn has not come")
	require.Equal(t, [2]uint64{42, 3}, suspect(vanish(r.noted(12, 41).noted(12, 42))), "another was survived before it")
	require.Equal(t, [2]uint64{0, 0}, suspect(r.noted(12, 42).noted(12, 0)), "it was survived")
	require.Equal(t, [2]uint64{0, 0}, suspect(r.noted(12, 42).noted(12, 44)), "so it was when the next is noted")
	require.Equal(t, [2]uint64{42, 2}, suspect(r.noted(12, 44).released(now).taken("m", "w", now, false)), "released: nothing vanished")
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
