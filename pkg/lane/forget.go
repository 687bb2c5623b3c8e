package lane

import (
	"context"
	"time"
)

// maxDestinations is how many destinations are remembered that no lane waits for
// or is at, about 300 bytes each.
const maxDestinations = 8192

// forgetDestinations drops, now and then, the destinations that no lane needs,
// where there are too many: they are made anew at the next use, and know nothing
// of what failed there before, which gives up nobody.
func (e *Engine) forgetDestinations(ctx context.Context) {
	tick := time.NewTicker(e.ReconcileEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.forgetUnused(maxDestinations)
		}
	}
}

// forgetUnused keeps at most so many destinations, and those that are needed. It
// holds the mutexes of all shards, so that no lane begins with one that is being
// dropped: two of a name would let twice as many through. Nobody else holds more
// than one of them.
func (e *Engine) forgetUnused(keep int) {
	if e.destinationCount() <= keep {
		return
	}
	shards := map[*shard]bool{}
	needed := map[*destination]bool{}
	for _, s := range e.running() {
		shards[s] = true
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range s.lanes {
			if !l.idle() {
				needed[l.dest] = true
			}
		}
	}
	dropped := e.dropDestinations(keep, shards, needed)
	for s := range shards {
		for _, l := range s.lanes {
			if dropped[l.dest] {
				l.dest = nil // it is idle
			}
		}
	}
}

func (e *Engine) destinationCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.destinations)
}

// dropDestinations drops those that are neither needed nor at work for a shard
// that is at its end, until so many are left; none where there is a shard beside
// those that are held.
func (e *Engine) dropDestinations(keep int, held map[*shard]bool, needed map[*destination]bool) map[*destination]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.shards {
		if !held[s] {
			return nil
		}
	}
	dropped := map[*destination]bool{}
	for name, d := range e.destinations {
		if len(e.destinations) <= keep {
			break
		}
		if !needed[d] && d.gate.unused() {
			delete(e.destinations, name)
			dropped[d] = true
		}
	}
	return dropped
}

// unused reports whether no lane is through, or waits to be.
func (g *gate) unused() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.busy == 0 && g.waiting.n == 0
}
