package partition

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/topology"
)

// seat is one partition's place in this worker: it takes the partition when it
// is to be owned, holds it, and lets go of it, one after the other. So this
// worker never holds a partition twice.
func (r *run) seat(life context.Context, p int) error {
	for tried := uint64(0); ; {
		turn := r.turn(p)
		switch {
		case turn.over:
			return nil
		case turn.term == nil && turn.stray > tried:
			tried = turn.stray
			r.disown(life, p, turn.stray)
			continue
		case turn.term == nil:
			<-turn.changed
			continue
		}
		l, err := r.acquire(life, turn.term, p)
		if err != nil {
			r.Log.Warn("a partition could not be taken; trying again", zap.Int("partition", p), zap.Error(err))
		}
		if l == nil {
			r.awaitFree(p, turn.changed)
			continue
		}
		if err := r.occupy(life, l); err != nil {
			return err
		}
	}
}

// turn is what a seat is to do with its partition.
type turn struct {
	over bool  // nothing is to be owned any more
	term *term // to own it in; nil: it is not this worker's
	// stray is the revision of a lease that names this worker though it is not
	// its own: its write was not confirmed, and went through all the same.
	stray   uint64
	changed <-chan struct{} // closed when the answer may be another
}

func (r *run) turn(p int) turn {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := turn{over: r.stop, changed: r.changed}
	seen := r.seen[p]
	switch {
	case r.term != nil && r.mine[p]:
		t.term = r.term
	case r.former[seen.Member], r.term != nil && seen.Member == r.term.key:
		t.stray = seen.revision
	}
	return t
}

// disown releases a stray lease, unless it has changed since.
func (r *run) disown(ctx context.Context, p int, revision uint64) {
	r.mu.Lock()
	record := r.seen[p].released(time.Now())
	r.mu.Unlock()
	for {
		_, err := r.leases.write(ctx, topology.LeaseKey(r.stage, p), record, revision, 0)
		if err == nil || errors.Is(err, errConflict) {
			return
		}
		r.Log.Warn("a stray lease could not be released; trying again", zap.Int("partition", p), zap.Error(err))
		if r.stopping() {
			return
		}
		pause(ctx, r.Heartbeat/4)
	}
}

func (r *run) stopping() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stop
}

// awaitFree returns when the partition's lease looks free or is not wanted any
// more, and after a heartbeat anyway: what the watch shows is but a hint.
func (r *run) awaitFree(p int, changed <-chan struct{}) {
	again := time.NewTimer(r.Heartbeat)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			return
		case <-changed:
		}
		var free bool
		if free, changed = r.looksFree(p); free {
			return
		}
	}
}

func (r *run) looksFree(p int) (free bool, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	holder := r.seen[p].Member
	_, alive := r.alive[holder]
	free = r.stop || r.term == nil || !r.mine[p] || holder == "" || !alive || r.former[holder]
	return free, r.changed
}

// occupy holds the partition until the holder is done with it.
func (r *run) occupy(life context.Context, l *sharedLease) error {
	if _, reason := r.judge(l); reason != nil {
		r.release(life, l)
		return nil
	}
	held, end := context.WithCancelCause(context.WithoutCancel(life))
	defer end(nil)
	done := make(chan error, 1)
	go func() { done <- r.hold(held, l) }()
	r.Log.Info("partition taken", zap.Int("partition", l.partition), zap.Uint64("epoch", l.epoch), zap.Bool("careful", l.Careful()))
	lapsed := l.term.lapsed
	for {
		changed, reason := r.judge(l)
		if reason != nil {
			end(reason)
		}
		select {
		case err := <-done:
			return r.vacate(life, l, err)
		case <-lapsed:
			end(ErrLapsed)
			lapsed = nil
		case <-changed:
		}
	}
}

// judge returns why the lease has to end, nil if it hasn't, and a channel that
// is closed when that may have changed.
func (r *run) judge(l *sharedLease) (changed <-chan struct{}, reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen[l.partition]
	switch {
	case seen.revision > l.epoch && seen.Member != l.term.key,
		r.term != l.term,
		!time.Now().Before(l.Deadline()):
		return r.changed, ErrLapsed
	case r.stop || !r.mine[l.partition]:
		return r.changed, ErrHandOver
	}
	return r.changed, nil
}

// vacate releases what hold has let go of. It returns hold's error, unless that
// came of the lease being lost.
func (r *run) vacate(life context.Context, l *sharedLease, err error) error {
	log := r.Log.With(zap.Int("partition", l.partition), zap.Uint64("epoch", l.epoch))
	if errors.Is(err, ErrRefused) {
		r.refuse(l.partition)
		err = nil
	}
	if err != nil && (errors.Is(err, ErrLapsed) || l.Verify(life) != nil) {
		log.Warn("the partition was lost", zap.Error(err))
		err = nil
	}
	r.release(life, l)
	log.Info("partition let go")
	return err
}

// release writes that the lease is free, as often as it takes: even after the
// lease has lapsed it spares the next owner to think that this one crashed. It
// gives up when the worker is leaving and the broker can't be reached.
func (r *run) release(life context.Context, l *sharedLease) {
	for {
		err := l.release(life)
		if err == nil || errors.Is(err, ErrLapsed) {
			return
		}
		r.Log.Warn("a partition could not be released; trying again", zap.Int("partition", l.partition), zap.Error(err))
		if r.stopping() && !time.Now().Before(l.Deadline()) {
			l.term.unreleased.Store(true)
			return
		}
		pause(life, r.Heartbeat/4)
	}
}
