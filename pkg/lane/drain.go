package lane

import (
	"context"
	"errors"
	"time"

	"github.com/parleyhq/parley/pkg/partition"
)

// drain lets what is under way end, bounded in time, stops the rest, and gives
// that a little longer to be recorded.
func (s *shard) drain(ctx context.Context) {
	stop := s.abortWhenLapsed(ctx)
	defer stop()
	s.mu.Lock()
	s.closed = true
	s.gone.Store(true)
	for _, l := range s.lanes {
		if l.parked {
			s.engine.metrics.parkedNow.Dec()
		}
		s.leaveBarrier(l)
		if !l.atWork {
			s.finish(l)
		}
	}
	s.engine.metrics.inHand.Sub(float64(len(s.inHand)))
	next := s.engine.Alone.leaveAll(s)
	s.mu.Unlock()
	wakeForTurn(next)
	done := make(chan struct{})
	go func() {
		s.workers.Wait()
		close(done)
	}()
	if !s.drained(done, s.engine.DrainTimeout) {
		s.log.Warn("what was in flight did not end in time and is cut off")
		s.cut(partition.ErrHandOver)
		s.drained(done, recordTimeout)
	}
	s.abort(partition.ErrLapsed)
	<-done
}

func (s *shard) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// abortWhenLapsed stops all work when the lease has lapsed, at once or during
// the drain of a lost consumer.
func (s *shard) abortWhenLapsed(ctx context.Context) (stop func() bool) {
	check := func() {
		if !errors.Is(context.Cause(ctx), partition.ErrHandOver) {
			s.abort(partition.ErrLapsed)
		}
	}
	if ctx.Err() != nil {
		check()
		return func() bool { return false }
	}
	return context.AfterFunc(ctx, check)
}

// drained reports whether what is under way ended in time, and while the lease
// was kept: the context's cause says no more of that once it is a hand-over.
func (s *shard) drained(done <-chan struct{}, limit time.Duration) bool {
	for end := time.Now().Add(limit); ; {
		now := time.Now()
		left := min(end.Sub(now), s.lease.Deadline().Add(-leaseMargin).Sub(now))
		switch {
		case left <= 0 || s.working.Err() != nil:
			return false
		case s.within(done, left):
			return true
		}
	}
}

// within reports whether done came in time, and before all work was stopped.
func (s *shard) within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	case <-s.working.Done():
	}
	return false
}

// finish stores what a lane has not stored yet, now that no step will follow;
// the mutex is held, and nobody has the lane's head.
func (s *shard) finish(l *lane) {
	if l.hand == nil && l.lagging == 0 {
		return
	}
	s.workers.Go(func() {
		for it := l.hand; it != nil; it = l.hand {
			s.wait(s.working, l, it, it.pending)
			if l.hand != nil && !sleep(s.working, stallPause) {
				return
			}
		}
		if err := s.removeSettled(s.working, l); err != nil {
			s.stalled(err)
		}
	})
}
