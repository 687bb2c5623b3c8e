package lane

import (
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// span is what a message's end depends on, beside its destination's policy. The
// zero span has no end: a replay's, which an operator has asked for since.
type span struct{ created, expires time.Time }

func (it *item) span() span {
	if it.msg.Replay != "" {
		return span{}
	}
	return span{created: it.Created, expires: it.Expires}
}

// end is from when on the message is worth no attempt; zero: never.
func (x span) end(p Policy) time.Time {
	if p.ExpireAfter <= 0 || x.created.IsZero() {
		return x.expires
	}
	return earlier(x.created.Add(p.ExpireAfter), x.expires)
}

// earlier is the earlier of two times, where zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// over reports whether the message's time is up.
func (it *item) over(now time.Time) bool { return !it.ends.IsZero() && !now.Before(it.ends) }

// ended reports whether a head with that state gets no further attempt, whether
// its destination is open or not: its time is up, or it is given up.
func (it *item) ended(state *chat.LaneState, now time.Time) bool {
	if state != nil && state.GivenUp != "" {
		return !now.Before(state.Due)
	}
	return it.over(now)
}

// wakeAt is when a head with that state is to be looked at: when it is due, or
// when its time is up. What is given up has no end but its dead letter.
func (it *item) wakeAt(state *chat.LaneState) time.Time {
	if state.GivenUp != "" {
		return state.Due
	}
	return earlier(state.Due, it.ends)
}

// leftShut reports whether a closed lane's head need not be read: it is known,
// and its time is not up. What was just taken over is not read before the next
// poll either, since there may be very many such lanes. The head's goroutine
// only.
func (s *shard) leftShut(l *lane, p Policy, now time.Time) bool {
	if l.seen != nil {
		end := l.seen.end(p)
		return end.IsZero() || now.Before(end)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.parked && !l.loaded && !l.shut
}
