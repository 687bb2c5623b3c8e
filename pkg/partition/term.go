package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// term is one stay of this worker among the members: the life of one key.
type term struct {
	owner *Shared
	key   string
	since time.Time
	// lapsed is closed when the stay is over.
	lapsed chan struct{}
	// unreleased: a lease names this term still, and nobody holds it.
	unreleased atomic.Bool
	poke       chan struct{} // asks for a renewal now
	left       chan struct{} // closed when it is confirmed that the worker leaves

	mu       sync.Mutex
	revision uint64    // of the key
	sent     time.Time // when the last renewal was sent that was confirmed
	leaving  bool
	refuses  []int
	over     bool
}

func newTerm(o *Shared, key string) *term {
	return &term{
		owner: o, key: key, since: time.Now().UTC(),
		lapsed: make(chan struct{}), poke: make(chan struct{}, 1), left: make(chan struct{}),
	}
}

// deadline is until when the key surely lives, less the margin.
func (t *term) deadline() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return t.sent
	}
	now, d := time.Now(), t.sent.Add(t.owner.TTL-t.owner.Margin)
	// The monotonic clock goes on while the process is stopped, but not while
	// the machine sleeps; the wall clock does.
	if d.After(now) && now.Round(0).After(d.Round(0)) {
		return now
	}
	return d
}

func (t *term) confirmed() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.revision
}

// renewing renews the key until ctx ends (nil then) or the term is over: its
// deadline has passed or its key has gone, as the error says.
func (t *term) renewing(ctx context.Context) (err error) {
	defer func() {
		t.mu.Lock()
		t.over = true
		t.mu.Unlock()
	}()
	o := t.owner
	for wait := o.Heartbeat; ; {
		timer := time.NewTimer(min(wait, time.Until(t.deadline())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-t.poke:
			timer.Stop()
		case <-timer.C:
		}
		if !time.Now().Before(t.deadline()) {
			return fmt.Errorf("no renewal was confirmed within %s", o.TTL-o.Margin)
		}
		renewal, cancel := context.WithDeadline(ctx, t.deadline())
		err := t.renew(renewal)
		cancel()
		switch {
		case err == nil:
			wait = o.Heartbeat
		case errors.Is(err, errGone):
			return err
		default:
			if ctx.Err() == nil {
				o.Log.Warn("the worker's key could not be renewed; trying again", zap.Error(err))
			}
			wait = o.Heartbeat / 4
		}
	}
}

// renew writes the key once. The first time it creates it.
func (t *term) renew(ctx context.Context) error {
	t.mu.Lock()
	revision, leaving, refuses := t.revision, t.leaving, t.refuses
	t.mu.Unlock()
	record := memberRecord{Instance: t.owner.instance, Since: t.since, Leaving: leaving, Refuses: refuses}
	sent := time.Now()
	next, err := t.owner.members.write(ctx, t.key, record, revision, t.owner.TTL)
	if errors.Is(err, errConflict) {
		return t.adopt(ctx, err)
	}
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.revision, t.sent = next, sent
	if leaving && !t.isLeft() {
		close(t.left)
	}
	return nil
}

// adopt is for a key with another revision than the last confirmed one: either
// an own write went through whose confirmation was lost, or the key has gone.
func (t *term) adopt(ctx context.Context, conflict error) error {
	s, err := t.owner.members.read(ctx, t.key)
	if err != nil {
		return err
	}
	if s.gone || s.revision == 0 {
		return errGone
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.revision = s.revision
	return conflict
}

func (t *term) isLeft() bool {
	select {
	case <-t.left:
		return true
	default:
		return false
	}
}

func (t *term) renewNow() {
	select {
	case t.poke <- struct{}{}:
	default: // it is asked for already
	}
}

// refuse tells the others what this worker can't work on.
func (t *term) refuse(partitions []int) {
	t.mu.Lock()
	t.refuses = slices.Clone(partitions)
	t.mu.Unlock()
	t.renewNow()
}

// announceLeaving tells the others and reports whether that was confirmed.
func (t *term) announceLeaving(ctx context.Context) bool {
	t.mu.Lock()
	t.leaving = true
	t.mu.Unlock()
	t.renewNow()
	select {
	case <-t.left:
		return true
	case <-t.lapsed:
	case <-ctx.Done():
	}
	return false
}
