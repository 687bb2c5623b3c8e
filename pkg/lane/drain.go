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
	ours := ctx.Err() == nil || errors.Is(context.Cause(ctx), partition.ErrHandOver)
	if !ours {
		s.abort(partition.ErrLapsed)
	}
	s.mu.Lock()
	s.closed = true
	for _, l := range s.lanes {
		if l.parked {
			s.engine.metrics.parkedNow.Dec()
		}
		if !l.atWork {
			s.finish(l)
		}
	}
	s.engine.metrics.inHand.Sub(float64(len(s.inHand)))
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.workers.Wait()
		close(done)
	}()
	if ours {
		if !within(done, s.engine.DrainTimeout) {
			s.log.Warn("what was in flight did not end in time and is cut off")
			s.cut(partition.ErrHandOver)
			within(done, recordTimeout)
		}
	}
	s.abort(partition.ErrLapsed)
	<-done
}

func (s *shard) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// within reports whether done comes in time.
func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
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
