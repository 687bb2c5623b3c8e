package lane

import (
	"context"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
)

// Circuit says whether attempts are made at one destination, and is told what
// came of each; *health.Destination is one. Its methods are called concurrently.
// Where it changes by what other processes report, Engine.CircuitChanged is to be
// called.
type Circuit interface {
	// Admit gives leave for one attempt. It may ask others whether it is to have
	// the probe, for a second or so.
	Admit(ctx context.Context, now time.Time) (health.Pass, bool)
	// Report says what came of an attempt that was admitted.
	Report(now time.Time, p health.Pass, o health.Outcome) health.Change
	// NextProbe is when the next caller gets a probe; zero while it is closed.
	NextProbe() time.Time
	Status(now time.Time) health.Status
	// Bound has the destination tried at least so often while the circuit is open.
	Bound(longest time.Duration)
}

const (
	// probeGap is the least time between two lanes that are woken to probe.
	probeGap = 10 * time.Millisecond
	// probePatience is how long a lane that was woken to probe may take to ask
	// for it before another one is: what it had may all have been given up.
	probePatience = time.Second
)

// barrier is where lanes wait while their destination's circuit is open, without
// an attempt. It wakes one when a probe is due, and all when the circuit closes:
// also those that wait since their head has failed. The destination's mutex guards
// it.
type barrier struct {
	circuit Circuit // nil: attempts are made whatever comes of them
	open    bool    // the circuit was, when it was last looked at
	lanes   lanes
	backing lanes       // that wait by their heads' schedules
	timer   *time.Timer // looks at the circuit; nil until it is needed
}

type lanes map[*lane]struct{}

func (ls *lanes) add(l *lane) {
	if *ls == nil {
		*ls = lanes{}
	}
	(*ls)[l] = struct{}{}
}

// all takes all out.
func (ls *lanes) all() lanes {
	out := *ls
	*ls = nil
	return out
}

// one takes one out, if there is one.
func (ls *lanes) one() lanes {
	for l := range *ls {
		delete(*ls, l)
		return lanes{l: {}}
	}
	return nil
}

// admit asks a destination's circuit for leave to make an attempt.
func admit(ctx context.Context, c Circuit, t *Task, now time.Time) (health.Pass, bool) {
	if c == nil || t.over { // that is no attempt
		return health.Pass{}, true
	}
	return c.Admit(ctx, now)
}

// turnBack lets a lane wait whose destination's circuit has let no attempt through.
func (s *shard) turnBack(ctx context.Context, l *lane, it *item, p Policy, state *chat.LaneState, now time.Time) {
	if state != nil && now.Before(state.Due) { // it was brought forward, and the circuit is open again
		s.backOff(l, it.wakeAt(state), p.Circuit)
		return
	}
	s.bar(ctx, l, it, p, now)
}

// bar lets a lane wait whose destination's circuit is open, parked; nothing of
// that counts as an attempt. It is looked at when its head will have waited for
// too long, when its time is up, and now and then.
func (s *shard) bar(ctx context.Context, l *lane, it *item, p Policy, now time.Time) {
	if it == l.hand { // its state is to be stored first
		s.waitUntil(l, time.Now().Add(stallPause))
		return
	}
	if err := s.removeSettled(ctx, l); err != nil { // what operators see is what waits
		s.stall(l, err)
		return
	}
	l.seen = new(it.span())
	s.mu.Lock()
	if !l.parked {
		s.setParked(l, parkedCircuit)
		s.startAppending(l)
	}
	l.due, l.wakeMe = earlier(now.Add(closedPoll), it.ends), true
	if vain := it.vainFrom(p, l, now); vain.After(now) {
		l.due = earlier(l.due, vain)
	}
	if !s.closed {
		l.barred = true
		l.dest.await(l)
	}
	s.mu.Unlock()
}

// backOff lets a lane wait until its head is due by its schedule, or its
// destination's circuit, having been open, closes.
func (s *shard) backOff(l *lane, until time.Time, c Circuit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.due = until
	if c != nil && !s.closed {
		l.backing = true
		l.dest.backOff(l)
	}
}

// unbar makes a lane due that waits for its destination's circuit, and reports
// whether it did; its head too, if the circuit has closed.
func (s *shard) unbar(l *lane, closed bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !l.barred && !l.backing {
		return false
	}
	l.due, l.early = time.Time{}, closed
	s.activate(l)
	return true
}

// leaveBarrier notes that a lane goes on, or that its shard ends; the mutex is held.
func (s *shard) leaveBarrier(l *lane) {
	if l.barred || l.backing {
		l.barred, l.backing = false, false
		l.dest.forget(l)
	}
}

// await lets a lane wait for the circuit.
func (d *destination) await(l *lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.barrier.lanes.add(l)
	d.barred.Store(true)
	d.lookSoon()
}

func (d *destination) backOff(l *lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.barrier.backing.add(l)
	if d.barrier.open && d.nextProbe().IsZero() { // it closes just now
		d.lookSoon()
	}
}

// forget takes a lane out that goes on.
func (d *destination) forget(l *lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.barrier.lanes, l)
	delete(d.barrier.backing, l)
	d.barred.Store(len(d.barrier.lanes) > 0)
}

// circuitChanged has the circuit looked at, by nobody who has to wait for that.
func (d *destination) circuitChanged() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lookSoon()
}

// lookSoon has the circuit looked at when a probe is due, at once if it has
// closed; the mutex is held.
func (d *destination) lookSoon() {
	var wait time.Duration
	if next := d.nextProbe(); !next.IsZero() {
		d.barrier.open = true
		wait = max(time.Until(next), probeGap)
	}
	d.lookIn(wait)
}

