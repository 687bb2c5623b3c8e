package lane

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/wire"
)

// removeEvery is how far settled messages of a parked lane may lag in its
// stream before they are removed: its mark says meanwhile that they are done.
const removeEvery = 16

// readAhead is how many messages of a parked lane are read, and handled, in one
// step, and stint for how long at most: a step holds places at the gates.
const (
	readAhead = removeEvery
	stint     = 100 * time.Millisecond
)

// The messages of a lane are read and removed together unless the broker would
// look at more than nearby that stand between each two: that costs it 0.25 µs
// each, and a read and a removal more 30 µs. It looks within a block of its
// store, 8 MiB, and knows of each block whether the lane has messages there; so it
// doesn't look at all where they stand blockful apart.
const (
	nearby   = 64
	blockful = 1 << 15 // of the smallest messages
)

// together reports whether messages that stand so far apart are read together.
func together(distance uint64) bool { return distance <= nearby || distance >= blockful }

// park turns a hot lane into a parked one: everything in its queue is appended
// to the parked stream, the head too if it is being handled. The mutex is held.
func (s *shard) park(l *lane, reason string) {
	s.setParked(l, reason)
	if l.active && len(l.queue) > 0 { // the head may be under way
		l.queue[0].appended = make(chan struct{})
	}
	s.startAppending(l)
}

func (s *shard) setParked(l *lane, reason string) {
	l.parked, l.loaded = true, true
	l.headSeq, l.tailSeq, l.tail = 0, 0, chat.Ordinal{}
	if len(l.queue) > 0 {
		l.headTime = l.queue[0].msg.Time
	}
	s.engine.metrics.parked[reason].Inc()
	s.countParked(1)
}

// countParked changes the gauge, from which drain has taken the shard's lanes;
// the mutex is held.
func (s *shard) countParked(n int) {
	if !s.closed {
		s.engine.metrics.parkedNow.Add(float64(n))
	}
}

// shutLane parks a lane whose destination is closed, and lets it wait.
func (s *shard) shutLane(l *lane, p Policy) {
	l.shut = true
	s.mu.Lock()
	if !l.parked {
		if len(l.queue) == 0 {
			s.mu.Unlock()
			return
		}
		s.setParked(l, parkedClosed)
		s.startAppending(l)
	}
	s.mu.Unlock()
	var end time.Time
	if l.seen != nil {
		end = l.seen.end(p)
	}
	s.waitForChange(l, end, func(p Policy) bool { return p.Closed != "" })
}

// waitForChange lets a lane wait until its destination is woken, or its head's
// time is up, unless the policy that it waits for has come before it could be
// woken.
func (s *shard) waitForChange(l *lane, end time.Time, needed func(Policy) bool) {
	s.mu.Lock()
	l.due, l.wakeMe = earlier(time.Now().Add(closedPoll), end), true
	s.mu.Unlock()
	if !needed(s.policyOf(l)) {
		s.waitUntil(l, time.Time{})
	}
}

// startAppending gives the tail to a goroutine, if there is something to load
// or append and nobody has it; the mutex is held.
func (s *shard) startAppending(l *lane) {
	if l.appending || l.loaded && len(l.queue) == 0 || s.closed {
		return
	}
	l.appending = true
	s.workers.Go(func() { s.appendQueue(l) })
}

// appendQueue loads a lane that was found parked, appends what is in its queue,
// one after another, then lets go of the tail. It needs no gate: what waits for
// a slow or closed destination must not fill the partition's window.
func (s *shard) appendQueue(l *lane) {
	for {
		s.mu.Lock()
		if s.nothingToAppend(l) {
			l.appending = false
			s.nudge(l)
			s.mu.Unlock()
			return
		}
		if !l.loaded {
			s.mu.Unlock()
			if err := s.load(s.working, l); err != nil {
				s.stalled(err)
				sleep(s.fetching, stallPause)
			}
			continue
		}
		it := l.queue[0]
		there := it.appended == nil && it.msg.Replay == nil && l.tailSeq != 0 && l.tail.Covers(it.Place)
		s.mu.Unlock()
		if there { // delivered again, and in the lane already
			s.engine.metrics.covered.Inc()
			s.dequeue(l, it, 0)
			continue
		}
		seq, err := s.store.Append(s.working, l.id, it.msg)
		if err != nil {
			s.stalled(err)
			sleep(s.working, stallPause)
			continue
		}
		s.dequeue(l, it, seq)
	}
}

// nothingToAppend reports whether the tail can be let go: all is done, or is
// left to the next owner, but for a head under way. The mutex is held.
func (s *shard) nothingToAppend(l *lane) bool {
	if s.working.Err() != nil {
		return true
	}
	underWay := len(l.queue) > 0 && l.queue[0].appended != nil
	return !underWay && (s.closed || s.fetching.Err() != nil || l.loaded && len(l.queue) == 0)
}

