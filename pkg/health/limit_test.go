package health

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// endpoint is a destination in virtual time: so many servers with a queue before
// them, and a client that always has as much in flight as it may.
type endpoint struct {
	servers int // 0: as many as it takes
	service func(now time.Duration) time.Duration
	queue   int                          // refuses with 429 beyond; 0: never
	down    func(now time.Duration) bool // takes everything and answers nothing
	demand  int                          // 0: without end

	limit    *Limit
	now      time.Duration
	calls    calls
	free     []time.Duration // when each server is
	inFlight int
	served   int
	worst    int // the most in flight at once
}

const answerWithin = 15 * time.Second

type call struct {
	ends, took time.Duration
	outcome    Outcome
	inFlight   int
}

type calls []call

func (c calls) Len() int           { return len(c) }
func (c calls) Less(i, j int) bool { return c[i].ends < c[j].ends }
func (c calls) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *calls) Push(x any)        { *c = append(*c, x.(call)) }
func (c *calls) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	*c = (*c)[:last]
	return x
}

var epoch = time.Unix(1_700_000_000, 0)

func (e *endpoint) begin() {
	e.inFlight++
	e.worst = max(e.worst, e.inFlight)
	c := call{outcome: Succeeded, inFlight: e.inFlight}
	switch {
	case e.down != nil && e.down(e.now):
		c.outcome, c.took = TimedOut, answerWithin
	case e.queue > 0 && e.waiting() >= e.servers+e.queue:
		c.outcome, c.took = Throttled, 5*time.Millisecond
	case e.servers == 0:
		c.took = e.service(e.now)
	default:
		first := 0
		for i, at := range e.free {
			if at < e.free[first] {
				first = i
			}
		}
		e.free[first] = max(e.now, e.free[first]) + e.service(e.now)
		c.took = e.free[first] - e.now
		if c.took > answerWithin {
			c.outcome, c.took = TimedOut, answerWithin
		}
	}
	c.ends = e.now + c.took
	heap.Push(&e.calls, c)
}

func (e *endpoint) waiting() (n int) {
	for _, c := range e.calls {
		if c.outcome == Succeeded {
			n++
		}
	}
	return n
}

// run goes on until then, and calls seen with each cap.
func (e *endpoint) run(until time.Duration, seen func(now time.Duration, limit int)) {
	if e.free == nil {
		e.free = make([]time.Duration, e.servers)
	}
	for e.now < until {
		for e.inFlight < e.limit.Cap() && (e.demand == 0 || e.inFlight < e.demand) {
			e.begin()
		}
		c := heap.Pop(&e.calls).(call)
		e.now = c.ends
		e.inFlight--
		if c.outcome == Succeeded {
			e.served++
		}
		got := e.limit.Report(epoch.Add(e.now), c.outcome, c.took, c.inFlight)
		if seen != nil {
			seen(e.now, got)
		}
	}
}

// caps is what there is to say of a cap over a time.
type caps struct {
	last, total time.Duration
	limit       int
	sum         float64
	least       int
}

func (c *caps) see(now time.Duration, limit int) {
	if c.limit == 0 {
		c.least = limit
	} else {
		c.sum += float64(c.limit) * float64(now-c.last)
		c.total += now - c.last
	}
	c.last, c.limit, c.least = now, limit, min(c.least, limit)
}

func (c *caps) mean() float64 { return c.sum / float64(c.total) }

func steady(d time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return d }
}

// noisy is log-normal around d; sigma 0.5 has a standard deviation of half the
// mean, sigma 1 of 1.3 times the mean.
func noisy(d time.Duration, sigma float64, seed uint64) func(time.Duration) time.Duration {
	r := rand.New(rand.NewPCG(seed, 1))
	return func(time.Duration) time.Duration {
		return time.Duration(float64(d) * math.Exp(sigma*r.NormFloat64()-sigma*sigma/2))
	}
}

func TestLimitFindsTheCapacity(t *testing.T) {
	const capacity, second = 8, time.Second
	for name, test := range map[string]struct {
		initial, queue int
		sigma          float64
	}{
		"by its latency":                          {},
		"by its latency, which varies":            {sigma: 0.5},
		"by its refusals":                         {queue: 1},
		"by its refusals, the latency varies":     {queue: 1, sigma: 0.5},
		"overloaded from the first attempt on":    {initial: 64},
		"overloaded from the first on, it varies": {initial: 64, sigma: 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				e := endpoint{
					servers: capacity, queue: test.queue, service: noisy(100*time.Millisecond, test.sigma, seed),
					limit: NewLimit(LimitOptions{Initial: test.initial}),
				}
				e.run(20*second, nil)
				served := e.served
				var c caps
				e.run(80*second, c.see)
				require.InDelta(t, capacity, c.mean(), capacity/2, "a factor of 1.5 above, seed %d", seed)
				require.Greater(t, c.mean(), capacity/1.5, "seed %d", seed)
				require.Greater(t, e.served-served, 60*80*3/4, "of what it can take, seed %d", seed)
			}
		})
	}
}

