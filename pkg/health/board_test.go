package health

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

const crm = "bot.crm"

// process is a board that runs, with what it has told of its circuits.
type process struct {
	t testing.TB
	*Board
	stop func()

	mu   sync.Mutex
	told []State
	news chan State // the same; drops what nobody takes
}

func start(t testing.TB, s Store, name string) *process {
	t.Helper()
	return startWith(t, s, name, plain())
}

func startWith(t testing.TB, s Store, name string, o CircuitOptions) *process {
	t.Helper()
	p := &process{t: t, news: make(chan State, 1)}
	b, err := NewBoard(BoardOptions{
		Store: s, Instance: name, Circuit: o, Log: zap.NewNop(),
		Changed: func(_ string, s State) {
			p.mu.Lock()
			p.told = append(p.told, s)
			p.mu.Unlock()
			select {
			case p.news <- s:
			default:
			}
		},
	})
	require.NoError(t, err)
	p.Board = b
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(p.stop)
	return p
}

// admit asks for a pass now.
func (p *process) admit() (Pass, bool) {
	return p.Destination(crm).Admit(p.t.Context(), time.Now())
}

func (p *process) probe() Pass {
	p.t.Helper()
	pass, ok := p.admit()
	require.True(p.t, ok && pass.Probe())
	return pass
}

func (p *process) report(pass Pass, o Outcome) Change {
	return p.Destination(crm).Report(time.Now(), pass, o)
}

func (p *process) fail(n int) {
	p.t.Helper()
	for range n {
		pass, ok := p.admit()
		require.True(p.t, ok)
		p.report(pass, Failed)
	}
}

func (p *process) state() State { return p.Destination(crm).State(time.Now()) }

func (p *process) tells() []State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]State(nil), p.told...)
}

func puts(s *memory) int {
	_, n := s.counts()
	return n
}

// pass lets virtual time pass, and then everything happen that is due.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	<-time.After(d)
	synctest.Wait()
}

func TestBoardsOpenAndCloseTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		a, b := start(t, s, "a"), start(t, s, "b")
		synctest.Wait()
		a.fail(9)
		synctest.Wait()
		require.Zero(t, puts(s), "only transitions are written")
		a.fail(1)
		synctest.Wait()
		require.Equal(t, 1, puts(s))
		require.Equal(t, Open, b.state())
		require.Equal(t, a.Destination(crm).NextProbe(), b.Destination(crm).NextProbe())
		require.Equal(t, a.Records(), b.Records())
		require.Len(t, a.Records(), 1)

		pass(t, time.Second)
		probe := b.probe()
		synctest.Wait()
		require.Equal(t, HalfOpen, a.state())
		_, ok := a.admit()
		require.False(t, ok, "one of all has the probe")
		b.report(probe, Failed)
		synctest.Wait()
		require.Equal(t, 2, a.Destination(crm).Status(time.Now()).Openings)
		pass(t, 2*time.Second-1)
		_, ok = a.admit()
		require.False(t, ok, "the cool-down has doubled for both")
		pass(t, 1)
		probe = a.probe()
		a.report(probe, Succeeded)
		synctest.Wait()
		require.Equal(t, Closed, b.state())
		require.Equal(t, []State{Open, Open, Closed}, a.tells())
		require.Equal(t, []State{Open, Open, Closed}, b.tells())
		require.Equal(t, 5, puts(s), "opened, claimed, opened, claimed, closed")
	})
}

func TestOneOfManyHasTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		var all []*process
		for i := range 8 {
			all = append(all, start(t, s, fmt.Sprint(i)))
		}
		synctest.Wait()
		all[0].fail(10)
		for round := range 5 {
			pass(t, 30*time.Second)
			passes := make(chan Pass, 100)
			var wg sync.WaitGroup
			for _, p := range all {
				for range 4 {
					wg.Go(func() {
						if pass, ok := p.admit(); ok {
							passes <- pass
							if round%2 == 0 { // else it is never reported
								p.report(pass, Failed)
							}
						}
					})
				}
			}
			wg.Wait()
			require.Len(t, passes, 1, "round %d", round)
		}
	})
}

func TestProbeOfAProcessThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		a, b := start(t, s, "a"), start(t, s, "b")
		synctest.Wait()
		a.fail(10)
		pass(t, time.Second)
		a.probe()
		a.stop()
		pass(t, 30*time.Second-1)
		_, ok := b.admit()
		require.False(t, ok)
		pass(t, 1)
		b.report(b.probe(), Succeeded)
		require.Equal(t, Closed, b.state())
	})
}

func TestInterruptedProbeGoesToAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		a, b := start(t, s, "a"), start(t, s, "b")
		synctest.Wait()
		a.fail(10)
		pass(t, time.Second)
		require.Equal(t, Released, a.report(a.probe(), Interrupted))
		synctest.Wait()
		require.Equal(t, Released, b.report(b.probe(), Interrupted))
		synctest.Wait()
		// Also where that is the last thing that a process does.
		a.report(a.probe(), Interrupted)
		a.stop()
		synctest.Wait()
		b.probe()
	})
}

func TestProbeThatWasTakenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		a := start(t, s, "a")
		synctest.Wait()
		a.fail(10)
		pass(t, time.Second)
		// Another takes it, and closes the circuit, before a has heard of it.
		r, revision := a.Destination(crm).known()
		r.Probe, r.NextProbe = "b", time.Now().Add(30*time.Second)
		s.force(Entry{crm, r, revision + 1})
		_, ok := a.admit()
		require.False(t, ok)
		require.Equal(t, r.NextProbe, a.Destination(crm).NextProbe())

		s.force(Entry{crm, Record{At: time.Now(), LastSuccess: time.Now()}, revision + 2})
		pass(t, 30*time.Second)
		p, ok := a.admit()
		require.True(t, ok && !p.Probe(), "closed")
	})
}

func TestStoreThatIsAwayCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		a, b := start(t, s, "a"), start(t, s, "b")
		synctest.Wait()
		s.set(true, false)
		synctest.Wait()
		require.False(t, a.Shared())
		asked, _ := s.counts()
		a.fail(10)
		<-time.After(time.Second)
		_, ok := a.admit()
		require.True(t, ok, "each goes by its own circuit")
		require.Equal(t, Closed, b.state())
		warned, err := a.Destination(crm).Warn(t.Context(), time.Now(), time.Time{}, time.Hour)
		require.Error(t, err)
		require.False(t, warned)
		pass(t, time.Minute)
		more, _ := s.counts()
		require.Less(t, more-asked, 2*20, "it is looked for now and then, by nothing else")

		// What happened meanwhile is written once it is back, the later of two.
		a.report(a.probe(), Failed)
		synctest.Wait()
		require.Zero(t, puts(s))
		s.set(false, false)
		pass(t, maxBackoff)
		require.True(t, a.Shared() && b.Shared())
		require.Equal(t, 1, puts(s))
		require.NotEqual(t, Closed, b.state())
		require.Equal(t, a.Records(), b.Records())
	})
}

func TestStoreThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		a := start(t, s, "a")
		synctest.Wait()
		a.fail(10)
		pass(t, time.Second)
		s.set(false, true)
		began := time.Now()
		probe := a.probe()
		require.Equal(t, putTimeout, time.Since(began), "one waits, once")
		require.False(t, a.Shared())
		a.report(probe, Failed)
		pass(t, 2*time.Second)
		began = time.Now()
		a.report(a.probe(), Succeeded)
		require.Zero(t, time.Since(began))
		require.Equal(t, Closed, a.state())
		// What it was being told when it fell silent is told again.
		s.set(false, false)
		pass(t, checkEvery)
		a.fail(10)
		s.set(false, true)
		pass(t, putTimeout)
		require.False(t, a.Shared())
		s.set(false, false)
		pass(t, checkEvery)
		require.True(t, s.last[crm].Record.Open)
	})
}

func TestAbortedClaimIsNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		a := start(t, s, "a")
		synctest.Wait()
		a.fail(10)
		pass(t, time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, ok := a.Destination(crm).Admit(ctx, time.Now())
		require.False(t, ok)
		require.True(t, a.Shared(), "that is not the store's fault")
		a.probe()
	})
}

func TestTheLaterTransitionCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		a, b := start(t, s, "a"), start(t, s, "b")
		synctest.Wait()
		a.fail(10)
		pass(t, time.Second)
		s.set(true, false)
		synctest.Wait()
		pa, pb := a.probe(), b.probe()
		<-time.After(time.Second)
		b.report(pb, Failed)
		<-time.After(time.Second)
		a.report(pa, Succeeded)
		s.set(false, false)
		pass(t, maxBackoff)
		require.Equal(t, Closed, a.state())
		require.Equal(t, Closed, b.state())
	})
}

func TestFailingSinceIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		began := time.Now()
		a := start(t, s, "a")
		synctest.Wait()
		a.fail(10)
		synctest.Wait()
		a.stop()
		for day := range 6 {
			// Nothing but restarts, and each time one failed probe.
			<-time.After(24 * time.Hour)
			p := start(t, s, "p")
			synctest.Wait()
			require.Equal(t, HalfOpen, p.state())
			p.report(p.probe(), Failed)
			synctest.Wait()
			f := p.Destination(crm).Failing()
			require.True(t, began.Equal(f.Since))
			require.Equal(t, 11+day, f.Failures)
			require.Equal(t, time.Now(), f.LastFailure.In(time.Local))
			want := []Action{Nothing, Nothing, Warn, Nothing, Disable, Disable}[day]
			require.Equal(t, want, f.Decide(time.Now(), DefaultFailingFor), "day %d", day+1)
			warned, err := p.Destination(crm).Warn(t.Context(), time.Now(), time.Time{}, DefaultFailingFor)
			require.NoError(t, err)
			require.Equal(t, want == Warn, warned)
			p.stop()
		}
		p := start(t, s, "p")
		pass(t, time.Minute)
		p.report(p.probe(), Succeeded)
		synctest.Wait()
		require.Zero(t, p.Destination(crm).Failing())
	})
}

