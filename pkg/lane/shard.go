package lane

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/wire"
)

// shard is one partition at work.
type shard struct {
	engine *Engine
	lease  partition.Lease
	store  Store
	source Source
	log    *zap.Logger

	commands Commands // nil where none come

	// fetching ends when nothing new is to be started, trying when attempts
	// under way must stop, working when the record of what they came to must.
	fetching context.Context //nolint:containedctx // lives exactly as long as the shard
	trying   context.Context //nolint:containedctx // as above
	working  context.Context //nolint:containedctx // as above
	cut      context.CancelCauseFunc
	abort    context.CancelCauseFunc
	workers  sync.WaitGroup
	slots    chan struct{} // one for each message in hand
	newer    chan error    // what a lane has met that only a newer Parley reads

	mu       sync.Mutex
	closed   bool
	gone     atomic.Bool // the same, for who doesn't hold the mutex
	lanes    map[ID]*lane
	forgetAt int // lanes at which the idle ones are looked for
	inHand   map[uint64]*hot
	timers   dueHeap
	oldest   map[string]time.Time // by group, of lanes that were found parked; see lookUp
	kick     chan struct{}        // the earliest timer changed

	// What may have ended the owners before; see care.
	care     *care
	suspects map[partition.Work]bool
	sure     bool // it is the only one, and has
	// routing stands in line for the suspects that are not in a lane yet.
	routing     lane
	routingTurn chan struct{}
}

func newShard(ctx context.Context, e *Engine, lease partition.Lease, store Store, source Source, log *zap.Logger) *shard {
	working, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	trying, cut := context.WithCancelCause(working)
	works, vanished := lease.Suspects()
	suspects := make(map[partition.Work]bool, len(works))
	for _, w := range works {
		suspects[w] = true
	}
	s := &shard{
		engine: e, lease: lease, store: store, source: source, log: log,
		fetching: ctx, trying: trying, working: working, cut: cut, abort: abort,
		slots: make(chan struct{}, window), newer: make(chan error, 1),
		lanes: map[ID]*lane{}, inHand: map[uint64]*hot{}, kick: make(chan struct{}, 1),
		care: newCare(lease), routingTurn: make(chan struct{}, 1),
		suspects: suspects, sure: len(suspects) == 1 && vanished >= poisonFrom,
	}
	s.routing.shard = s
	return s
}

