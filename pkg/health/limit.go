package health

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// How a Limit moves. See its description for why.
const (
	roundLeast   = 20            // attempts that a round's mean is taken of, at least
	roundPerCap  = 2             // and so many for each attempt that may be in flight
	fast         = 0.05          // what a mean of fewer seconds is taken for
	tolerance    = 1.3           // a mean so many times the best says that attempts queue
	fallen       = 1 / tolerance // a mean that falls below this part of itself at half the cap: they did
	afterRefusal = 0.75          // of the cap, after 429 or 503
	afterTimeout = 0.5
	// Rounds until a trial is made without a reason: at first, and at most.
	firstTrial, lastTrial = 4, 32
)

// LimitOptions bounds a Limit.
type LimitOptions struct {
	// Min and Max are the least and the most in flight. 0 means 1 and 64.
	Min, Max int
	// Initial is the first cap; 0 means 4, or the bound that is nearest to it.
	Initial int
}

func (o LimitOptions) withDefaults() LimitOptions {
	o.Min, o.Max = orDefault(o.Min, 1), orDefault(o.Max, 64)
	o.Initial = orDefault(o.Initial, min(max(4, o.Min), o.Max))
	return o
}

// Validate reports the first option that can't work.
func (o LimitOptions) Validate() error {
	o = o.withDefaults()
	switch {
	case o.Min < 1:
		return fmt.Errorf("the least in-flight cap is %d: set it to 1 or more", o.Min)
	case o.Max < o.Min:
		return fmt.Errorf("the in-flight cap is %d: set it to %d or more", o.Max, o.Min)
	case o.Initial < o.Min || o.Initial > o.Max:
		return fmt.Errorf("the first in-flight cap is %d: set it to %d..%d", o.Initial, o.Min, o.Max)
	}
	return nil
}

// Limit is how many attempts may be in flight at one destination from one
// process, found by trial: additive increase, multiplicative decrease with a
// slow start (Jacobson, Congestion Avoidance and Control, 1988), once a round.
//
//   - A round lasts until enough attempts have succeeded that began in it. If the
//     cap was reached in it the cap grows: twofold until something went wrong,
//     then by one.
//   - A refusal (429, 503) or a time-out shrinks it at once, but only one of those
//     that were in flight together does.
//   - Rising latency is compared with the best so far, as in the gradient of
//     Netflix's concurrency-limits. But a mean that has risen may as well be the
//     destination's own doing. So the cap is halved for one round, as a trial.
//     Where attempts queued because of this process the mean falls with the cap,
//     and by Little's law the cap that fits is the cap times what is left of the
//     mean. Where it stays, the destination has become slower whatever is sent:
//     the cap is as before, and that mean is the best now.
//   - Such a trial is made without a reason too, after 4 rounds, and after twice as
//     many as the last time where that found nothing, up to 32: the first attempts
//     may have been too many already, and the best have been measured among them.
//
// Latency says nothing below 50 ms: such an answer is as much this machine's doing
// as the destination's, a cap at which nothing queues would be one at which the
// network's round trip and not the destination is the bound, and nobody is harmed.
//
// So a destination that is slow but steady is not held back, nor does the best
// drift away under a load that Parley itself makes. What a call costs doesn't
// depend on anything; all methods may be called at once.
type Limit struct {
	lo, hi float64

	mu        sync.Mutex
	cap       float64
	threshold float64   // the slow start ends there
	shrunk    time.Time // what began before is of the trouble that was answered then
	troubled  bool      // no success since
	best      float64   // mean latency in seconds; 0: not known

	// The round.
	began time.Time
	n     int
	sum   float64
	full  bool // the cap was reached
	// The trial: the cap and the mean before it; 0: there is none.
	trialCap, trialMean float64
	trialIn, trialEvery int // rounds
}

// NewLimit returns a limit at its first cap. The options must be valid.
func NewLimit(o LimitOptions) *Limit {
	o = o.withDefaults()
	return &Limit{
		lo: float64(o.Min), hi: float64(o.Max), cap: float64(o.Initial), threshold: float64(o.Max),
		trialIn: firstTrial, trialEvery: firstTrial,
	}
}

// Cap returns how many attempts may be in flight now.
func (l *Limit) Cap() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.cap)
}

// Report says what came of an attempt that took so long, with how many in flight
// (itself included) when it began, and returns the cap.
func (l *Limit) Report(now time.Time, o Outcome, took time.Duration, inFlight int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch o {
	case Succeeded:
		l.succeeded(now, took, inFlight)
	case Throttled:
		l.shrink(now, took, afterRefusal)
	case TimedOut:
		l.shrink(now, took, afterTimeout)
	case Interrupted, Failed:
	}
	return int(l.cap)
}

func (l *Limit) succeeded(now time.Time, took time.Duration, inFlight int) {
	l.troubled = false
	if l.began.IsZero() { // the first report
		l.began = now.Add(-took)
	}
	if now.Add(-took).Before(l.began) {
		return
	}
	l.n++
	l.sum += took.Seconds()
	l.full = l.full || inFlight >= int(l.cap)
	if l.n < max(roundLeast, roundPerCap*int(l.cap)) {
		return
	}
	mean := max(l.sum/float64(l.n), fast)
	l.trialIn--
	switch {
	case l.trialCap > 0:
		l.judge(mean)
	case l.full && l.cap >= 2*l.lo && mean > fast && (l.risen(mean) || l.trialIn <= 0):
		l.trialCap, l.trialMean = l.cap, mean
		l.set(l.cap / 2)
	default:
		l.learn(mean)
		l.grow()
	}
	l.round(now)
}

func (l *Limit) risen(mean float64) bool { return l.best > 0 && mean > tolerance*l.best }

// learn takes a mean as the best where there is none, or where a trial could
// not say more; and comes nearer to one that is lower, by and by, because the
// least of many means is no typical one.
func (l *Limit) learn(mean float64) {
	switch {
	case l.best == 0 || l.risen(mean):
		l.best = mean
	case mean < l.best:
		l.best += (mean - l.best) / 4
	}
}

// judge ends a trial.
func (l *Limit) judge(mean float64) {
	part := mean / l.trialMean
	l.best = mean
	if part < fallen {
		l.set(l.trialCap * max(part, 0.5))
		l.threshold = l.cap
		l.trialEvery = firstTrial
	} else {
		l.set(l.trialCap)
		l.trialEvery = min(2*l.trialEvery, lastTrial)
	}
	l.trialIn = l.trialEvery
	l.trialCap, l.trialMean = 0, 0
}

func (l *Limit) grow() {
	switch {
	case !l.full:
	case l.cap < l.threshold:
		l.set(min(2*l.cap, max(l.threshold, l.cap+1)))
	default:
		l.set(math.Floor(l.cap) + 1)
	}
}

// shrink answers a refusal or a time-out. Those in flight together are one
// trouble, and as long as nothing succeeds the first cap that was too high says
// where the slow start ends.
func (l *Limit) shrink(now time.Time, took time.Duration, by float64) {
	if now.Add(-took).Before(l.shrunk) {
		return
	}
	if l.trialCap > 0 { // its cap is no measure of what was too much
		l.trialCap, l.trialMean = 0, 0
	}
	l.set(l.cap * by)
	if !l.troubled {
		l.threshold = l.cap
	}
	l.troubled, l.shrunk = true, now
	l.round(now)
}

func (l *Limit) set(v float64) { l.cap = min(max(v, l.lo), l.hi) }

func (l *Limit) round(now time.Time) {
	l.began, l.n, l.sum, l.full = now, 0, 0, false
}