// dequeue takes the first message out of the queue of a parked lane, now that
// it stands in the parked stream: at seq, or since before where seq is 0.
func (s *shard) dequeue(l *lane, it *item, seq uint64) {
	s.mu.Lock()
	h := it.hot
	it.hot = nil
	l.queue[0] = nil
	l.queue = l.queue[1:]
	if seq != 0 {
		s.placed(l, it, seq)
	}
	if it.appended != nil {
		it.appendedSeq = seq
		close(it.appended)
	}
	s.nudge(l)
	s.mu.Unlock()
	s.release(h)
}

// placed notes the lane's new tail; the mutex is held.
func (s *shard) placed(l *lane, it *item, seq uint64) {
	if l.drained() {
		l.headTime = it.msg.Time
	}
	if l.headSeq == 0 {
		l.headSeq = seq
	}
	l.tailSeq, l.tail = seq, it.Place
}

// nudge activates a lane that waits for nothing but a message; the mutex is
// held.
func (s *shard) nudge(l *lane) {
	if !l.active && l.dueAt < 0 {
		s.activate(l)
	}
}

// awaitAppended waits until a head that the lane was parked under has its
// place in the parked stream.
func (s *shard) awaitAppended(ctx context.Context, it *item) bool {
	if it.appended == nil {
		return true
	}
	select {
	case <-it.appended:
		if it.parkedSeq == 0 {
			it.parkedSeq, it.parkedAt = it.appendedSeq, time.Now()
		}
		return true
	case <-ctx.Done():
		return false
	}
}

// wait parks the head with its state until it is due. What the broker refuses
// of that is pending, and tried again at the next step.
func (s *shard) wait(ctx context.Context, l *lane, it *item, state *chat.LaneState) {
	if err := s.storeWaiting(ctx, l, it, state); err != nil {
		s.stall(l, err)
		return
	}
	it.pending = nil
	s.waitUntil(l, it.wakeAt(state))
}

func (s *shard) storeWaiting(ctx context.Context, l *lane, it *item, state *chat.LaneState) error {
	s.mu.Lock()
	l.hand, it.pending = it, state
	hot := !l.parked
	if hot {
		s.setParked(l, parkedRetry)
		l.appending = true
	}
	s.mu.Unlock()
	if hot {
		if err := s.parkHead(ctx, l, it); err != nil {
			return err
		}
	} else if !s.awaitAppended(ctx, it) {
		return context.Cause(ctx)
	}
	if err := s.removeSettled(ctx, l); err != nil {
		return err
	}
	if err := s.store.PutState(ctx, l.id, state); err != nil {
		return err
	}
	l.hand, l.state, l.hasState = nil, state, true
	if it.hot != nil {
		s.release(it.hot)
		it.hot = nil
	}
	return nil
}

// parkHead appends the head of a lane that becomes parked with it. It has the
// tail, and gives it on to who appends the rest.
func (s *shard) parkHead(ctx context.Context, l *lane, it *item) error {
	seq, err := s.store.Append(ctx, l.id, it.msg)
	s.mu.Lock()
	defer s.mu.Unlock()
	l.appending = false
	if err != nil {
		l.parked = false
		s.countParked(-1)
		return err
	}
	l.queue[0] = nil
	l.queue = l.queue[1:]
	it.parkedSeq, it.parkedAt = seq, time.Now()
	s.placed(l, it, seq)
	s.startAppending(l)
	return nil
}

// removeSettled removes what is settled of a parked lane.
func (s *shard) removeSettled(ctx context.Context, l *lane) error {
	if l.lagging == 0 {
		return nil
	}
	if err := s.store.Remove(ctx, l.id, l.headSeq-1); err != nil {
		return err
	}
	l.lagging = 0
	return nil
}

// unpark makes an emptied lane hot again.
func (s *shard) unpark(ctx context.Context, l *lane) error {
	s.mu.Lock()
	if l.appending || !l.drained() {
		s.mu.Unlock()
		return nil
	}
	l.appending = true
	s.mu.Unlock()
	err := s.clear(ctx, l)
	s.mu.Lock()
	defer s.mu.Unlock()
	l.appending = false
	if err != nil {
		return err
	}
	l.parked, l.state = false, nil
	s.countParked(-1)
	return nil
}

func (s *shard) clear(ctx context.Context, l *lane) error {
	if err := s.removeSettled(ctx, l); err != nil {
		return err
	}
	if !l.hasState {
		return nil
	}
	if err := s.store.DropState(ctx, l.id); err != nil {
		return err
	}
	l.hasState = false
	return nil
}

