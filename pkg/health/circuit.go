package health

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// maxCoolDown is the limit of CircuitOptions.MaxCoolDown. pkg/lane takes a
// destination for down only where an attempt failed within the last minute; so
// a circuit that opens again and again must let one through more often.
const maxCoolDown = 45 * time.Second

// CircuitOptions says when a circuit opens, and for how long. The zero value has
// every default.
type CircuitOptions struct {
	// Failures is how many in a row open it. 0 means 10.
	Failures int
	// Rate is the part of the attempts of the last 30 s that opens it when it
	// has failed, 0 < Rate <= 1, where there were at least RateLeast of them.
	// 0 means 0.5 and 20.
	Rate      float64
	RateLeast int
	// CoolDown is the first pause. Each further one is twice as long, up to
	// MaxCoolDown, less up to a fifth at random. 0 means 1 s and 30 s.
	CoolDown, MaxCoolDown time.Duration
	// ProbeTimeout is how long a probe may take to report before the next
	// caller gets another: more than an attempt can last. 0 means 30 s.
	ProbeTimeout time.Duration
	// Rand returns numbers in [0, 1). nil means math/rand/v2.
	Rand func() float64
}

func (o CircuitOptions) withDefaults() CircuitOptions {
	o.Failures = orDefault(o.Failures, 10)
	o.Rate = orDefault(o.Rate, 0.5)
	o.RateLeast = orDefault(o.RateLeast, 20)
	o.CoolDown = orDefault(o.CoolDown, time.Second)
	o.MaxCoolDown = orDefault(o.MaxCoolDown, 30*time.Second)
	o.ProbeTimeout = orDefault(o.ProbeTimeout, 30*time.Second)
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Validate reports the first option that can't work.
func (o CircuitOptions) Validate() error {
	o = o.withDefaults()
	switch {
	case o.Failures < 1 || o.RateLeast < 1:
		return errors.New("a circuit opens after a number of failures below 1: set it above 0, or to 0 for its default")
	case !(o.Rate > 0 && o.Rate <= 1):
		return fmt.Errorf("the failure rate that opens a circuit is %v: set it above 0 and to 1 at most", o.Rate)
	case o.CoolDown < 0 || o.ProbeTimeout < 0:
		return errors.New("a circuit's cool-down or probe time-out is negative: set it above 0, or to 0 for its default")
	case o.MaxCoolDown < o.CoolDown || o.MaxCoolDown > maxCoolDown:
		return fmt.Errorf("a circuit's longest cool-down is %s: set it to %s..%s", o.MaxCoolDown, o.CoolDown, maxCoolDown)
	}
	return nil
}

// Circuit decides whether attempts are made at one destination. All methods may
// be called at once; time is an argument, and never waited for.
type Circuit struct {
	opts CircuitOptions

	mu   sync.Mutex
	open bool
	at   time.Time // of the last transition; see stamp
	term uint32    // counts openings and closings: tells a late report
	// While open: how often a probe has failed, plus one; and when the next
	// caller gets a probe, be it after the cool-down or after a probe that
	// never reported.
	openings int
	longest  time.Duration // what Bound said; 0: nothing
	next     time.Time
	probe    uint32 // the last probe handed out here
	mine     bool   // it is under way
	elses    string // who else has the probe, as a Board says

	window       window
	failures     int // in a row
	failingSince time.Time
	lastSuccess  time.Time
	lastFailure  time.Time
}

// NewCircuit returns a closed circuit. The options must be valid.
func NewCircuit(o CircuitOptions) *Circuit { return &Circuit{opts: o.withDefaults(), term: 1} }

// Pass is the leave for one attempt, and says what its report is worth. The zero
// Pass is none.
type Pass struct {
	term  uint32
	probe uint32
}

// Probe reports whether the attempt decides if the circuit closes.
func (p Pass) Probe() bool { return p.probe != 0 }

// Admit says whether an attempt may be made now. Each pass is to be reported
// once; a probe that isn't is given up after its time-out.
func (c *Circuit) Admit(now time.Time) (Pass, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return Pass{term: c.term}, true
	}
	if now.Before(c.next) {
		return Pass{}, false
	}
	c.probe++
	c.mine, c.elses = true, ""
	c.next = now.Add(c.opts.ProbeTimeout)
	return Pass{term: c.term, probe: c.probe}, true
}

