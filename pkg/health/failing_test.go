package health

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDecide(t *testing.T) {
	const day = 24 * time.Hour
	start := epoch
	at := func(d time.Duration) time.Time { return start.Add(d) }
	// Failing for 6 days, warned in the middle of it, the last failure just now.
	now := at(6 * day)
	failing := Failing{Since: start, LastFailure: now, Failures: 100, Warned: at(3 * day)}
	for name, test := range map[string]struct {
		change func(*Failing)
		after  time.Duration
		want   Action
	}{
		"nothing but failures":          {want: Disable},
		"never":                         {after: -1, want: Nothing},
		"not warned yet":                {change: func(f *Failing) { f.Warned = time.Time{} }, want: Warn},
		"warned of an earlier time":     {change: func(f *Failing) { f.Warned = start.Add(-day) }, want: Warn},
		"warned too late":               {change: func(f *Failing) { f.Warned = now.Add(-day) }, want: Nothing},
		"warned just early enough":      {change: func(f *Failing) { f.Warned = now.Add(-30 * time.Hour) }, want: Disable},
		"never failed":                  {change: func(f *Failing) { f.Since = time.Time{} }, want: Nothing},
		"a success since":               {change: func(f *Failing) { f.LastSuccess = now.Add(-time.Hour) }, want: Nothing},
		"a success before":              {change: func(f *Failing) { f.LastSuccess = start.Add(-time.Hour) }, want: Disable},
		"few attempts":                  {change: func(f *Failing) { f.Failures = 9 }, want: Nothing},
		"just enough attempts":          {change: func(f *Failing) { f.Failures = 10 }, want: Disable},
		"silence at the end":            {change: func(f *Failing) { f.LastFailure = at(5*day - 1) }, want: Nothing},
		"just long enough":              {change: func(f *Failing) { f.LastFailure = at(5 * day) }, want: Disable},
		"no failure but the first":      {change: func(f *Failing) { f.LastFailure = start }, want: Nothing},
		"paused now":                    {change: func(f *Failing) { f.Off = true }, want: Nothing},
		"resumed and failing since":     {change: func(f *Failing) { f.Enabled = at(day) }, want: Disable},
		"resumed lately":                {change: func(f *Failing) { f.Enabled = at(2 * day) }, want: Nothing},
		"resumed, not tried since":      {change: func(f *Failing) { f.Enabled = now.Add(1) }, want: Nothing},
		"warned before it was resumed":  {change: func(f *Failing) { f.Enabled = at(3*day + 1) }, want: Warn},
		"a shorter time":                {after: 3 * day, want: Disable},
		"a longer one":                  {after: 6*day + 1, want: Nothing},
		"a clock that is ahead":         {change: func(f *Failing) { f.LastFailure = now.Add(100 * day) }, want: Disable},
		"a clock ahead, not long since": {change: func(f *Failing) { f.Since, f.LastFailure = at(5*day), at(100*day) }, want: Nothing},
	} {
		t.Run(name, func(t *testing.T) {
			f := failing
			if test.change != nil {
				test.change(&f)
			}
			after := test.after
			if after == 0 {
				after = DefaultFailingFor
			}
			require.Equal(t, test.want, f.Decide(now, max(after, 0)))
		})
	}
	require.Equal(t, Nothing, Failing{}.Decide(now, day))
}

// However rare the attempts and whenever one asks: a destination is disabled
// only after the whole time, with one warning at half of it or later, and then
// at least a quarter before; and one that always fails is disabled in the end.
func TestDisablingIsWarnedOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		after := time.Duration(rapid.IntRange(1, 1000).Draw(t, "after")) * time.Hour
		f := Failing{Since: epoch}
		now := epoch
		for {
			now = now.Add(time.Duration(rapid.IntRange(1, 100*60).Draw(t, "minutes")) * time.Minute)
			f.LastFailure = now
			f.Failures++
			switch f.Decide(now, after) {
			case Warn:
				require.Zero(t, f.Warned, "once")
				require.GreaterOrEqual(t, now.Sub(epoch), after/2)
				f.Warned = now
			case Disable:
				require.GreaterOrEqual(t, now.Sub(epoch), after)
				require.GreaterOrEqual(t, now.Sub(f.Warned), after/4)
				return
			case Nothing:
				require.True(t, now.Sub(epoch) < 2*after || f.Failures < leastFailures+2 || now.Sub(f.Warned) < after/4)
			}
		}
	})
}