func TestLimitReachesItsMost(t *testing.T) {
	for name, test := range map[string]struct {
		service func(time.Duration) time.Duration
		within  time.Duration
	}{
		"fast":            {steady(2 * time.Millisecond), time.Second},
		"slow but steady": {steady(2 * time.Second), 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			e := endpoint{service: test.service, limit: NewLimit(LimitOptions{})}
			e.run(test.within, nil)
			var c caps
			e.run(5*test.within, c.see)
			require.GreaterOrEqual(t, c.least, 32, "a trial")
			require.Greater(t, c.mean(), 0.95*64)
			require.Equal(t, 64, e.worst)
		})
	}
}

// A queue of a few milliseconds, be it at the destination or for this machine's
// processors, costs nobody anything.
func TestShortQueuesDoNotLowerALimit(t *testing.T) {
	for seed := range uint64(20) {
		e := endpoint{servers: 8, service: noisy(5*time.Millisecond, 0.5, seed), limit: NewLimit(LimitOptions{})}
		e.run(time.Second, nil)
		var c caps
		e.run(20*time.Second, c.see)
		require.Equal(t, 64, c.least, "seed %d", seed)
	}
}

func TestNoiseDoesNotCollapseALimit(t *testing.T) {
	for seed := range uint64(20) {
		e := endpoint{service: noisy(100*time.Millisecond, 1, seed), limit: NewLimit(LimitOptions{})}
		e.run(20*time.Second, nil)
		var c caps
		e.run(80*time.Second, c.see)
		require.GreaterOrEqual(t, c.least, 8, "seed %d", seed)
		require.Greater(t, c.mean(), 0.7*64, "seed %d", seed)
	}
}

func TestLimitRecoversFromAnOutage(t *testing.T) {
	const second = time.Second
	e := endpoint{
		servers: 8, service: noisy(100*time.Millisecond, 0.3, 1), limit: NewLimit(LimitOptions{}),
		down: func(now time.Duration) bool { return now > 30*second && now < 150*second },
	}
	e.run(30*second, nil)
	require.Greater(t, e.limit.Cap(), 4)
	e.run(150*second, nil)
	require.Equal(t, 1, e.limit.Cap(), "nothing was answered for two minutes")
	e.run(180*second, nil)
	var c caps
	e.run(240*second, c.see)
	require.InDelta(t, 8, c.mean(), 4)
}

func TestLimitFollowsWhatChanges(t *testing.T) {
	const second = time.Second
	t.Run("slower, not because of us", func(t *testing.T) {
		e := endpoint{limit: NewLimit(LimitOptions{}), service: func(now time.Duration) time.Duration {
			if now < 20*second {
				return 100 * time.Millisecond
			}
			return 2 * second
		}}
		e.run(20*second, nil)
		require.Equal(t, 64, e.limit.Cap())
		var during, c caps
		e.run(60*second, during.see)
		require.GreaterOrEqual(t, during.least, 32)
		e.run(600*second, c.see)
		require.Greater(t, c.mean(), 0.95*64)
	})
	t.Run("overloaded after a long time of peace", func(t *testing.T) {
		limit := NewLimit(LimitOptions{})
		peace := endpoint{service: noisy(100*time.Millisecond, 0.3, 1), limit: limit}
		peace.run(60*second, nil)
		e := endpoint{servers: 8, service: noisy(100*time.Millisecond, 0.3, 1), limit: limit, now: peace.now}
		var c caps
		e.run(85*second, nil)
		e.run(145*second, c.see)
		require.InDelta(t, 8, c.mean(), 4)
	})
	t.Run("smaller, then larger", func(t *testing.T) {
		limit := NewLimit(LimitOptions{})
		at := time.Duration(0)
		for _, servers := range []int{32, 4, 32} {
			e := endpoint{servers: servers, service: noisy(50*time.Millisecond, 0.3, 1), limit: limit, now: at}
			at += 60 * second
			e.run(at, nil)
			var c caps
			at += 60 * second
			e.run(at, c.see)
			require.Greater(t, c.mean(), float64(servers)/1.5)
			require.Less(t, c.mean(), float64(servers)*1.5)
		}
	})
}