// Report says what came of an attempt. What was admitted before the circuit
// opened or closed changes nothing any more, but for a success, which ends
// FailingSince.
func (c *Circuit) Report(now time.Time, p Pass, o Outcome) Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case o == Succeeded:
		return c.succeeded(now, p)
	case p.term != c.term:
		return Unchanged
	case c.open && (p.probe != c.probe || !c.mine): // of a probe that was given up
		return Unchanged
	case !o.failure():
		if !c.open {
			return Unchanged
		}
		c.mine, c.next = false, now
		return Released
	}
	return c.failed(now)
}

func (c *Circuit) succeeded(now time.Time, p Pass) Change {
	if p.term == 0 {
		return Unchanged
	}
	c.lastSuccess = later(c.lastSuccess, now)
	c.failures, c.failingSince = 0, time.Time{}
	switch {
	case p.term != c.term:
		return Unchanged
	case !c.open:
		c.window.add(now, false)
		return Unchanged
	}
	// Also one that was given up: it began after the circuit opened.
	c.close(c.stamp(now))
	return Reclosed
}

func (c *Circuit) failed(now time.Time) Change {
	c.failures++
	c.lastFailure = later(c.lastFailure, now)
	if c.failingSince.IsZero() {
		c.failingSince = now
	}
	if c.open {
		c.mine, c.at = false, c.stamp(now)
		c.openings++
		c.next = now.Add(c.coolDown())
		return Reopened
	}
	c.window.add(now, true)
	if c.failures < c.opts.Failures && !c.tooMany() {
		return Unchanged
	}
	c.trip(c.stamp(now), 1)
	c.next = now.Add(c.coolDown())
	return Opened
}

func (c *Circuit) tooMany() bool {
	w := &c.window
	return int(w.sum) >= c.opts.RateLeast && float64(w.failed) >= c.opts.Rate*float64(w.sum)
}

// stamp is the time of a transition that is made now: later than the last one,
// which may be of another machine, whose clock is ahead.
func (c *Circuit) stamp(now time.Time) time.Time {
	now = now.Round(0) // as a Board stores it
	if now.After(c.at) {
		return now
	}
	return c.at.Add(1)
}

func (c *Circuit) trip(at time.Time, openings int) {
	c.open, c.at, c.openings = true, at, openings
	c.term++
	c.mine, c.elses = false, ""
}

func (c *Circuit) close(at time.Time) {
	c.open, c.at, c.openings = false, at, 0
	c.term++
	c.mine, c.elses = false, ""
	c.next = time.Time{}
	c.failures, c.failingSince = 0, time.Time{}
	c.window = window{}
}

// coolDown is the pause after so many openings.
func (c *Circuit) coolDown() time.Duration {
	d := c.opts.MaxCoolDown
	if c.longest > 0 {
		d = min(d, c.longest)
	}
	if n := c.openings - 1; n < 16 && c.opts.CoolDown<<n < d {
		d = c.opts.CoolDown << n
	}
	return time.Duration(float64(d) * (1 - 0.2*c.opts.Rand()))
}

// Bound has the destination tried at least so often while the circuit is open, as
// far as the options don't say sooner; from the next cool-down on. 0: by the
// options alone.
func (c *Circuit) Bound(longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.longest = longest
}

// State returns the state at a time.
func (c *Circuit) State(now time.Time) State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state(now)
}

func (c *Circuit) state(now time.Time) State {
	switch {
	case !c.open:
		return Closed
	case c.mine, c.elses != "", !now.Before(c.next):
		return HalfOpen
	}
	return Open
}

// NextProbe returns when the next caller gets a probe: after the cool-down, or
// when a probe that is under way is given up. Zero while the circuit is closed.
func (c *Circuit) NextProbe() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

// FailingSince returns when the first attempt failed with no success since; zero
// if the last one that counts succeeded.
func (c *Circuit) FailingSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failingSince
}

// Status is a circuit at one moment.
type Status struct {
	State        State
	Since        time.Time // of the last transition; zero if there was none
	Openings     int       // in a row, without a success between
	NextProbe    time.Time // zero if closed
	Failures     int       // in a row
	FailingSince time.Time
	LastSuccess  time.Time // as far as this process knows
	LastFailure  time.Time // that counted
}

// Status returns all there is to know at once.
func (c *Circuit) Status(now time.Time) Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status(now)
}

func (c *Circuit) status(now time.Time) Status {
	return Status{
		State: c.state(now), Since: c.at, Openings: c.openings, NextProbe: c.next,
		Failures: c.failures, FailingSince: c.failingSince, LastSuccess: c.lastSuccess, LastFailure: c.lastFailure,
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