func TestOneOfAllWarns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		var all []*process
		for i := range 4 {
			all = append(all, start(t, s, fmt.Sprint(i)))
		}
		synctest.Wait()
		all[0].fail(10)
		<-time.After(3 * time.Hour)
		all[1].report(all[1].probe(), Failed)
		warn := func(enabled time.Time) (told int) {
			var mu sync.Mutex
			var wg sync.WaitGroup
			for _, p := range all {
				wg.Go(func() {
					warned, err := p.Destination(crm).Warn(t.Context(), time.Now(), enabled, 5*time.Hour)
					if err == nil && warned {
						mu.Lock()
						told++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			return told
		}
		synctest.Wait()
		require.Zero(t, warn(time.Now().Add(-time.Hour)), "it was enabled an hour ago")
		require.Equal(t, 1, warn(time.Time{}))
		require.Zero(t, warn(time.Time{}))
		require.NotEqual(t, Closed, all[2].state(), "the record is still that of an open circuit")
		require.Equal(t, 11, all[2].Destination(crm).Failing().Failures)
	})
}

// What fails in one process alone has not failed for long.
func TestSuccessOfAnotherProcessCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		a, b := start(t, s, "a"), start(t, s, "b")
		synctest.Wait()
		a.fail(9)
		<-time.After(4 * 24 * time.Hour)
		p, _ := b.admit()
		b.report(p, Succeeded)
		success := time.Now()
		<-time.After(time.Hour)
		a.fail(1)
		synctest.Wait()
		for _, p := range []*process{a, b} {
			require.True(t, success.Equal(p.Destination(crm).Failing().LastSuccess))
			require.Equal(t, Nothing, p.Destination(crm).Failing().Decide(time.Now(), DefaultFailingFor))
		}
	})
}

func TestOldNewsIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, newMemory(), "a")
		d := a.Destination(crm)
		one, two := Record{At: epoch}, Record{At: after(time.Second)}
		d.follow(Entry{crm, two, 2})
		d.follow(Entry{crm, one, 1})
		r, revision := d.known()
		require.Equal(t, two, r)
		require.EqualValues(t, 2, revision)
		d.follow(Entry{crm, Record{}, 3})
		require.Empty(t, a.Records(), "it has gone")
	})
}

func TestBoardOptionsAreChecked(t *testing.T) {
	_, err := NewBoard(BoardOptions{Circuit: CircuitOptions{Rate: 2}})
	require.ErrorContains(t, err, "health: the failure rate")
}

// Random stories of three processes and a store that comes and goes. While it is
// there one process at a time has the probe; and in the end, with a destination
// that is well, every circuit is closed and all agree.
func TestBoardStories(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { story(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func story(t *testing.T, r *rand.Rand) {
	t.Helper()
	s := newMemory()
	all := []*process{start(t, s, "a"), start(t, s, "b"), start(t, s, "c")}
	synctest.Wait()
	type attempt struct {
		of    *process
		pass  Pass
		until time.Time
	}
	var out []attempt
	shared := time.Time{} // since when the store has been there, for all
	away, well := false, false
	for range 600 {
		switch n := r.IntN(100); {
		case n < 2:
			well = !well
		case n < 4 && !away:
			away = true
			s.set(r.IntN(2) == 0, true)
		case n < 10 && away:
			away = false
			s.set(false, false)
			pass(t, 2*maxBackoff)
			shared = time.Now()
		case n < 12:
			i := r.IntN(len(all))
			all[i].stop() // its attempts are lost
			all[i] = start(t, s, "x")
			synctest.Wait()
		case n < 55:
			p := all[r.IntN(len(all))]
			synctest.Wait()
			got, ok := p.admit()
			if !ok {
				break
			}
			if got.Probe() && !away && p.Shared() {
				for _, a := range out {
					claimed := a.until.Add(-30 * time.Second)
					require.False(t, a.pass.Probe() && claimed.After(shared) && time.Now().Before(a.until), "two probes")
				}
			}
			out = append(out, attempt{p, got, time.Now().Add(30 * time.Second)})
		case n < 90 && len(out) > 0:
			i := r.IntN(len(out))
			a := out[i]
			out = append(out[:i], out[i+1:]...)
			outcome := Failed
			switch {
			case r.IntN(20) == 0:
				outcome = Interrupted
			case well:
				outcome = Succeeded
			}
			if a.of.report(a.pass, outcome) == Reclosed {
				for i := range out { // they decide nothing any more
					out[i].until = time.Time{}
				}
			}
			if a.pass.Probe() {
				synctest.Wait()
			}
		default:
			<-time.After(time.Duration(r.Int64N(int64(3 * time.Second))))
		}
	}
	s.set(false, false)
	pass(t, 2*maxBackoff)
	for range 4 {
		pass(t, 31*time.Second)
		for _, p := range all {
			if got, ok := p.admit(); ok {
				p.report(got, Succeeded)
			}
			synctest.Wait()
		}
	}
	for _, p := range all {
		require.Equal(t, Closed, p.state())
		require.Equal(t, all[0].Records(), p.Records())
		require.True(t, p.Shared())
	}
}
