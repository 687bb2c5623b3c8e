package lane

import (
	"container/heap"
	"context"
	"time"
)

// dueHeap orders lanes by when they are due.
type dueHeap []*lane

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].dueAt, h[j].dueAt = i, j
}

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) {
	l := x.(*lane) //nolint:forcetypeassert // the heap holds nothing else
	l.dueAt = len(*h)
	*h = append(*h, l)
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.dueAt = -1
	return l
}

// schedule makes a lane due at a time; the mutex is held.
func (s *shard) schedule(l *lane, at time.Time) {
	l.due = at
	if l.dueAt >= 0 {
		heap.Fix(&s.timers, l.dueAt)
	} else {
		heap.Push(&s.timers, l)
	}
	if s.timers[0] == l {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

func (s *shard) unschedule(l *lane) {
	if l.dueAt >= 0 {
		heap.Remove(&s.timers, l.dueAt)
	}
}

// runTimers activates lanes when they are due.
func (s *shard) runTimers(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.activateDue())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.kick:
		case <-timer.C:
		}
	}
}

// activateDue activates what is due and returns how long until the next.
func (s *shard) activateDue() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.timers) > 0 {
		l := s.timers[0]
		if wait := l.due.Sub(now); wait > 0 {
			return wait
		}
		s.unschedule(l)
		l.due = time.Time{}
		s.activate(l)
	}
	return time.Hour
}
