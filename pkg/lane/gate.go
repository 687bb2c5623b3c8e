package lane

import (
	"sync"
	"time"
)

// gate lets a bounded number of lanes through at once; the others wait in
// order of arrival, as entries in a list and not as goroutines.
type gate struct {
	mu      sync.Mutex
	limit   int
	busy    int
	waiting []*lane
	pass    func(*lane)
}

func (g *gate) enter(l *lane) {
	g.mu.Lock()
	if g.busy >= g.limit {
		g.waiting = append(g.waiting, l)
		g.mu.Unlock()
		return
	}
	g.busy++
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
	g.mu.Unlock()
	for _, l := range pass {
		g.pass(l)
	}
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

	mu        sync.Mutex
	congested bool // its lanes wait for more than a second: new ones are parked at once
	// open is since when this process has seen it open: what waited before that
	// says nothing of how it does.
	open        time.Time
	lastSuccess time.Time
	// The last failed attempt, whose it was, and the last one of another lane
	// than that.
	lastFailure  time.Time
	failedLane   ID
	otherFailure time.Time
}

// evidence is how long a failed attempt says that a destination is down.
const evidence = time.Minute

// down reports whether the destination is known to be down for a message of a
// lane that has waited since then: an attempt of another lane failed within the
// last minute, and none at all succeeded since. (The lane's own failures may be
// the fault of what stood before it.)
func (d *destination) down(id ID, since, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	failure := d.lastFailure
	if d.failedLane == id {
		failure = d.otherFailure
	}
	return now.Sub(failure) <= evidence && !d.lastSuccess.After(since)
}

// succeededSince reports whether any attempt succeeded after a time.
func (d *destination) succeededSince(t time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lastSuccess.After(t)
}

// waited returns for how long a message that was parked at a time has waited
// for nothing but the destination itself.
func (d *destination) waited(since, now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open.After(since) {
		since = d.open
	}
	return now.Sub(since)
}

func (d *destination) closed(now time.Time) {
	d.mu.Lock()
	d.open = now
	d.mu.Unlock()
}

func (d *destination) succeeded(now time.Time) {
	d.mu.Lock()
	d.lastSuccess = now
	d.mu.Unlock()
}

func (d *destination) failed(id ID, now time.Time) {
	d.mu.Lock()
	if d.failedLane != id {
		d.otherFailure, d.failedLane = d.lastFailure, id
	}
	d.lastFailure = now
	d.mu.Unlock()
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