func (d *destination) lookIn(wait time.Duration) {
	if d.barrier.timer == nil {
		d.barrier.timer = time.AfterFunc(wait, d.look)
		return
	}
	d.barrier.timer.Reset(wait)
}

// nextProbe is the circuit's, where there is one.
func (d *destination) nextProbe() (t time.Time) {
	if c := d.barrier.circuit; c != nil {
		t = c.NextProbe()
	}
	return t
}

// look wakes all lanes if the circuit has closed, and one if a probe is due.
func (d *destination) look() {
	for {
		due, closed := d.due(time.Now())
		woken := false
		for l := range due {
			woken = l.shard.unbar(l, closed) || woken
		}
		if woken || len(due) == 0 {
			return
		}
	}
}

// due takes out the lanes that are to be woken, and says when to look again.
func (d *destination) due(now time.Time) (due lanes, closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := &d.barrier
	next := d.nextProbe()
	switch {
	case next.IsZero():
		due = b.lanes.all()
		if b.open && b.circuit != nil {
			for l := range b.backing.all() {
				due.add(l)
			}
		}
		closed, b.open = b.open, false
	case len(b.lanes) == 0: // the next one that is will ask
	case now.Before(next):
		d.lookIn(next.Sub(now))
	default:
		d.lookIn(probePatience)
		due = b.lanes.one()
	}
	d.barred.Store(len(b.lanes) > 0)
	return due, closed
}

// hear takes up what came of other workers' attempts, as far as the circuit knows.
func (d *destination) hear(c Circuit, now time.Time) {
	if c == nil {
		return
	}
	s := c.Status(now)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastSuccess = later(d.lastSuccess, s.LastSuccess)
	if s.LastFailure.After(d.lastFailure) {
		d.noteFailure(ID{}, s.LastFailure)
	}
}

// report tells the circuit and the cap what came of an attempt, which says of its
// destination what the verdict says.
func (s *shard) report(l *lane, t *Task, c Circuit, p health.Pass, o health.Outcome, began, now time.Time) {
	if t.over {
		return
	}
	d := l.dest
	d.came(l.id, o, now) // before the circuit knows, which is heard for other workers
	if limit := d.limit.Load(); limit != nil && o != health.Interrupted {
		if n := limit.Report(now, o, now.Sub(began), l.inFlight); n != int(d.cap.Load()) {
			d.cap.Store(int64(n))
			d.gate.resize(n)
		}
	}
	if c == nil {
		return
	}
	if change := c.Report(now, p, o); change != health.Unchanged {
		s.engine.metrics.transition(change)
		d.circuitChanged()
	}
}

// came notes what came of an attempt.
func (d *destination) came(id ID, o health.Outcome, now time.Time) {
	switch o {
	case health.Succeeded:
		d.succeeded(now)
	case health.Failed, health.Throttled, health.TimedOut:
		d.failed(id, now)
	case health.Interrupted:
	}
}

// CircuitChanged looks at a destination's circuit, which has opened, closed or
// got another time for its next probe. It doesn't block.
func (e *Engine) CircuitChanged(destination string) {
	e.mu.Lock()
	d := e.destinations[destination]
	e.mu.Unlock()
	if d != nil {
		d.circuitChanged()
	}
}

// Cap is how many lanes may be at work at a destination at once, in this process,
// and how many its policy allows; 0 where none has been yet.
func (e *Engine) Cap(destination string) (now, most int) {
	e.mu.Lock()
	d := e.destinations[destination]
	e.mu.Unlock()
	if d == nil {
		return 0, 0
	}
	d.mu.Lock()
	most = d.most
	d.mu.Unlock()
	return int(d.cap.Load()), most
}

// state is the circuit's.
func (d *destination) state(now time.Time) health.State {
	d.mu.Lock()
	c := d.barrier.circuit
	d.mu.Unlock()
	if c == nil {
		return health.Closed
	}
	return c.Status(now).State
}

func (d *destination) isLowered() bool {
	d.mu.Lock()
	most := d.most
	d.mu.Unlock()
	return int(d.cap.Load()) < most
}

// treat takes up a policy.
func (d *destination) treat(p Policy, now time.Time) {
	least, most := p.bounds()
	rate := p.rate()
	longest := p.Schedule.Longest()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed && p.Closed == "" {
		d.opened = now
	}
	if p.Circuit != nil && (longest != d.longest || p.Circuit != d.barrier.circuit) {
		// A message is not to wait longer for a probe than it would by its schedule.
		d.longest = longest
		p.Circuit.Bound(longest)
	}
	d.closed, d.barrier.circuit = p.Closed != "", p.Circuit
	same := least == d.least && most == d.most
	if same && rate == d.rate {
		return
	}
	d.least, d.most, d.rate = least, most, rate
	if !same {
		d.fit()
	}
	d.gate.adapt(int(d.cap.Load()), rate)
}

// fit makes the cap move between new bounds, from where it is; the mutex is held.
func (d *destination) fit() {
	n := d.most
	if d.least == d.most {
		d.limit.Store(nil)
	} else {
		o := health.LimitOptions{Min: d.least, Max: d.most}
		if last := d.limit.Load(); last != nil {
			o.Initial = min(max(last.Cap(), d.least), d.most)
		}
		limit := health.NewLimit(o)
		d.limit.Store(limit)
		n = limit.Cap()
	}
	d.cap.Store(int64(n))
}