// run adopts the parked lanes and pulls until the source fails or ctx ends.
func (s *shard) run(ctx context.Context) error {
	if err := s.adopt(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.pump(ctx) })
	g.Go(func() error { return s.runTimers(ctx) })
	g.Go(func() error { return s.sweep(ctx) })
	g.Go(func() error { return s.reconcile(ctx) })
	g.Go(func() error { return s.lookUp(ctx) })
	g.Go(func() error {
		select {
		case err := <-s.newer:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if s.engine.Commands != nil {
		s.commands = s.engine.Commands(s.lease.Partition())
		g.Go(func() error { return s.follow(ctx, s.commands) })
	}
	return g.Wait()
}

// adopt takes the lanes that are parked in the store: each is due now, and
// reads its own state when it gets to work.
func (s *shard) adopt(ctx context.Context) error {
	found, err := s.store.Lanes(ctx)
	if err != nil {
		return fmt.Errorf("listing parked lanes: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range found {
		s.take(p)
	}
	return nil
}

// take makes a lane of what was found parked; the mutex is held.
func (s *shard) take(p ParkedLane) {
	l := s.lane(p.ID)
	l.parked, l.loaded, l.hasState, l.looked, l.headTime = true, false, p.HasState, false, time.Time{}
	s.countParked(1)
	s.schedule(l, time.Now())
}

// reconcile takes, now and then, the lanes that are parked in the store and
// that this owner doesn't know of: an owner before that was stopped may have
// stored something, when it went on, after the lanes were listed. That is a
// second copy of what was still in the work queue; the lane's mark says so. A
// lane that is at work is left for the next time.
func (s *shard) reconcile(ctx context.Context) error {
	tick := time.NewTicker(s.engine.ReconcileEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		found, err := s.store.Lanes(ctx)
		if err != nil {
			s.stalled(fmt.Errorf("listing parked lanes: %w", err))
			continue
		}
		s.mu.Lock()
		for _, p := range found {
			if l := s.lanes[p.ID]; !s.closed && (l == nil || l.idle()) {
				s.take(p)
			}
		}
		s.mu.Unlock()
	}
}

// pump delivers the work queue to the lanes, in order.
func (s *shard) pump(ctx context.Context) error {
	var last uint64
	for {
		if err := s.waitForSlot(ctx); err != nil {
			return err
		}
		d, err := s.source.Next(ctx)
		if err != nil {
			return err
		}
		if d.Number != last+1 {
			return fmt.Errorf("delivery %d followed %d: one was lost on its way", d.Number, last)
		}
		last = d.Number
		if err := s.accept(ctx, d); err != nil {
			return err
		}
	}
}

// waitForSlot waits for a place in the window. The window is everyone's: when
// it stands still, every lane that holds it up is parked; after a longer time
// where it may be the processor that is short. While it moves, waiting in the work
// queue is cheaper than parking.
func (s *shard) waitForSlot(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	tick := time.NewTicker(stuck)
	defer tick.Stop()
	for stands := 1; ; stands++ {
		select {
		case s.slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			if stands%stuckWhenShort == 0 || !s.engine.processor.isShort() {
				s.makeRoom(now)
			}
		}
	}
}

// makeRoom parks the hot lanes that don't move: whose head takes long, or has
// stalled. Those that wait for their destination are left to parkSlow.
func (s *shard) makeRoom(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if l.hot() && (!l.active || l.atWork && now.Sub(l.since) >= stuck) {
			s.park(l, parkedOverflow)
		}
	}
}

// accept puts a delivery into its lanes.
func (s *shard) accept(ctx context.Context, d *Delivery) error {
	h := &hot{seq: d.Seq, ack: d.Ack}
	s.mu.Lock()
	_, known := s.inHand[d.Seq]
	if !known {
		s.inHand[d.Seq] = h
	}
	s.mu.Unlock()
	if known { // a redelivery of what is under way
		<-s.slots
		return nil
	}
	s.engine.metrics.inHand.Inc()
	routed, err := s.routeWithCare(ctx, d)
	if err != nil {
		return err
	}
	if errors.Is(routed.fault, wire.ErrNewer) {
		return routed.fault
	}
	if routed.fault != nil {
		h.open = 1
		s.workers.Go(func() { s.buryUndecodable(h, &d.Message, routed.fault) })
		return nil
	}
	targets := routed.targets
	h.open = max(1, len(targets))
	if len(targets) == 0 {
		s.release(h)
		return nil
	}
	for i := range targets {
		s.push(&item{Target: targets[i], msg: &d.Message, hot: h})
	}
	return nil
}

// release notes that one lane is done with a hot message, and acknowledges it
// after the last.
func (s *shard) release(h *hot) {
	s.mu.Lock()
	h.open--
	last := h.open == 0
	if last {
		delete(s.inHand, h.seq)
	}
	closed := s.closed
	s.mu.Unlock()
	if !last {
		return
	}
	if !closed {
		s.engine.metrics.inHand.Dec()
	}
	h.ack()
	<-s.slots
}

// push puts a hot message at the end of its lane.
func (s *shard) push(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	l := s.lane(it.Lane)
	l.queue = append(l.queue, it)
	switch {
	case l.parked:
		s.startAppending(l)
	case l.queue[0].pending != nil: // it waits to be parked with its state
	case len(l.queue) > maxShare && len(s.slots) == window && !s.engine.processor.isShort(): // it holds much of what is everyone's
		s.park(l, parkedOverflow)
	case !l.active && len(l.queue) == 1 && s.destinationOf(l).isCongested(l.id.Group) && !s.engine.processor.isShort():
		s.parkWaiting(l, parkedCongested)
	case !l.active && len(l.queue) == 1 && l.dest.barred.Load():
		s.parkWaiting(l, parkedCircuit)
	case l.dueAt < 0: // else its head has stalled
		s.activate(l)
	}
}

// lane returns the lane of an id, made at first use; the mutex is held.
func (s *shard) lane(id ID) *lane {
	l := s.lanes[id]
	if l == nil {
		if len(s.lanes) >= s.forgetAt {
			s.forgetIdle()
		}
		l = &lane{id: id, name: id.String(), shard: s, dueAt: -1}
		s.lanes[id] = l
	}
	return l
}

// forgetIdle drops lanes that have nothing to do, where there are more lanes than
// the partition's share; their marks are read again when they come back. It drops
// a quarter of the share at most, so that nobody waits for long.
func (s *shard) forgetIdle() {
	share := s.engine.idleShare()
	left := share / 4
	for id, l := range s.lanes {
		if left == 0 || len(s.lanes) <= share/8*7 {
			break
		}
		if l.idle() {
			delete(s.lanes, id)
			left--
		}
	}
	switch {
	case len(s.lanes) < share:
		s.forgetAt = share
	case left == 0: // fewer come until the next look than it drops
		s.forgetAt = len(s.lanes) + share/8
	default: // most are parked, and to look at each takes its time
		s.forgetAt = len(s.lanes) + len(s.lanes)/8
	}
}

func (s *shard) destinationOf(l *lane) *destination {
	name := s.engine.handler.Destination(l.id.Group)
	if l.dest == nil || l.dest.name != name {
		l.dest = s.engine.destination(name)
	}
	return l.dest
}

// activate sends a lane to the gates; the mutex is held.
func (s *shard) activate(l *lane) {
	if l.active || s.closed {
		return
	}
	l.active, l.since, l.wakeMe, l.allowed = true, time.Now(), false, false
	s.unschedule(l)
	s.leaveBarrier(l)
	dest := s.destinationOf(l)
	l.through.Store(false)
	dest.gate.enter(l)
}

// start is called when both gates have let a lane through, perhaps under a
// shard's mutex.
func (s *shard) start(l *lane) { s.engine.hands.take(l) }

// work takes a lane a step further.
func (s *shard) work(l *lane) {
	begun := s.begin(l)
	if begun {
		defer s.workers.Done()
		s.step(s.working, l)
	}
	s.leave(l)
	if begun {
		s.rest(l)
	}
}

// begin counts a worker in, unless the shard is closed.
func (s *shard) begin(l *lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	l.since, l.atWork, l.asked = time.Now(), true, l.command != nil
	l.brought, l.early = l.early, false
	s.workers.Add(1)
	return true
}

func (s *shard) leave(l *lane) {
	if l.allowed {
		l.dest.gate.giveBack()
	}
	s.engine.gate.leave()
	l.dest.gate.leave()
}

// rest decides what a lane does after a step.
func (s *shard) rest(l *lane) {
	var next *lane
	defer func() { wakeForTurn(next) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	l.active, l.atWork = false, false
	recalled := l.recalled
	l.recalled = false
	if len(s.suspects) > 0 {
		next = s.engine.Alone.pass(l)
	}
	s.overtaken(l)
	switch {
	case s.closed:
		s.finish(l)
	case s.fetching.Err() != nil:
	case recalled && l.command != nil:
		l.due = time.Time{}
		s.activate(l)
	case l.due.After(time.Now()):
		s.schedule(l, l.due)
	case !l.parked:
		if len(l.queue) > 0 {
			s.activate(l)
		}
	case l.appending && (!l.loaded || l.drained()): // who has the tail wakes it
	default:
		s.activate(l)
	}
}

// wakeDestination makes the lanes that wait for their destination due.
func (s *shard) wakeDestination(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if l.wakeMe && l.dest != nil && l.dest.name == name {
			l.due = time.Time{}
			s.activate(l)
		}
	}
}

// sweep parks what its destination can't take within patience.
func (s *shard) sweep(ctx context.Context) error {
	tick := time.NewTicker(patience / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			s.engine.processor.judge(now)
			s.parkSlow(now)
			s.parkCrowd(now)
			s.letOut(now)
			if seq, held := s.source.HeldUp(now); held {
				s.parkHolder(seq)
			}
		}
	}
}

func (s *shard) parkSlow(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	short := s.engine.processor.isShort()
	for _, l := range s.lanes {
		if l.hot() && l.active && !l.through.Load() && now.Sub(l.since) >= patience && (!short || l.dest.gate.isSlow(now)) {
			l.dest.setCongested(l.id.Group)
			s.parkWaiting(l, parkedCongested)
		}
	}
}

// parkWaiting parks a lane that waits for its destination; nobody has its head.
// The mutex is held.
func (s *shard) parkWaiting(l *lane, reason string) {
	l.looked, l.ends = true, l.queue[0].span().end(s.engine.handler.Policy(l.dest.name))
	s.park(l, reason)
}

// letOut lets lanes go on that wait for their destination's rate and may have no
// attempt to make: their head's time is up, or not known, or an operator asks
// something.
func (s *shard) letOut(now time.Time) {
	var out map[*gate]map[*lane]bool
	s.mu.Lock()
	for _, l := range s.lanes {
		if !l.active || l.through.Load() || l.command == nil && !l.mayEnd(now) {
			continue
		}
		if out == nil {
			out = map[*gate]map[*lane]bool{}
		}
		if out[&l.dest.gate] == nil {
			out[&l.dest.gate] = map[*lane]bool{}
		}
		out[&l.dest.gate][l] = true
	}
	s.mu.Unlock()
	for g, lanes := range out {
		g.letOut(lanes)
	}
}

// parkCrowd parks the lanes of a group that fill half of a full window while
// they wait for their destination, unless that takes them about as fast as they
// would be parked: the window moves at that destination's pace, and whoever's
// messages come behind would have to.
func (s *shard) parkCrowd(now time.Time) {
	if len(s.slots) < window {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := map[string]int{}
	crowds := func(l *lane) bool { return l.hot() && l.active && !l.through.Load() }
	for _, l := range s.lanes {
		if crowds(l) {
			waiting[l.id.Group] += len(l.queue)
		}
	}
	short := s.engine.processor.isShort()
	for _, l := range s.lanes {
		if waiting[l.id.Group] < window/2 || !crowds(l) {
			continue
		}
		if passes := l.dest.gate.passes(now); passes < parkingPace && !short {
			l.dest.setCongested(l.id.Group)
			s.parkWaiting(l, parkedCongested)
		}
	}
}

// parkHolder parks the lanes that have a message at their head, so that it
// leaves the work queue.
func (s *shard) parkHolder(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if l.hot() && l.queue[0].hot.seq == seq {
			s.park(l, parkedOverflow)
		}
	}
}

// outcome counts and reports an end.
func (s *shard) outcome(t *Task, a *chat.Attempt, o chat.Outcome) {
	if c := s.engine.metrics.outcomes[o]; c != nil {
		c.Inc()
	}
	s.engine.handler.Ended(t, a, o)
}
