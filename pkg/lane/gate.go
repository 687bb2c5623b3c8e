package lane

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/pkg/health"
)

// gate lets a bounded number of lanes through at once; the others wait in
// order of arrival, as entries in a list and not as goroutines.
type gate struct {
	mu      sync.Mutex
	limit   int
	busy    int
	waiting []*lane
	pass    func(*lane)

	// How many have passed since when, and whether they took long before that.
	passed int
	since  time.Time
	slow   bool
}

func (g *gate) enter(l *lane) {
	g.mu.Lock()
	if g.busy >= g.limit {
		g.waiting = append(g.waiting, l)
		g.mu.Unlock()
		return
	}
	g.busy++
	g.passed++
	l.inFlight = g.busy
	g.mu.Unlock()
	g.pass(l)
}

func (g *gate) leave() {
	g.mu.Lock()
	if len(g.waiting) == 0 || g.busy > g.limit {
		g.busy--
		g.mu.Unlock()
		return
	}
	l := g.waiting[0]
	g.waiting[0] = nil
	g.waiting = g.waiting[1:]
	g.passed++
	l.inFlight = g.busy
	g.mu.Unlock()
	g.pass(l)
}

// resize changes the limit and lets through whom it now has room for.
func (g *gate) resize(limit int) {
	g.mu.Lock()
	if g.limit == limit {
		g.mu.Unlock()
		return
	}
	g.limit = limit
	n := min(len(g.waiting), max(0, g.limit-g.busy))
	pass := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	g.busy += n
	for _, l := range pass {
		l.inFlight = g.busy
	}
	g.mu.Unlock()
	for _, l := range pass {
		g.pass(l)
	}
}

// isSlow reports whether those who pass take a second and more, on the whole: so
// much says that it is the destination, however short the process is of CPU.
func (g *gate) isSlow(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if took := now.Sub(g.since); took >= time.Second {
		g.slow = float64(g.passed) < float64(g.limit)*took.Seconds()
		g.passed, g.since = 0, now
	}
	return g.slow
}

func (g *gate) empty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting) == 0
}

// destination is where lanes send to: its bulkhead, and what is known of how
// it does.
type destination struct {
	name string
	gate gate
	// The gate's limit, and what finds it; nil where the policy does.
	cap    atomic.Int64
	limit  atomic.Pointer[health.Limit]
	barred atomic.Bool // lanes wait at the barrier: new ones are parked at once

	mu          sync.Mutex
	congested   bool      // its lanes wait for more than a second: new ones are parked at once
	known       time.Time // since when this process knows it
	closed      bool
	opened      time.Time // when it was opened again; zero if it never was closed
	lastSuccess time.Time
	// The last failed attempt, whose it was, and the last one of another lane
	// than that.
	lastFailure  time.Time
	failedLane   ID
	otherFailure time.Time
	least, most  int // the limit's bounds
	barrier      barrier
}

// evidence is how long a failed attempt says that a destination is down, and
// how long a destination must be known before silence says so.
const evidence = time.Minute

// failing reports whether an attempt of another lane failed within the last
// minute. (The lane's own failures may be the fault of what stood before it.)
func (d *destination) failing(id ID, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	failure := d.lastFailure
	if d.failedLane == id {
		failure = d.otherFailure
	}
	return now.Sub(failure) <= evidence
}

// silentFor reports whether a message that waits since then has waited for
// longer than a time in which no attempt succeeded. The time until the
// destination was opened again is no evidence, nor is what this process can't
// know of since it has just started.
func (d *destination) silentFor(wait time.Duration, parkedAt, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	since := parkedAt
	if d.opened.After(since) {
		since = d.opened
	}
	return now.Sub(since) > wait && now.Sub(d.known) >= evidence && !d.lastSuccess.After(parkedAt)
}

func (d *destination) succeeded(now time.Time) {
	d.mu.Lock()
	d.lastSuccess = now
	d.mu.Unlock()
}

func (d *destination) failed(id ID, now time.Time) {
	d.mu.Lock()
	d.noteFailure(id, now)
	d.mu.Unlock()
}

// noteFailure notes a failed attempt, of another worker's lane if the id is
// empty; the mutex is held.
func (d *destination) noteFailure(id ID, at time.Time) {
	switch {
	case at.Before(d.lastFailure):
		if id != d.failedLane {
			d.otherFailure = later(d.otherFailure, at)
		}
		return
	case d.failedLane != id:
		d.otherFailure, d.failedLane = d.lastFailure, id
	}
	d.lastFailure = at
}

func (d *destination) setCongested() {
	d.mu.Lock()
	d.congested = true
	d.mu.Unlock()
}

// isCongested clears itself once no lane waits any more.
func (d *destination) isCongested() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.congested && d.gate.empty() {
		d.congested = false
	}
	return d.congested
}
