package ratelimit_test

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/ledger"
	"github.com/parleyhq/parley/pkg/ledger/redistest"
	"github.com/parleyhq/parley/pkg/ratelimit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func rate(t testing.TB, text string) chat.Rate {
	t.Helper()
	r, err := chat.ParseRate(text)
	require.NoError(t, err)
	return r
}

// rig is a limiter with what it counts and says.
type rig struct {
	*ratelimit.Limiter
	metrics *prometheus.Registry
	logs    *observer.ObservedLogs
}

func newRig(client ledger.Client) *rig {
	core, logs := observer.New(zap.InfoLevel)
	r := &rig{metrics: prometheus.NewPedanticRegistry(), logs: logs}
	o := ratelimit.Options{Log: zap.New(core), Metrics: r.metrics}
	if client != nil {
		o.Redis = client
	}
	r.Limiter = ratelimit.New(o)
	return r
}

func (r *rig) counter(t *testing.T, name string) int {
	t.Helper()
	families, err := r.metrics.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	require.Fail(t, "no metric "+name)
	return 0
}

func dial(t *testing.T, url string) ledger.Client {
	t.Helper()
	client, err := ledger.Connect(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// The algorithm, in a process that has nothing to share: what a sequence of
// calls is granted.
func TestAlone(t *testing.T) {
	type step struct {
		after time.Duration
		n     int
		want  int
		wait  time.Duration
		left  int
	}
	for name, test := range map[string]struct {
		rate  string
		steps []step
	}{
		"no limit": {"off", []step{{0, 1000, 1000, 0, 0}}},
		"the burst, then the rate": {"10/s:3", []step{
			{0, 1, 1, 0, 2},
			{0, 3, 2, 100 * time.Millisecond, 0},
			{50 * time.Millisecond, 1, 0, 50 * time.Millisecond, 0},
			{50 * time.Millisecond, 1, 1, 0, 0},
			{99 * time.Millisecond, 1, 0, time.Millisecond, 0},
		}},
		"the burst comes back": {"10/s:3", []step{
			{0, 3, 3, 0, 0},
			{200 * time.Millisecond, 2, 2, 0, 0},
			{time.Hour, 5, 3, 100 * time.Millisecond, 0},
		}},
		"by the minute":  {"30/m:1", []step{{0, 1, 1, 0, 0}, {time.Second, 1, 0, time.Second, 0}, {time.Second, 1, 1, 0, 0}}},
		"a burst of one": {"1000/s:1", []step{{0, 5, 1, time.Millisecond, 0}, {time.Millisecond, 5, 1, time.Millisecond, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newRig(nil)
				for i, s := range test.steps {
					time.Sleep(s.after) //nolint:forbidigo // in a bubble, where it is what moves the clock
					d := l.Take("k", rate(t, test.rate), s.n)
					require.Equal(t, s.want, d.Granted, "step %d", i)
					require.Equal(t, s.wait, d.Wait, "step %d", i)
					require.Equal(t, s.left, d.Remaining, "step %d", i)
				}
				require.Zero(t, l.counter(t, "parley_ratelimit_local_total"), "there is nothing to fall back from")
			})
		})
	}
}

func TestGiveBackAlone(t *testing.T) {
	l := newRig(nil)
	r := rate(t, "1/m:1")
	require.Equal(t, 1, l.Take("k", r, 1).Granted)
	require.Zero(t, l.Take("k", r, 1).Granted)
	l.GiveBack("k", r, 1)
	require.Equal(t, 1, l.Take("k", r, 1).Granted)
}

// Keys, and the rates of one, are apart.
func TestKeysAreApart(t *testing.T) {
	server := redistest.Start(t)
	l := newRig(dial(t, server.URL))
	for range 2 {
		require.Equal(t, 1, l.Take("a", rate(t, "1/m:2"), 1).Granted)
		require.Equal(t, 1, l.Take("b", rate(t, "1/m:2"), 1).Granted)
		require.Equal(t, 1, l.Take("a", rate(t, "2/m:2"), 1).Granted)
	}
	for name, r := range map[string]string{"a": "1/m:2", "b": "1/m:2"} {
		d := l.Take(name, rate(t, r), 1)
		require.Zero(t, d.Granted)
		require.Greater(t, d.Wait, 50*time.Second)
	}
	require.Zero(t, l.counter(t, "parley_ratelimit_local_total"))
}

// Two processes share what a rate allows, in every second, by a server's clock;
// and use it.
func TestShared(t *testing.T) {
	server := redistest.Start(t)
	const perSecond, burst, workers = 400, 40, 2
	r := rate(t, "400/s:40")
	began := time.Now()
	end := began.Add(1500 * time.Millisecond)
	var mu sync.Mutex
	var at []time.Time
	var group sync.WaitGroup
	rigs := []*rig{newRig(dial(t, server.URL)), newRig(dial(t, server.URL))}
	for _, l := range rigs {
		for range workers {
			group.Go(func() {
				for time.Now().Before(end) {
					d := l.Take("k", r, 1)
					if d.Granted == 1 {
						mu.Lock()
						at = append(at, time.Now())
						mu.Unlock()
						continue
					}
					<-time.After(d.Wait)
				}
			})
		}
	}
	group.Wait()
	require.GreaterOrEqual(t, float64(len(at)), .8*perSecond*time.Since(began).Seconds(), "the rate is used")
	require.LessOrEqual(t, mostWithin(at, time.Second), perSecond+burst, "in any second")
	for _, l := range rigs {
		require.Zero(t, l.counter(t, "parley_ratelimit_local_total"))
		require.Less(t, l.counter(t, "parley_ratelimit_redis_calls_total"), len(at)/3, "a much used key costs few calls")
	}
}

// mostWithin is how many at most happened in a span of time.
func mostWithin(at []time.Time, span time.Duration) (most int) {
	from := 0
	for i := range at {
		for at[i].Sub(at[from]) >= span {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// A process that comes later finds what others took.
func TestAnotherProcessSees(t *testing.T) {
	server := redistest.Start(t)
	r := rate(t, "1/m:5")
	one, other := newRig(dial(t, server.URL)), newRig(dial(t, server.URL))
	require.Equal(t, 2, one.Take("k", r, 2).Granted)
	d := other.Take("k", r, 5)
	require.Equal(t, 3, d.Granted)
	require.Greater(t, d.Wait, 30*time.Second)
}

// Redis that hangs costs a call's time-out once; then the process decides by
// itself, says so once, and asks again later.
func TestWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	l := newRig(dial(t, server.URL))
	r := rate(t, "1/m:4")
	require.Equal(t, 1, l.Take("k", r, 1).Granted)
	server.Freeze()
	t.Cleanup(server.Thaw)
	began := time.Now()
	var group sync.WaitGroup
	for _, key := range []string{"k", "k", "x", "y"} {
		group.Go(func() { l.Take(key, r, 1) })
	}
	group.Wait()
	require.Less(t, time.Since(began), 400*time.Millisecond, "many time-outs of 50 ms, so that a slow machine passes")
	granted := 0
	for range 10 {
		granted += l.Take("k", r, 1).Granted
	}
	require.LessOrEqual(t, granted, 2, "it goes on from what Redis said last")
	require.GreaterOrEqual(t, l.counter(t, "parley_ratelimit_local_total"), 10)
	require.Equal(t, 1, l.logs.FilterMessageSnippet("does not answer about rates").Len())

	server.Thaw()
	require.Eventually(t, func() bool {
		l.Take("again", rate(t, "1000/s"), 1)
		return l.logs.FilterMessageSnippet("answers about rates again").Len() == 1
	}, 20*time.Second, 20*time.Millisecond)
}

// Where nothing listens each call is decided at once.
func TestRedisIsNotThere(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	require.NoError(t, err)
	require.NoError(t, hole.Close())
	l := newRig(dial(t, "redis://"+hole.Addr().String()))
	granted := 0
	for range 100 {
		granted += l.Take("k", rate(t, "1/m:7"), 1).Granted
	}
	require.Equal(t, 7, granted)
	require.Equal(t, 1, l.logs.Len())
}

// What is in the key from elsewhere, or from a clock that was ahead, doesn't
// lock anybody out.
func TestSpoiledKey(t *testing.T) {
	server := redistest.Start(t)
	client := dial(t, server.URL)
	l := newRig(client)
	for _, value := range []string{"no number", "99999999999999999", "-5"} {
		require.NoError(t, client.Set(t.Context(), "parley:rate:{"+value+"}:10/s:1", value, 0).Err())
		require.Eventually(t, func() bool { return l.Take(value, rate(t, "10/s:1"), 1).Granted == 1 }, 10*time.Second, 5*time.Millisecond, value)
	}
	ttl, err := client.PTTL(t.Context(), "parley:rate:{-5}:10/s:1").Result()
	require.NoError(t, err)
	require.LessOrEqual(t, ttl, 1100*time.Millisecond)
	require.Positive(t, ttl)
}

// BenchmarkTake is a hot key's cost; calls/op says how many of them ask Redis.
func BenchmarkTake(b *testing.B) {
	client, err := ledger.Connect(redistest.Start(b).URL)
	require.NoError(b, err)
	defer func() { _ = client.Close() }()
	reg := prometheus.NewRegistry()
	l := ratelimit.New(ratelimit.Options{Redis: client, Log: zap.NewNop(), Metrics: reg})
	r := rate(b, "100000/s")
	b.ResetTimer()
	for range b.N {
		l.Take("k", r, 1)
	}
	families, err := reg.Gather()
	require.NoError(b, err)
	for _, f := range families {
		if f.GetName() == "parley_ratelimit_redis_calls_total" {
			b.ReportMetric(f.GetMetric()[0].GetCounter().GetValue()/float64(b.N), "calls/op")
		}
	}
	require.Equal(b, 2, testutil.CollectAndCount(reg))
}
