package lane_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parleyhq/parley/pkg/health"
)

// modelCircuit is a destination's circuit as all lives share it. One that dies
// keeps its probe, and tells the next life nothing.
type modelCircuit struct {
	circuit *health.Circuit

	mu       sync.Mutex
	admitted int // attempts, less those that were made
	refused  int64
}

// newModelCircuit is quick to open.
func newModelCircuit(rng *rand.Rand) *modelCircuit {
	return &modelCircuit{circuit: health.NewCircuit(health.CircuitOptions{
		Failures: 1 + rng.IntN(5), CoolDown: pick(rng, 10*time.Millisecond, time.Second), Rand: func() float64 { return .5 },
	})}
}

// Admit implements lane.Circuit.
func (c *modelCircuit) Admit(_ context.Context, now time.Time) (health.Pass, bool) {
	pass, ok := c.circuit.Admit(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok {
		c.admitted++
	} else {
		c.refused++
	}
	return pass, ok
}

// made notes an attempt, and reports whether it was admitted.
func (c *modelCircuit) made() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.admitted--
	return c.admitted >= 0
}

func (c *modelCircuit) refusals() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// Report implements lane.Circuit.
func (c *modelCircuit) Report(now time.Time, p health.Pass, o health.Outcome) health.Change {
	return c.circuit.Report(now, p, o)
}

// NextProbe implements lane.Circuit.
func (c *modelCircuit) NextProbe() time.Time { return c.circuit.NextProbe() }

// Bound implements lane.Circuit.
func (c *modelCircuit) Bound(longest time.Duration) { c.circuit.Bound(longest) }

// Status implements lane.Circuit.
func (c *modelCircuit) Status(now time.Time) health.Status { return c.circuit.Status(now) }