func TestLimitGrowsOnlyWhereItIsUsed(t *testing.T) {
	e := endpoint{service: steady(10 * time.Millisecond), limit: NewLimit(LimitOptions{Initial: 8}), demand: 7}
	e.run(time.Minute, nil)
	require.Equal(t, 8, e.limit.Cap())
	e.demand = 8
	e.run(2*time.Minute, nil)
	require.Greater(t, e.limit.Cap(), 8)
}

// What was in flight together is one trouble, however many fail of it.
func TestLimitShrinksOncePerTrouble(t *testing.T) {
	now := epoch
	for outcome, want := range map[Outcome][]int{
		Throttled:   {30, 22, 16},
		TimedOut:    {20, 10, 5},
		Failed:      {40, 40, 40},
		Interrupted: {40, 40, 40},
	} {
		l := NewLimit(LimitOptions{Initial: 40})
		for i, limit := range want {
			now = now.Add(time.Minute)
			for n := range 40 {
				require.Equal(t, limit, l.Report(now.Add(time.Duration(n)*time.Millisecond), outcome, time.Second, 40), "%d, trouble %d", outcome, i)
			}
		}
		for range 10 {
			now = now.Add(time.Minute)
			l.Report(now, outcome, time.Second, 1)
		}
		require.GreaterOrEqual(t, l.Cap(), 1)
	}
}

// A trial that meets a refusal is over, and doesn't bring the cap before it back.
func TestRefusalEndsATrial(t *testing.T) {
	now, l := epoch, NewLimit(LimitOptions{Initial: 64})
	success := func() int {
		now = now.Add(time.Second)
		return l.Report(now, Succeeded, time.Second/2, 64)
	}
	for success() == 64 {
		require.Less(t, now.Sub(epoch), time.Hour)
	}
	require.Equal(t, 32, l.Cap(), "the trial")
	now = now.Add(time.Second)
	require.Equal(t, 24, l.Report(now, Throttled, time.Second/2, 32))
	for range 60 {
		require.LessOrEqual(t, success(), 25)
	}
}

// After an outage the slow start goes to where the trouble began.
func TestLimitRemembersWhereTheTroubleBegan(t *testing.T) {
	now, l := epoch, NewLimit(LimitOptions{Initial: 40})
	for range 10 {
		now = now.Add(time.Minute)
		l.Report(now, TimedOut, 15*time.Second, 40)
	}
	require.Equal(t, 1, l.Cap())
	n := 0
	for ; l.Cap() < 20; n++ {
		now = now.Add(time.Second)
		l.Report(now, Succeeded, time.Second/2, l.Cap())
	}
	require.Less(t, n, 200)
}

func TestLimitKeepsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := LimitOptions{Min: rapid.IntRange(1, 10).Draw(t, "min")}
		o.Max = rapid.IntRange(o.Min, 100).Draw(t, "max")
		require.NoError(t, o.Validate())
		l := NewLimit(o)
		now := epoch
		for range rapid.IntRange(1, 300).Draw(t, "reports") {
			now = now.Add(time.Duration(rapid.IntRange(-5, 1000).Draw(t, "ms")) * time.Millisecond)
			outcome := Outcome(rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 1, 0, 2, 3, 4}).Draw(t, "outcome"))
			got := l.Report(now, outcome, time.Duration(rapid.IntRange(-1, 15000).Draw(t, "took"))*time.Millisecond, rapid.IntRange(0, 200).Draw(t, "in flight"))
			require.Equal(t, got, l.Cap())
			require.True(t, o.Min <= got && got <= o.Max, "%d is outside %d..%d", got, o.Min, o.Max)
		}
	})
}

func TestLimitOptionsAreChecked(t *testing.T) {
	require.NoError(t, LimitOptions{}.Validate())
	require.NoError(t, LimitOptions{Max: 1}.Validate())
	require.NoError(t, LimitOptions{Min: 9}.Validate())
	for want, o := range map[string]LimitOptions{
		"set it to 1 or more":    {Min: -1},
		"set it to 70 or more":   {Min: 70},
		"in-flight cap is -1":    {Max: -1},
		"set it to 1..8":         {Max: 8, Initial: 9},
		"set it to 5..64":        {Min: 5, Initial: 4},
		"first in-flight cap is": {Initial: -1},
	} {
		require.ErrorContains(t, o.Validate(), want)
	}
}

func BenchmarkLimit(b *testing.B) {
	l := NewLimit(LimitOptions{})
	now := epoch
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		l.Report(now, Succeeded, 50*time.Millisecond, l.Cap())
	}
}
