package ratelimit

import (
	"sync"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// bucket is what this process knows of a key.
type bucket struct {
	mu   sync.Mutex
	used time.Time

	// next is the theoretical arrival time, and left what could be had beside
	// it: as Redis said last, or as this process has it alone.
	next time.Time
	left int

	tokens  int           // in hand
	void    time.Time     // when they are
	share   int           // how many are taken at once
	refused time.Time     // until then nothing is granted, and Redis not asked
	flight  chan struct{} // closed when the call under way has ended; nil without one
	waiting int           // tokens that are asked for by those who wait for it
}

// alone decides without Redis.
func (b *bucket) alone(rate chat.Rate, n int, now time.Time) (d Decision) {
	b.next, d = take(b.next, now, rate.Interval(), rate.Burst, n)
	return d
}

// isKnown reports whether what is in hand, or was refused before, decides on n:
// else Redis must be asked.
func (b *bucket) isKnown(n int, now time.Time) bool {
	if b.tokens > 0 && !now.Before(b.void) {
		b.tokens, b.share = 0, b.share/2
	}
	return b.tokens >= n || now.Before(b.refused)
}

// give gives of what is in hand.
func (b *bucket) give(n int, now time.Time) Decision {
	d := Decision{Granted: min(n, b.tokens)}
	b.tokens -= d.Granted
	d.Remaining, d.Reset = b.tokens+b.left, max(0, b.next.Sub(now))
	if d.Granted < n {
		d.Wait = max(0, b.refused.Sub(now))
	}
	return d
}

// wait lets the call under way end, and reports whether it did within the limit.
// The mutex is held, but not meanwhile.
func (b *bucket) wait(n int, limit time.Duration) bool {
	flight := b.flight
	b.waiting += n
	b.mu.Unlock()
	timer := time.NewTimer(limit)
	ended := false
	select {
	case <-flight:
		ended = true
	case <-timer.C:
	}
	timer.Stop()
	b.mu.Lock()
	b.waiting -= n
	return ended
}
