package lane

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/partition"
)

// A message that makes its process exit can't be caught in the act: it is found
// by what was in flight each time when an owner of the partition vanished. While
// owners vanish (partition.Lease.Careful) each attempt is noted in the lease
// before it begins, many with one write. What was noted when an owner
// vanished is suspected: the next owner handles that, and only that, one after
// another (see Alone). Who was in flight with three owners in a row, alone in the end, is
// given up. A crash that has another cause hardly ever meets the same message
// three times. An attempt that came to an end has been survived; the next one of
// the same message may be what ends the process.

const (
	// poisonFrom is with how many vanished owners in a row a message must have
	// been in flight to be given up: among many with the first, alone with the
	// others.
	poisonFrom = 3
	// maxNoted bounds a note: 4096 works are about 400 KB.
	maxNoted = 4096
	// firstRead is how many deliveries of a consumer may have been in hand when
	// the owner before vanished: the window, and what was acknowledged last.
	firstRead = 2 * window
)

// errPoison is why a message is given up whose handling ends the process.
var errPoison = errors.New("the worker's process ended each time while it handled this message")

// care notes in the lease what is under way.
type care struct {
	lease partition.Lease

	writing chan struct{} // has room for one: one note after another
	mu      sync.Mutex
	works   map[partition.Work]bool // under way; true once noted
}

func newCare(lease partition.Lease) *care {
	return &care{lease: lease, writing: make(chan struct{}, 1), works: map[partition.Work]bool{}}
}

// begin returns once a work is noted, perhaps with others; after an error it
// must not begin.
func (c *care) begin(ctx context.Context, w partition.Work) error {
	c.mu.Lock()
	c.works[w] = false
	c.mu.Unlock()
	err := c.write(ctx, func() bool { return c.works[w] })
	if err != nil {
		c.mu.Lock()
		delete(c.works, w)
		c.mu.Unlock()
	}
	return err
}

// end takes a work out. The next note says so, or one of its own where the work
// was a suspect or nothing else is under way; if that can't be written, the work
// is suspected for nothing after a crash.
func (c *care) end(ctx context.Context, w partition.Work, suspect bool) {
	c.mu.Lock()
	delete(c.works, w)
	last := len(c.works) == 0
	c.mu.Unlock()
	if suspect || last {
		_ = c.write(ctx, func() bool { return false })
	}
}

// write notes all that is under way, unless another call has while this one
// waited; done is asked under the mutex.
func (c *care) write(ctx context.Context, done func() bool) error {
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.writing }()
	c.mu.Lock()
	if done() {
		c.mu.Unlock()
		return nil
	}
	works := slices.Collect(maps.Keys(c.works))
	c.mu.Unlock()
	if err := c.lease.NoteInFlight(ctx, works[:min(len(works), maxNoted)]); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range works {
		if _, ok := c.works[w]; ok {
			c.works[w] = true
		}
	}
	return nil
}

// isSuspect reports whether a work may have ended the owners before, and
// whether it surely has.
func (s *shard) isSuspect(w partition.Work) (suspect, poison bool) {
	suspect = s.suspects[w]
	return suspect, suspect && s.sure
}

// attemptWithCare is attempt, noted in the lease where that is called for; false
// means that none was made, and the lane waits.
func (s *shard) attemptWithCare(ctx context.Context, l *lane, t *Task) (v Verdict, made bool, end func()) {
	w := partition.Work{Seq: t.Message.Seq, Lane: l.name}
	suspect, poison := s.isSuspect(w)
	if !suspect && !s.lease.Careful() {
		return s.attempt(s.trying, t), true, func() {} //nolint:contextcheck // a child of ctx that ends earlier
	}
	if suspect && !s.takeTurn(l) {
		return Verdict{}, false, func() {}
	}
	if err := s.care.begin(ctx, w); err != nil {
		s.stall(l, err)
		return Verdict{}, false, func() {}
	}
	end = func() { s.care.end(ctx, w, suspect) }
	if poison {
		return Dead(ReasonPoison, errPoison), true, end
	}
	if suspect {
		s.log.Warn("handling a message alone that was in flight when the owner before vanished",
			zap.String("message", t.MessageID), t.traceID(), zap.Uint64("seq", w.Seq), zap.String("lane", w.Lane))
	}
	return s.attempt(s.trying, t), true, end //nolint:contextcheck // as above
}

// awaitRoutingTurn waits until it is the turn of a suspect that is routed.
func (s *shard) awaitRoutingTurn(ctx context.Context) error {
	if s.takeTurn(&s.routing) {
		return nil
	}
	select {
	case <-s.routingTurn:
		return nil
	case <-ctx.Done():
		wakeForTurn(s.engine.Alone.leave(&s.routing))
		return ctx.Err()
	}
}

// routeWithCare finds a message's targets, or what is wrong with the message.
// After an error the partition must be started anew.
func (s *shard) routeWithCare(ctx context.Context, d *Delivery) (r routed, err error) {
	w := partition.Work{Seq: d.Seq}
	suspect, poison := s.isSuspect(w)
	if suspect {
		if err := s.awaitRoutingTurn(ctx); err != nil {
			return routed{}, err
		}
		defer func() { wakeForTurn(s.engine.Alone.pass(&s.routing)) }()
	}
	if suspect || d.Number <= firstRead && s.lease.Careful() {
		if err := s.care.begin(ctx, w); err != nil {
			return routed{}, err
		}
		defer s.care.end(ctx, w, suspect)
		if poison {
			return routed{fault: errPoison}, nil
		}
	}
	r.targets, r.fault = s.engine.handler.Route(ctx, &d.Message)
	return r, ctx.Err()
}

// routed is what a handler made of a message: its targets, or what is wrong
// with it.
type routed struct {
	targets []Target
	fault   error
}
