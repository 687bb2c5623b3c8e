package health

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/topology"
)

// server is a broker that can go away and come back.
type server struct {
	*brokertest.Server
	t *testing.T
}

func newServer(t *testing.T) *server {
	t.Helper()
	return &server{brokertest.NewServer(t), t}
}

// brief is a cool-down that a test can wait for.
func brief() CircuitOptions {
	return CircuitOptions{CoolDown: 20 * time.Millisecond, MaxCoolDown: 50 * time.Millisecond}
}

// due waits until the next probe is.
func (p *process) due() { <-time.After(time.Until(p.Destination(crm).NextProbe())) }

// board starts one with a connection of its own, and waits until it shares.
func (s *server) board(name string) *process {
	s.t.Helper()
	bucket, err := NewBucket(s.t.Context(), s.Connect(name), zap.NewNop())
	require.NoError(s.t, err)
	bucket.check = time.Hour // what is noticed is noticed by itself
	p := startWith(s.t, bucket, name, brief())
	eventually(s.t, p.Shared)
	return p
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	require.Eventually(t, is, patience, 2*time.Millisecond)
}

func TestBoardsOnABroker(t *testing.T) {
	s := newServer(t)
	a, b := s.board("a"), s.board("b")
	failed := time.Now()
	a.fail(10)
	eventually(t, func() bool { return b.state() != Closed })
	t.Logf("the other process knows after %s", time.Since(failed))

	// In each round everybody asks at once: one has the probe.
	const rounds = 20
	for round := range rounds {
		a.due()
		b.due()
		var mu sync.Mutex
		var probes []*process
		var passes []Pass
		var wg sync.WaitGroup
		for _, p := range []*process{a, b} {
			for range 8 {
				wg.Go(func() {
					if pass, ok := p.admit(); ok {
						mu.Lock()
						probes, passes = append(probes, p), append(passes, pass)
						mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
		require.Len(t, passes, 1, "round %d", round)
		require.True(t, passes[0].Probe())
		if round == rounds-1 {
			probes[0].report(passes[0], Succeeded)
			eventually(t, func() bool { return a.state() == Closed && b.state() == Closed })
			return
		}
		probes[0].report(passes[0], Failed)
		eventually(t, func() bool {
			return a.Destination(crm).Status(time.Now()).Openings == round+2 && b.Destination(crm).Status(time.Now()).Openings == round+2
		})
	}
}

func TestBoardsThroughTheLossOfTheBroker(t *testing.T) {
	s := newServer(t)
	a, b := s.board("a"), s.board("b")
	a.fail(10)
	eventually(t, func() bool { return b.state() != Closed })
	eventually(t, func() bool { return len(a.Records()) == 1 }) // b may hear of it before a does
	since := a.Destination(crm).Failing().Since
	require.NotZero(t, since)

	s.Stop()
	eventually(t, func() bool { return !a.Shared() && !b.Shared() })
	a.due()
	b.due()
	began := time.Now()
	pa, pb := a.probe(), b.probe()
	require.Less(t, time.Since(began), putTimeout, "each goes by its own circuit, and nobody is asked")
	a.report(pa, Failed)
	b.report(pb, Failed)
	other := b.Destination("bot.erp")
	for range 10 {
		p, _ := other.Admit(t.Context(), time.Now())
		other.Report(time.Now(), p, TimedOut)
	}

	s.Start()
	eventually(t, func() bool { return a.Shared() && b.Shared() })
	eventually(t, func() bool { return len(a.Records()) == 2 && len(b.Records()) == 2 })
	require.NotEqual(t, Closed, a.Destination("bot.erp").State(time.Now()), "what happened meanwhile is shared")
	eventually(t, func() bool {
		return a.Destination(crm).NextProbe().Equal(b.Destination(crm).NextProbe())
	})
	require.True(t, since.Equal(a.Destination(crm).Failing().Since), "what was known is kept")
	require.True(t, since.Equal(b.Destination(crm).Failing().Since))

	a.due()
	p := a.probe()
	_, ok := b.admit()
	require.False(t, ok)
	a.report(p, Succeeded)
	eventually(t, func() bool { return a.state() == Closed && b.state() == Closed })

	// And a process that comes later learns what has been.
	c := s.board("c")
	require.NotEqual(t, Closed, c.Destination("bot.erp").State(time.Now()))
}

// The watch of a bucket that is not there any more says nothing; the comparison
// with the leader does.
func TestBucketThatIsMadeAnew(t *testing.T) {
	conn := brokertest.New(t)
	bucket, err := NewBucket(t.Context(), conn, zap.NewNop())
	require.NoError(t, err)
	bucket.check = 100 * time.Millisecond
	a, b := startWith(t, bucket, "a", brief()), startWith(t, bucket, "b", brief())
	eventually(t, func() bool { return a.Shared() && b.Shared() })
	for range 5 { // so that the new one's revisions are lower for a while
		a.fail(10)
		eventually(t, func() bool { return b.state() != Closed })
		a.due()
		a.report(a.probe(), Succeeded)
		eventually(t, func() bool { return b.state() == Closed })
	}
	a.fail(10)
	eventually(t, func() bool { return b.state() != Closed })
	require.NoError(t, conn.JS.DeleteStream(t.Context(), topology.BucketStream(topology.BucketHealth)))
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	a.due()
	a.report(a.probe(), Succeeded)
	eventually(t, func() bool { return b.state() == Closed })
}

func BenchmarkDestination(b *testing.B) {
	p := start(b, newMemory(), "a")
	require.Eventually(b, p.Shared, patience, time.Millisecond)
	d, now := p.Destination(crm), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		pass, _ := d.Admit(b.Context(), now)
		d.Report(now, pass, Succeeded)
	}
}

// How long it takes until another board knows that a circuit opened, and that it
// closed, through a broker in the same process.
func BenchmarkBoardTellsAnother(b *testing.B) {
	conn := brokertest.New(b)
	bucket, err := NewBucket(b.Context(), conn, zap.NewNop())
	require.NoError(b, err)
	one, two := start(b, bucket, "a"), start(b, bucket, "b")
	require.Eventually(b, func() bool { return one.Shared() && two.Shared() }, patience, time.Millisecond)
	d := one.Destination(crm)
	for b.Loop() {
		for range 10 {
			p, _ := d.circuit.Admit(time.Now())
			d.Report(time.Now(), p, Failed)
		}
		<-two.news
		p, _ := d.circuit.Admit(time.Now().Add(time.Second))
		d.Report(time.Now(), p, Succeeded)
		<-two.news
	}
}
