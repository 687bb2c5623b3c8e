package health

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// plain are options without jitter.
func plain() CircuitOptions {
	return CircuitOptions{Rand: func() float64 { return 0 }}
}

func after(d time.Duration) time.Time { return epoch.Add(d) }

// fail has n attempts fail, one after another.
func fail(t *testing.T, c *Circuit, now time.Time, n int) (last Change) {
	t.Helper()
	for range n {
		require.Equal(t, Unchanged, last)
		p, ok := c.Admit(now)
		require.True(t, ok)
		last = c.Report(now, p, Failed)
	}
	return last
}

func succeed(t *testing.T, c *Circuit, now time.Time) {
	t.Helper()
	p, ok := c.Admit(now)
	require.True(t, ok)
	require.Equal(t, Unchanged, c.Report(now, p, Succeeded))
}

func TestCircuitOpensOnFailuresInARow(t *testing.T) {
	for _, outcome := range []Outcome{Failed, Throttled, TimedOut} {
		c := NewCircuit(plain())
		for i := range 10 {
			require.Equal(t, Closed, c.State(epoch))
			p, ok := c.Admit(epoch)
			require.True(t, ok && !p.Probe())
			want := Unchanged
			if i == 9 {
				want = Opened
			}
			require.Equal(t, want, c.Report(epoch, p, outcome))
		}
		require.Equal(t, Open, c.State(epoch))
		_, ok := c.Admit(epoch)
		require.False(t, ok)
		require.Equal(t, after(time.Second), c.NextProbe())
	}
}

func TestSuccessEndsARow(t *testing.T) {
	c := NewCircuit(plain())
	for minute := range 100 {
		now := after(time.Duration(minute) * time.Minute) // so that no rate opens it
		require.Equal(t, Unchanged, fail(t, c, now, 9))
		require.Equal(t, now, c.FailingSince())
		for range 10 {
			succeed(t, c, now)
		}
		require.Zero(t, c.FailingSince())
	}
	require.Equal(t, Opened, fail(t, c, after(time.Hour*2), 10))
}

func TestInterruptedAttemptsSayNothing(t *testing.T) {
	c := NewCircuit(plain())
	for range 100 {
		p, _ := c.Admit(epoch)
		require.Equal(t, Unchanged, c.Report(epoch, p, Interrupted))
	}
	require.Zero(t, c.FailingSince())
	require.Equal(t, Opened, fail(t, c, epoch, 10))
}

func TestCircuitOpensOnARate(t *testing.T) {
	// Two successes and two failures in turn, so never ten in a row.
	attempt := func(c *Circuit, i int, now time.Time) Change {
		p, ok := c.Admit(now)
		require.True(t, ok)
		if i%4 < 2 {
			return c.Report(now, p, Succeeded)
		}
		return c.Report(now, p, Failed)
	}
	for name, test := range map[string]struct {
		every time.Duration
		opens int // with which attempt; 0: never
	}{
		"20 attempts, half of them failures":    {every: time.Second, opens: 20},
		"at once":                               {every: 0, opens: 20},
		"just often enough":                     {every: 27 * time.Second / 20, opens: 20},
		"fewer than 20 in 30 s, for ever":       {every: 30*time.Second/19 + time.Millisecond},
		"hardly ever":                           {every: time.Minute},
		"hardly ever, longer than time is long": {every: 1000 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewCircuit(plain())
			for i := range 200 {
				change := attempt(c, i, after(time.Duration(i)*test.every))
				if i+1 == test.opens {
					require.Equal(t, Opened, change)
					return
				}
				require.Equal(t, Unchanged, change, "attempt %d", i+1)
			}
			require.Zero(t, test.opens)
		})
	}
	t.Run("a third of them", func(t *testing.T) {
		c := NewCircuit(plain())
		for i := range 3000 {
			p, _ := c.Admit(after(time.Duration(i) * 10 * time.Millisecond))
			outcome := Succeeded
			if i%3 == 2 {
				outcome = Failed
			}
			require.Equal(t, Unchanged, c.Report(after(time.Duration(i)*10*time.Millisecond), p, outcome))
		}
	})
}

