package lane

import (
	"fmt"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
)

type verdictKind uint8

const (
	kindRetry verdictKind = iota
	kindDone
	kindDead
	kindExpired
	kindStall
)

// Verdict is what a handler made of one attempt. The zero verdict retries by
// the schedule.
type Verdict struct {
	kind   verdictKind
	said   bool
	says   health.Outcome
	after  time.Duration
	reason string
	err    error
	detail Detail
}

// Detail is what an attempt's record holds of it beside its time and error.
type Detail struct {
	Status  int    // HTTP status, 0 where there was none
	Excerpt []byte // of the answer
	// Kind is what failed, as a word from a fixed list: for the log and spans,
	// where an error's text, which may quote anything, has no place.
	Kind string
}

// Done settles the message.
func Done() Verdict { return Verdict{kind: kindDone} }

// Retry tries again by the schedule, but not before the given time.
func Retry(after time.Duration, err error) Verdict {
	return Verdict{kind: kindRetry, after: after, err: err}
}

// Stall tries again soon and counts no attempt: what Parley itself stands on
// (the broker, the configuration) refused, which says nothing of the message.
func Stall(err error) Verdict { return Verdict{kind: kindStall, err: err} }

// Dead gives the message up at once.
func Dead(reason string, err error) Verdict {
	return Verdict{kind: kindDead, reason: reason, err: err}
}

// Panicked is what a handler comes to that panics.
func Panicked() Verdict { return Dead(ReasonPanic, nil).With(Detail{Kind: ReasonPanic}) }

// Expired settles a message that is not worth sending any more.
func Expired() Verdict { return Verdict{kind: kindExpired} }

// attempted reports whether something was sent, or may have been.
func (v Verdict) attempted() bool {
	return v.kind == kindDone || v.kind == kindDead || v.kind == kindRetry
}

// With adds what the attempt's record should hold.
func (v Verdict) With(d Detail) Verdict {
	v.detail = d
	return v
}

// Saying is what the attempt says of its destination, where that is not what the
// verdict does: that it did what it was asked to if Done, that it failed if Retry,
// else nothing.
func (v Verdict) Saying(o health.Outcome) Verdict {
	v.said, v.says = true, o
	return v
}

// outcome is what a verdict says of the destination, if it counts.
func (v *Verdict) outcome(counts bool) health.Outcome {
	switch {
	case !counts:
	case v.said:
		return v.says
	case v.kind == kindDone:
		return health.Succeeded
	case v.kind == kindRetry:
		return health.Failed
	}
	return health.Interrupted
}

// String says what the verdict is, for logs and tests.
func (v Verdict) String() string {
	switch v.kind {
	case kindDone:
		return "done"
	case kindExpired:
		return "expired"
	case kindDead:
		return fmt.Sprintf("dead, %s: %v", v.reason, v.err)
	case kindStall:
		return fmt.Sprintf("stall: %v", v.err)
	}
	return fmt.Sprintf("retry after %s: %v", v.after, v.err)
}

// Reasons for which the engine itself gives a message up.
const (
	ReasonExhausted   = "exhausted"   // the schedule is used up
	ReasonWaited      = "waited"      // waited longer than the schedule lasts, and its destination is down
	ReasonPanic       = "panic"       // the handler panicked
	ReasonUndecodable = "undecodable" // the stored envelope can't be read
	ReasonPoison      = "poison"      // the process ended each time while it was handled
	ReasonSkipped     = "skipped by an operator"
	ReasonDiscarded   = "discarded"
)

// attempt makes the attempt's record.
func (v Verdict) attempt(at time.Time, took time.Duration) chat.Attempt {
	a := chat.Attempt{At: at, Duration: took, Status: v.detail.Status, Excerpt: v.detail.Excerpt}
	if v.err != nil {
		a.Error = v.err.Error()
	}
	return a
}
