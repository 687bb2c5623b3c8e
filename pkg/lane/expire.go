package lane

import (
	"context"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// span is what a message's end depends on, beside its destination's policy. The
// zero span has no end: a replay's, which an operator has asked for since.
type span struct {
	created, expires time.Time
	supersede        bool
}

func (it *item) span() span {
	if it.msg.Replay != nil {
		return span{}
	}
	return span{created: it.Created, expires: it.Expires, supersede: it.Supersede}
}

// end is from when on the message is worth no attempt; zero: never.
func (x span) end(p Policy) time.Time {
	if p.ExpireAfter <= 0 || x.created.IsZero() {
		return x.expires
	}
	return earlier(x.created.Add(p.ExpireAfter), x.expires)
}

// yields reports whether the message may be superseded.
func (x span) yields(p Policy) bool { return x.supersede || p.Supersede && !x.created.IsZero() }

// isSuperseded asks whether a head is superseded, where it may be and has waited:
// who sends it at once, as most are, pays nothing.
func (s *shard) isSuperseded(ctx context.Context, l *lane, it *item, p Policy, now time.Time) bool {
	state := l.stateOf(it)
	switch {
	case !it.span().yields(p), it.over(now):
		return false
	case state != nil && (state.GivenUp != "" || now.Before(state.Due)):
		return false
	case state == nil && it.parkedSeq == 0 && now.Sub(it.Created) < patience:
		return false
	}
	return s.engine.handler.Superseded(ctx, s.task(l, it))
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
// its destination is open or not: its time is up, it is superseded, or it is
// given up.
func (it *item) ended(state *chat.LaneState, now time.Time) bool {
	if state != nil && state.GivenUp != "" {
		return !now.Before(state.Due)
	}
	return it.superseded || it.over(now)
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
// its time is not up, and nothing else may have ended it. What was just taken over is not read before the next
// poll either, since there may be very many such lanes. The head's goroutine
// only.
func (s *shard) leftShut(l *lane, p Policy, now time.Time) bool {
	if l.seen != nil {
		end := l.seen.end(p)
		return !l.seen.yields(p) && (end.IsZero() || now.Before(end))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.parked && !l.loaded && !l.shut
}
