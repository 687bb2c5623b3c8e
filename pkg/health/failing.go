package health

import "time"

// DefaultFailingFor is how long a destination may do nothing but fail before it
// is disabled.
const DefaultFailingFor = 5 * 24 * time.Hour

// leastFailures is how many attempts must have failed: silence is no failure.
const leastFailures = 10

// Action is what to do about a destination that fails.
type Action uint8

// The actions.
const (
	Nothing Action = iota
	Warn           // tell the operator that it will be disabled
	Disable
)

// Failing is what is known of a destination that may have to be disabled.
type Failing struct {
	Since       time.Time // the first failure with no success since; zero: there is none
	LastSuccess time.Time // zero: none is known
	LastFailure time.Time // of a real attempt
	Failures    int       // since then
	// Enabled is when the operator last enabled or resumed it, or changed it so
	// that what was before says nothing. Zero: never.
	Enabled time.Time
	// Off says that it is disabled or paused now.
	Off bool
	// Warned is when the operator was told. Zero: not yet.
	Warned time.Time
}

// Decide says what to do where a destination is to be disabled after so long of
// nothing but failures; 0 or less means never.
//
// What counts is the time between two real failures: from the first one since
// the last success and since it was last enabled, to the last. So neither a pause
// nor silence at the end of it is evidence. The warning comes at half of the
// time, and once; where attempts are so rare that it comes later, the operator
// still has a quarter of the time between the warning and the end.
func (f Failing) Decide(now time.Time, after time.Duration) Action {
	last := f.LastFailure
	if now.Before(last) {
		last = now
	}
	since := f.since()
	if after <= 0 || f.Off || f.Since.IsZero() || f.Failures < leastFailures || !last.After(since) {
		return Nothing
	}
	failed := last.Sub(since)
	switch {
	case failed < after/2:
		return Nothing
	case !f.warned():
		return Warn
	case failed >= after && last.Sub(f.Warned) >= after/4:
		return Disable
	}
	return Nothing
}

// since is the beginning of what counts.
func (f Failing) since() time.Time { return later(later(f.Since, f.LastSuccess), f.Enabled) }

// warned reports whether the warning was of this time of failures.
func (f Failing) warned() bool { return f.Warned.After(f.since()) }
