package lane

import (
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// lane is one FIFO in memory. All fields are guarded by the shard's mutex, but
// for those that only the goroutine at its head uses.
type lane struct {
	id    ID
	name  string // the ledger's
	shard *shard
	dest  *destination

	// queue holds hot messages, the head first; the head stays in it while it
	// is handled. In a parked lane it holds what is still to be appended.
	queue []*item
	// active says that the lane waits at the gates or is at work: a goroutine
	// has its head, or will have.
	active  bool
	atWork  bool        // both gates were passed, a goroutine has the head
	through atomic.Bool // the destination's gate was passed
	since   time.Time   // when active, since when it waits or works
	// inFlight is how many were at work at the destination when the lane was let
	// through, itself included.
	inFlight int

	// A parked lane.
	parked    bool
	appending bool // a goroutine has the tail
	loaded    bool // tail and state are known
	headSeq   uint64
	tailSeq   uint64
	tail      chat.Ordinal
	headTime  time.Time // of the message at its head, at least as old; zero if not known
	// The head's goroutine only:
	looked   bool            // the head has been looked at
	ends     time.Time       // the head's then
	paced    bool            // its destination has a rate
	allowed  bool            // by that rate, an attempt that was not made yet; set by who lets it through
	ahead    []ParkedMessage // what was read behind the head, during one step
	readTo   uint64          // the place that was read last; 0: none yet
	together bool            // its messages stand so that several are read at once, as far as it was read
	lagging  int             // settled messages that are not removed yet
	hasState bool            // a state record is stored
	state    *chat.LaneState // that record
	hand     *item           // a head whose state is not stored yet
	seen     *span           // the head's, where its destination was found closed
	shut     bool            // its destination was found closed
	opened   time.Time       // when it was found open after that
	brought  bool            // its head needn't wait until it is due

	// command is what an operator asks of it; recalled says that it came while
	// the lane was active, which is to look at it at once.
	command  *Command
	recalled bool
	asked    bool // it had a command when its step began; the head's goroutine only

	due    time.Time // not before this; zero: now
	dueAt  int       // place in the shard's heap, -1 if none
	wakeMe bool      // becomes due when its destination is woken
	// It waits for its destination's circuit, without an attempt or after one of
	// its head; early says that the circuit has closed since.
	barred, backing, early bool

	// mark is how far the lane is settled; head's goroutine only.
	mark   chat.Ordinal
	marked bool
	replay replaying // the same of a replay
}

// item is a message in a lane.
type item struct {
	Target
	msg *Message
	hot *hot // nil when it was read from the parked stream

	// parkedSeq is its place in the parked stream, 0 while it is hot; the
	// head's goroutine only.
	parkedSeq uint64
	parkedAt  time.Time
	// ends is when the message's time is up by the policy that it was looked at
	// with last; zero: never.
	ends time.Time
	// superseded says so at its latest turn.
	superseded bool
	// appended is made when the lane is parked while this message may be under
	// way, and closed when it has its place.
	appended    chan struct{}
	appendedSeq uint64
	// pending is the state that a verdict asks for and that is not stored yet.
	pending *chat.LaneState
	// unmarked says that it is settled and the ledger doesn't know: nothing but
	// its removal keeps it from being handled again.
	unmarked bool
}

// waitedInVain reports whether the message has been parked for longer than its
// destination's whole schedule lasts, while nothing got through and its lane was
// not paused. A message that has attempts of its own follows the schedule and
// isn't asked about.
func (it *item) waitedInVain(p Policy, l *lane, now time.Time) bool {
	if it.parkedSeq == 0 || p.Hold {
		return false
	}
	wait, since := p.Schedule.Total(), later(it.parkedAt, l.opened)
	if !l.dest.silentFor(wait, since, now) {
		return false
	}
	l.dest.hear(p.Circuit, now)
	return l.dest.silentFor(wait, since, now)
}

// vainFrom is from when on the message will have waited in vain, if nothing gets
// through until then.
func (it *item) vainFrom(p Policy, l *lane, now time.Time) time.Time {
	since := now // it is parked just now
	if it.parkedSeq != 0 {
		since = later(it.parkedAt, l.opened)
	}
	return later(l.dest.openSince(since).Add(p.Schedule.Total()+time.Millisecond), l.dest.known.Add(evidence))
}

// hot is a message of the work queue that is in hand.
type hot struct {
	seq  uint64
	open int // lanes that have not settled or parked it yet
	ack  func()
}

// hot reports whether the lane has messages and can be parked with them.
func (l *lane) hot() bool {
	return !l.parked && len(l.queue) > 0 && l.queue[0].pending == nil
}

// idle reports whether the lane has nothing to do.
func (l *lane) idle() bool {
	return !l.active && !l.parked && !l.appending && len(l.queue) == 0 && l.dueAt < 0
}

// drained reports whether everything that stands in the parked stream is
// settled, as far as it is known.
func (l *lane) drained() bool { return l.headSeq == 0 || l.headSeq > l.tailSeq }

// emptied reports whether the lane is parked without a message, and nobody is
// about to append one.
func (l *lane) emptied() bool {
	return l.parked && l.loaded && l.drained() && !l.appending && len(l.queue) == 0
}

// mayEnd reports whether the lane waits with a head whose time is up, or whose
// time isn't known.
func (l *lane) mayEnd(now time.Time) bool {
	if !l.looked {
		return l.parked
	}
	return !l.ends.IsZero() && !now.Before(l.ends)
}

// isBehind reports whether a message was settled before the head that the stored
// state is of: it is a copy, left by an append whose answer was lost. The times
// tell it from one of a work queue that was made anew and counts from 1 again.
func (l *lane) isBehind(m *Message) bool {
	return l.state != nil && m.Seq < l.state.HeadSeq && m.Time.Before(l.state.FirstFailure)
}

// stateOf returns the state record of a head, nil if it has none.
func (l *lane) stateOf(it *item) *chat.LaneState {
	if it.pending != nil {
		return it.pending
	}
	if l.state != nil && l.state.HeadSeq == it.msg.Seq {
		return l.state
	}
	return nil
}