// The window agrees with one that remembers every attempt.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		type attempt struct {
			slot   int64
			failed bool
		}
		var all []attempt
		now := epoch
		for range rapid.IntRange(1, 100).Draw(t, "attempts") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 100, 2900, 3000, 9000, 29999, 40000}).Draw(t, "ms")) * time.Millisecond)
			a := attempt{now.UnixNano() / int64(windowStep), rapid.Bool().Draw(t, "failed")}
			all = append(all, a)
			w.add(now, a.failed)
			var sum, failed uint32
			for _, b := range all {
				if b.slot > a.slot-windowSlots {
					sum++
					if b.failed {
						failed++
					}
				}
			}
			require.Equal(t, sum, w.sum)
			require.Equal(t, failed, w.failed)
		}
		w.add(now.Add(-time.Hour), false)
		require.NotZero(t, w.sum, "a clock that goes back")
	})
}

func TestOnlyOneHasTheProbe(t *testing.T) {
	c := NewCircuit(plain())
	fail(t, c, epoch, 10)
	_, ok := c.Admit(after(time.Second - 1))
	require.False(t, ok)
	require.Equal(t, Open, c.State(after(time.Second-1)))
	require.Equal(t, HalfOpen, c.State(after(time.Second)))
	var admitted atomic.Int32
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if p, ok := c.Admit(after(time.Second)); ok && p.Probe() {
				admitted.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, admitted.Load())
	require.Equal(t, HalfOpen, c.State(after(time.Second)))
	require.Equal(t, after(31*time.Second), c.NextProbe(), "when it is given up")
}

func TestProbeCloses(t *testing.T) {
	c := NewCircuit(plain())
	fail(t, c, epoch, 10)
	p, ok := c.Admit(after(time.Second))
	require.True(t, ok && p.Probe())
	require.Equal(t, Reclosed, c.Report(after(2*time.Second), p, Succeeded))
	require.Equal(t, Status{State: Closed, Since: after(2 * time.Second), LastSuccess: after(2 * time.Second), LastFailure: epoch}, c.Status(after(2*time.Second)))
	// And it begins anew: neither the rate nor the row remembers.
	for i := range 19 {
		p, _ = c.Admit(after(2 * time.Second))
		require.Equal(t, Unchanged, c.Report(after(2*time.Second), p, []Outcome{Succeeded, Failed}[i%2]))
	}
	succeed(t, c, after(40*time.Second))
	require.Equal(t, Opened, fail(t, c, after(40*time.Second), 10))
	require.Equal(t, after(41*time.Second), c.NextProbe(), "nor the cool-down")
}

func TestCoolDownDoubles(t *testing.T) {
	for longest, coolDowns := range map[time.Duration][]float64{
		0:                      {1, 2, 4, 8, 16, 30, 30, 30},
		time.Hour:              {1, 2, 4, 8, 16, 30, 30, 30},
		3 * time.Second:        {1, 2, 3, 3, 3},
		200 * time.Millisecond: {.2, .2, .2},
	} {
		t.Run(longest.String(), func(t *testing.T) { testCoolDowns(t, longest, coolDowns) })
	}
}

func testCoolDowns(t *testing.T, longest time.Duration, coolDowns []float64) {
	t.Helper()
	c := NewCircuit(plain())
	c.Bound(longest)
	fail(t, c, epoch, 10)
	now := epoch
	for i, want := range coolDowns {
		s := c.Status(now)
		require.Equal(t, now.Add(time.Duration(want*float64(time.Second))), s.NextProbe)
		require.Equal(t, i+1, s.Openings)
		require.Equal(t, 10+i, s.Failures)
		require.Equal(t, epoch, s.FailingSince)
		now = s.NextProbe
		p, ok := c.Admit(now)
		require.True(t, ok && p.Probe())
		now = now.Add(time.Second)
		require.Equal(t, Reopened, c.Report(now, p, TimedOut))
	}
}

func TestCoolDownStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd := rapid.Float64Range(0, 0.999).Draw(t, "rnd")
		c := NewCircuit(CircuitOptions{Rand: func() float64 { return rnd }})
		c.openings = rapid.IntRange(1, 1<<30).Draw(t, "openings")
		d := c.coolDown()
		require.LessOrEqual(t, d, 30*time.Second)
		require.GreaterOrEqual(t, d, 800*time.Millisecond)
		whole := 30 * time.Second
		if c.openings <= 5 {
			whole = time.Second << (c.openings - 1)
		}
		require.LessOrEqual(t, d, whole)
		require.GreaterOrEqual(t, d, whole*4/5)
	})
}

func TestProbeThatNeverReports(t *testing.T) {
	c := NewCircuit(plain())
	fail(t, c, epoch, 10)
	lost, ok := c.Admit(after(time.Second))
	require.True(t, ok)
	_, ok = c.Admit(after(31*time.Second - 1))
	require.False(t, ok)
	second, ok := c.Admit(after(31 * time.Second))
	require.True(t, ok && second.Probe())
	_, ok = c.Admit(after(31 * time.Second))
	require.False(t, ok)

	require.Equal(t, Unchanged, c.Report(after(32*time.Second), lost, Failed), "the second one decides")
	require.Equal(t, Unchanged, c.Report(after(32*time.Second), lost, Interrupted))
	require.Equal(t, HalfOpen, c.State(after(32*time.Second)))
	require.Equal(t, Reopened, c.Report(after(33*time.Second), second, Failed))
	require.Equal(t, Unchanged, c.Report(after(33*time.Second), second, Failed), "reported twice")
	require.Equal(t, Reclosed, c.Report(after(33*time.Second), lost, Succeeded), "a success is one, however late")
}

func TestInterruptedProbeIsGivenBack(t *testing.T) {
	c := NewCircuit(plain())
	fail(t, c, epoch, 10)
	p, _ := c.Admit(after(time.Second))
	require.Equal(t, Released, c.Report(after(2*time.Second), p, Interrupted))
	require.Equal(t, 1, c.Status(epoch).Openings)
	p, ok := c.Admit(after(2 * time.Second))
	require.True(t, ok && p.Probe())
	require.Equal(t, Reclosed, c.Report(after(2*time.Second), p, Succeeded))
}

func TestLateReports(t *testing.T) {
	c := NewCircuit(plain())
	var late []Pass
	for range 50 {
		p, _ := c.Admit(epoch)
		late = append(late, p)
	}
	fail(t, c, epoch, 10)
	was := c.Status(epoch)
	for _, p := range late[:20] {
		require.Equal(t, Unchanged, c.Report(after(time.Millisecond), p, TimedOut))
	}
	require.Equal(t, was, c.Status(epoch), "failures from before it opened don't count")

	require.Equal(t, Unchanged, c.Report(after(2*time.Millisecond), late[20], Succeeded))
	require.Equal(t, Open, c.State(epoch), "nor does a success close it")
	require.Zero(t, c.FailingSince(), "but it is one")

	probe, _ := c.Admit(after(time.Second))
	require.Equal(t, Reclosed, c.Report(after(time.Second), probe, Succeeded))
	for _, p := range late[21:] {
		require.Equal(t, Unchanged, c.Report(after(2*time.Second), p, TimedOut), "nor once it has closed again")
	}
	require.Equal(t, Closed, c.State(after(2*time.Second)))
	require.Zero(t, c.FailingSince())
	require.Equal(t, Unchanged, c.Report(after(2*time.Second), Pass{}, Failed), "nobody's pass")
	require.Equal(t, Unchanged, c.Report(after(2*time.Second), Pass{}, Succeeded))
	require.Equal(t, after(time.Second), c.Status(epoch).LastSuccess)
}

