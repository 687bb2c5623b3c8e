package health

// Outcome is what came of an attempt. The zero outcome says nothing of the
// destination.
type Outcome uint8

// The outcomes.
const (
	// Interrupted: this side ended the attempt, or never made it.
	Interrupted Outcome = iota
	// Succeeded: the destination confirmed.
	Succeeded
	// Failed: an error, or an answer that is neither a success nor a plea to
	// slow down.
	Failed
	// Throttled: the destination asked to slow down (429, 502, 503, 504).
	Throttled
	// TimedOut: there was no answer in time.
	TimedOut
)

// failure reports whether the destination did not do what it was asked to.
func (o Outcome) failure() bool { return o >= Failed }

// State is a circuit's.
type State uint8

// The states.
const (
	Closed   State = iota // attempts are made
	Open                  // none is made before the cool-down has passed
	HalfOpen              // one attempt decides
)

// String returns the state as a word, fit for a metric's label.
func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case HalfOpen:
		return "half-open"
	default:
		return "closed"
	}
}

// Change is what a report made of a circuit.
type Change uint8

// The changes.
const (
	Unchanged Change = iota
	Opened           // it was closed
	Reopened         // a probe failed
	Reclosed         // a probe succeeded
	Released         // a probe was interrupted; the next caller gets another
)
