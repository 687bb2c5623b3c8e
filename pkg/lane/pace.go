package lane

import (
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/ratelimit"
)

// Rates gives out attempts at destinations that have a rate, among all workers;
// *ratelimit.Limiter is one. Take may block for a short time.
type Rates interface {
	Take(name string, rate chat.Rate, n int) ratelimit.Decision
	GiveBack(name string, rate chat.Rate, n int)
}

// pace lets a gate's lanes through as a rate allows. It asks for as many
// attempts as lanes wait and have room, in a goroutine of its own, and comes
// back when there are more; the lanes wait in the gate's line meanwhile. Its
// fields are guarded by the gate's mutex.
type pace struct {
	rates  Rates // nil: none is kept
	name   string
	rate   chat.Rate
	asking bool        // somebody asks, or will when the timer fires
	timer  *time.Timer // nil while somebody asks
}

// keeps reports whether a rate is kept.
func (p *pace) keeps() bool { return p.rates != nil && p.rate.Limits() }

// stop stops waiting for more; who asks just now goes on. The mutex is held.
func (p *pace) stop() {
	if p.timer != nil && p.timer.Stop() {
		p.timer, p.asking = nil, false
	}
}

// end stops waiting for good: the engine has ended.
func (g *gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pace.rates = nil
	g.pace.stop()
}

// askForMore has attempts asked for, if lanes wait that have room and nobody
// asks; the mutex is held.
func (g *gate) askForMore() {
	if g.pace.keeps() && !g.pace.asking && g.waiting.n > 0 && g.busy < g.limit {
		g.pace.asking = true
		go g.ask()
	}
}

// minWait is the least time between two calls that were granted nothing.
const minWait = time.Millisecond

// ask lets lanes through until none waits that has room, or no more is granted
// for a while.
func (g *gate) ask() {
	for {
		g.mu.Lock()
		g.pace.timer = nil
		p, n := g.pace, min(g.limit-g.busy, g.waiting.n)
		if n <= 0 || !p.keeps() {
			g.pace.asking = false
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		d := p.rates.Take(p.name, p.rate, n) // bounded by itself
		unused := d.Granted
		for unused > 0 {
			l := g.take()
			if l == nil {
				break
			}
			if !l.shard.gone.Load() { // else it just leaves
				l.allowed = true
				unused--
			}
			g.pass(l)
		}
		if unused > 0 {
			p.rates.GiveBack(p.name, p.rate, unused)
		}
		g.mu.Lock()
		wait := d.Granted < n && g.pace.rate == p.rate && g.pace.rates != nil
		if wait {
			g.pace.timer = time.AfterFunc(max(d.Wait, minWait), g.ask)
		}
		g.mu.Unlock()
		if wait {
			return
		}
	}
}

// letOut lets those of some lanes through that wait for the rate, as far as there
// is room.
func (g *gate) letOut(lanes map[*lane]bool) {
	g.mu.Lock()
	var out []*lane
	if g.pace.keeps() {
		out = g.waiting.pick(lanes, g.limit-g.busy)
		for _, l := range out {
			g.busy++
			l.inFlight = g.busy
		}
		g.passed += len(out)
	}
	g.mu.Unlock()
	for _, l := range out {
		g.pass(l)
	}
}

// again reports whether a lane that has been let through may make another
// attempt: nobody else waits, and the rate allows it.
func (g *gate) again() bool {
	g.mu.Lock()
	p, others := g.pace, g.waiting.n > 0
	g.mu.Unlock()
	return !p.keeps() || !others && p.rates.Take(p.name, p.rate, 1).Granted == 1
}

// giveBack returns an attempt that a lane was let through for and did not make:
// the next that waits has it.
func (g *gate) giveBack() {
	g.mu.Lock()
	p := g.pace
	g.mu.Unlock()
	if !p.keeps() {
		return
	}
	p.rates.GiveBack(p.name, p.rate, 1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pace.stop()
	g.askForMore()
}