// Random stories, against what must always hold.
func TestCircuitStories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewCircuit(CircuitOptions{})
		now := epoch
		var out []Pass
		probes := map[Pass]time.Time{} // that may still decide
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 10, 500, 1000, 5000, 31000}).Draw(t, "ms")) * time.Millisecond)
			before := c.State(now)
			if len(out) == 0 || rapid.Bool().Draw(t, "admit") {
				p, ok := c.Admit(now)
				require.Equal(t, before == Closed, ok && !p.Probe())
				if ok && p.Probe() {
					require.Equal(t, HalfOpen, before)
					for other, until := range probes {
						require.False(t, now.Before(until), "%v is under way", other)
					}
					clear(probes)
					probes[p] = now.Add(30 * time.Second)
				}
				if ok {
					out = append(out, p)
				}
				continue
			}
			i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
			p := out[i]
			out = append(out[:i], out[i+1:]...)
			outcome := Outcome(rapid.IntRange(0, 4).Draw(t, "outcome"))
			change := c.Report(now, p, outcome)
			_, current := probes[p]
			delete(probes, p)
			switch change {
			case Opened:
				require.True(t, before == Closed && outcome.failure() && !p.Probe())
			case Reopened:
				require.True(t, current && outcome.failure())
			case Reclosed:
				require.True(t, before != Closed && p.Probe() && outcome == Succeeded)
				clear(probes)
			case Released:
				require.True(t, current && outcome == Interrupted)
			case Unchanged:
				require.True(t, (before == Closed) == (c.State(now) == Closed))
			}
			if outcome == Succeeded {
				require.Zero(t, c.FailingSince())
			}
			if next := c.NextProbe(); !next.IsZero() {
				require.LessOrEqual(t, next.Sub(now), 30*time.Second)
			}
		}
	})
}

func TestCircuitOptionsAreChecked(t *testing.T) {
	require.NoError(t, CircuitOptions{}.Validate())
	for want, o := range map[string]CircuitOptions{
		"a number of failures below 1":   {Failures: -1},
		"number of failures below 1":     {RateLeast: -1},
		"rate that opens a circuit is 2": {Rate: 2},
		"is -1":                          {Rate: -1},
		"is negative":                    {CoolDown: -1},
		"time-out is negative":           {ProbeTimeout: -1},
		"set it to 1s..45s":              {MaxCoolDown: time.Minute},
		"set it to 40s..45s":             {CoolDown: 40 * time.Second},
	} {
		require.ErrorContains(t, o.Validate(), want)
	}
}

func BenchmarkCircuit(b *testing.B) {
	for name, share := range map[string]int{"healthy": 0, "a tenth fails": 10} {
		b.Run(name, func(b *testing.B) {
			c := NewCircuit(CircuitOptions{})
			now := epoch
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				now = now.Add(time.Millisecond)
				p, _ := c.Admit(now)
				outcome := Succeeded
				if share > 0 && i%share == 0 {
					outcome = Failed
				}
				c.Report(now, p, outcome)
			}
		})
	}
	b.Run("open", func(b *testing.B) {
		c := NewCircuit(CircuitOptions{})
		c.trip(epoch, 1)
		c.next = after(time.Hour)
		b.ReportAllocs()
		for b.Loop() {
			c.Admit(epoch)
		}
	})
	b.Run("many", func(b *testing.B) {
		c := NewCircuit(CircuitOptions{})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				p, _ := c.Admit(epoch)
				c.Report(epoch, p, Succeeded)
			}
		})
	})
}

// What must cost nothing costs no allocation either.
func TestAllocations(t *testing.T) {
	c, l := NewCircuit(CircuitOptions{}), NewLimit(LimitOptions{})
	now := epoch
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		p, _ := c.Admit(now)
		c.Report(now, p, Succeeded)
		l.Report(now, Succeeded, time.Millisecond, l.Cap())
	}))
}
