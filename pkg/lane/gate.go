package lane

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
)

// gate lets a bounded number of lanes through at once; the others wait in a
// line, as entries and not as goroutines.
type gate struct {
	mu      sync.Mutex
	limit   int
	busy    int
	waiting line
	pass    func(*lane)
	pace    pace

	// How many have passed since when, and how many a second did before that.
	passed     int
	since      time.Time
	throughput float64
}

func (g *gate) enter(l *lane) {
	g.mu.Lock()
	if g.busy >= g.limit || g.pace.keeps() {
		g.waiting.push(l)
		g.askForMore()
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
	g.busy--
	var next *lane
	if g.pace.keeps() {
		g.askForMore()
	} else {
		next = g.next()
	}
	g.mu.Unlock()
	if next != nil {
		g.pass(next)
	}
}

// next takes the lane whose turn it is out of the line; nil where none waits or
// has room. The mutex is held.
func (g *gate) next() *lane {
	if g.waiting.n == 0 || g.busy >= g.limit {
		return nil
	}
	g.busy++
	g.passed++
	l := g.waiting.pop()
	l.inFlight = g.busy
	return l
}

// take is next, for who doesn't hold the mutex.
func (g *gate) take() *lane {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.next()
}

// atWork is how many have passed and not left.
func (g *gate) atWork() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.busy
}

// adapt changes limit and rate, and lets through whom there is room for now; who
// waits for the old rate waits for the new one.
func (g *gate) adapt(limit int, rate chat.Rate) {
	g.mu.Lock()
	if g.limit == limit && g.pace.rate == rate {
		g.mu.Unlock()
		return
	}
	g.limit = limit
	if g.pace.rate != rate {
		g.pace.rate = rate
		g.pace.stop()
	}
	g.askForMore()
	keeps := g.pace.keeps()
	g.mu.Unlock()
	if !keeps {
		g.letIn()
	}
}

// resize changes the limit.
func (g *gate) resize(limit int) {
	g.mu.Lock()
	g.limit = limit
	g.askForMore()
	keeps := g.pace.keeps()
	g.mu.Unlock()
	if !keeps {
		g.letIn()
	}
}

// letIn lets through whom there is room for.
func (g *gate) letIn() {
	for l := g.take(); l != nil; l = g.take() {
		g.pass(l)
	}
}

// isSlow reports whether those who pass take a second and more, on the whole: so
// much says that it is the destination, however short the process is of CPU.
func (g *gate) isSlow(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.measure(now) < float64(g.limit)
}

// passes returns how many pass a second.
func (g *gate) passes(now time.Time) float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.measure(now)
}

// measure returns how many pass a second, infinitely many where that isn't known:
// it counts while it is asked, and anew after a pause. The mutex is held.
func (g *gate) measure(now time.Time) float64 {
	switch took := now.Sub(g.since); {
	case took >= 4*time.Second:
		g.throughput = math.Inf(1)
		g.passed, g.since = 0, now
	case took >= time.Second:
		g.throughput = float64(g.passed) / took.Seconds()
		g.passed, g.since = 0, now
	case took >= patience/5 && math.IsInf(g.throughput, 1): // better than nothing
		g.throughput = float64(g.passed) / took.Seconds()
	}
	return g.throughput
}

// holds reports whether a lane of the group waits.
func (g *gate) holds(group string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting.has(group)
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
	congested   map[string]bool // groups whose lanes wait for more than a second: new ones are parked at once
	known       time.Time       // since when this process knows it
	closed      bool
	opened      time.Time // when it was opened again; zero if it never was closed
	lastSuccess time.Time
	// The last failed attempt, whose it was, and the last one of another lane
	// than that.
	lastFailure  time.Time
	failedLane   ID
	otherFailure time.Time
	least, most  int           // the limit's bounds
	rate         chat.Rate     // the gate's
	longest      time.Duration // that its schedule waits between two attempts
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
	return now.Sub(later(parkedAt, d.opened)) > wait && now.Sub(d.known) >= evidence && !d.lastSuccess.After(parkedAt)
}

// openSince returns a time, or when the destination was opened if that was later.
func (d *destination) openSince(t time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return later(t, d.opened)
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

func (d *destination) setCongested(group string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.congested == nil {
		d.congested = map[string]bool{}
	}
	d.congested[group] = true
}

// isCongested clears itself once no lane of the group waits any more.
func (d *destination) isCongested(group string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.congested[group] && !d.gate.holds(group) {
		delete(d.congested, group)
	}
	return d.congested[group]
}
