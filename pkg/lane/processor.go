package lane

import (
	runtime "runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// processor tells whether the process is short of CPU: then lanes wait because
// of that, whatever their destinations could take, and parking them would only
// be more work. What tells is how long a goroutine that can run waits until it
// does.
type processor struct {
	spare atomic.Bool // there was CPU to spare when it was judged last

	mu      sync.Mutex
	judged  time.Time
	latency []runtime.Sample
	before  []uint64 // the histogram then
}

const (
	// shortFrom is how long a tenth of the goroutines wait at least where the
	// process is short of CPU. Measured: 200 to 300 µs with both cores full, a few
	// µs where endpoints are what is waited for.
	shortFrom = 100 * time.Microsecond
	// judgedEvery is how long one judgement holds.
	judgedEvery = 200 * time.Millisecond
)

// isShort is true until it was judged: to wait for a moment costs less than to park.
func (p *processor) isShort() bool { return !p.spare.Load() }

// judge judges by what happened since the last judgement.
func (p *processor) judge(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.judged) < judgedEvery {
		return
	}
	p.judged = now
	if p.latency == nil {
		p.latency = []runtime.Sample{{Name: "/sched/latencies:seconds"}}
	}
	runtime.Read(p.latency)
	if p.latency[0].Value.Kind() != runtime.KindFloat64Histogram {
		return
	}
	h := p.latency[0].Value.Float64Histogram()
	if len(p.before) == len(h.Counts) {
		p.spare.Store(quantile(h, p.before, .9) < shortFrom.Seconds())
	}
	p.before = append(p.before[:0], h.Counts...)
}

// quantile is that of what came into a histogram since, rounded down; 0 where
// nothing did.
func quantile(h *runtime.Float64Histogram, before []uint64, q float64) float64 {
	var all, seen uint64
	for i, n := range h.Counts {
		all += n - before[i]
	}
	for i, n := range h.Counts {
		if seen += n - before[i]; float64(seen) > q*float64(all) {
			return h.Buckets[i]
		}
	}
	return 0
}