// head returns what is to be handled next; nil when there is nothing now.
func (s *shard) head(ctx context.Context, l *lane) (*item, error) {
	s.mu.Lock()
	drained, from, tail := l.drained(), l.headSeq, l.tailSeq
	switch {
	case !l.parked:
		defer s.mu.Unlock()
		if len(l.queue) == 0 {
			return nil, nil //nolint:nilnil // nothing to do
		}
		return l.queue[0], nil
	case !l.loaded:
		defer s.mu.Unlock()
		s.startAppending(l)
		return nil, nil //nolint:nilnil // who loads it wakes it
	}
	s.mu.Unlock()
	if drained {
		return nil, s.unpark(ctx, l)
	}
	return s.readHead(ctx, l, from, tail)
}

// readHead reads the head of a parked lane, between two places, from the store.
func (s *shard) readHead(ctx context.Context, l *lane, from, to uint64) (*item, error) {
	m, err := s.nextParked(ctx, l, from)
	if err != nil {
		return nil, err
	}
	if m == nil { // removed behind the lane's back, up to the tail that was known
		s.log.Error("messages of a parked lane are gone", zap.Uint64("from", from), zap.Uint64("to", to))
		s.advance(l, to)
		return nil, nil //nolint:nilnil // the next step sees what there is
	}
	s.mu.Lock()
	l.headTime = m.Time
	s.mu.Unlock()
	it := &item{msg: &m.Message, parkedSeq: m.ParkedSeq, parkedAt: m.ParkedAt}
	it.Target, err = s.engine.handler.Restore(&m.Message, l.id.Group)
	if err == nil {
		return it, nil
	}
	if c := s.commanded(l); c != nil && c.Action == Erase && c.means(it) {
		s.eraseUndecodable(ctx, l, it)
		return nil, nil //nolint:nilnil // the next step sees what there is
	}
	if errors.Is(err, wire.ErrNewer) {
		return nil, err
	}
	return nil, s.buryParked(ctx, l, it, err)
}

// nextParked returns a lane's first message at or after a sequence; nil where
// there is none.
func (s *shard) nextParked(ctx context.Context, l *lane, from uint64) (*ParkedMessage, error) {
	for len(l.ahead) > 0 && l.ahead[0].ParkedSeq < from {
		l.ahead = l.ahead[1:]
	}
	if len(l.ahead) == 0 {
		if err := s.readParked(ctx, l, from); err != nil || len(l.ahead) == 0 {
			return nil, err
		}
	}
	return &l.ahead[0], nil
}

// readParked reads on in a parked lane: several, or the first one, which the
// broker knows the place of once all before it are removed.
func (s *shard) readParked(ctx context.Context, l *lane, from uint64) error {
	most := readAhead
	if !l.together {
		most = 1
		if err := s.removeSettled(ctx, l); err != nil {
			return err
		}
	}
	found, err := s.store.Next(ctx, l.id, from, most)
	if err != nil || len(found) == 0 {
		return err
	}
	l.ahead = found
	first, last := found[0].ParkedSeq, found[len(found)-1].ParkedSeq
	switch {
	case len(found) > 1:
		l.together = together((last - first) / uint64(len(found)-1))
	case l.readTo != 0 && first > l.readTo: // else it was read before
		l.together = together(first - l.readTo)
	}
	l.readTo = last
	return nil
}

// goesOn reports whether a parked lane has more in hand that can be handled now.
func (s *shard) goesOn(l *lane, until time.Time) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	advanced := len(l.ahead) > 1 && l.headSeq > l.ahead[0].ParkedSeq && now.Before(until)
	return l.parked && (advanced && !l.drained() || l.emptied()) && l.hand == nil && l.due.IsZero() && s.fetching.Err() == nil
}

// load reads the tail and the state of a lane that was found parked; the caller
// has its tail, and nobody its head.
func (s *shard) load(ctx context.Context, l *lane) error {
	last, err := s.store.Last(ctx, l.id)
	if err != nil {
		return err
	}
	var state *chat.LaneState
	if l.hasState {
		if state, err = s.store.State(ctx, l.id); err != nil {
			return err
		}
	}
	var tail chat.Ordinal
	if last != nil {
		target, err := s.engine.handler.Restore(&last.Message, l.id.Group)
		if errors.Is(err, wire.ErrNewer) {
			return err
		}
		if err == nil {
			tail = target.Place
		} // else it is given up when it is the head
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.loaded, l.state, l.tail = true, state, tail
	l.headSeq = 1
	if last != nil {
		l.tailSeq = last.ParkedSeq
	}
	return nil
}
