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

	mu          sync.Mutex
	congested   bool // its lanes wait for more than a second: new ones are parked at once
	lastFailure time.Time
	lastSuccess time.Time
}

// down reports whether the destination is known to be down for a message that
// has waited since then: an attempt failed within the last minute, and none
// succeeded since.
func (d *destination) down(since, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return now.Sub(d.lastFailure) <= time.Minute && !d.lastSuccess.After(since)
}

func (d *destination) succeeded(now time.Time) {
	d.mu.Lock()
	d.lastSuccess = now
	d.mu.Unlock()
}

func (d *destination) failed(now time.Time) {
	d.mu.Lock()
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
