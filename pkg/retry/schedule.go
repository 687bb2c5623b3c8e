package retry

import (
	"fmt"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// Jitter is the part of a delay by which it is varied, in either direction: a
// delay d becomes one in [0.8 d, 1.2 d), so that what failed together doesn't
// come back together.
const Jitter = 0.2

// The bounds of a schedule.
const (
	MaxEntries = 50
	MaxDelay   = 7 * 24 * time.Hour
)

// Schedule is the delays between attempts: its n-th entry follows the n-th
// failed attempt, so that a message has one attempt more than the schedule has
// entries.
type Schedule []time.Duration

// Default returns the default schedule: 1 s, 5 s, 15 s, 1 min, 5 min, 15 min,
// 30 min, 1 h, 3 h, 6 h.
func Default() Schedule {
	return Schedule{
		time.Second, 5 * time.Second, 15 * time.Second,
		time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 3 * time.Hour, 6 * time.Hour,
	}
}

// Of returns an endpoint's schedule: the default one where delays is empty. It
// returns the error of Validate.
func Of(delays []chat.Duration) (Schedule, error) {
	if len(delays) == 0 {
		return Default(), nil
	}
	s := make(Schedule, len(delays))
	for i, d := range delays {
		s[i] = d.Std()
	}
	return s, s.Validate()
}

// Validate returns an error unless the schedule has 1 to 50 entries, each above
// 0 and at most 7 days.
func (s Schedule) Validate() error {
	if len(s) < 1 || len(s) > MaxEntries {
		return fmt.Errorf("a retry schedule has 1 to %d delays, this one %d", MaxEntries, len(s))
	}
	for i, d := range s {
		if d <= 0 || d > MaxDelay {
			return fmt.Errorf("delay %d of the retry schedule is %s: it must be above 0 and at most %s", i+1, d, MaxDelay)
		}
	}
	return nil
}

// Delay returns how long to wait after the attempt-th failed attempt (from 1;
// less counts as 1), and false if that was the last one. rnd is a random number
// in [0, 1), and what lies outside is taken as its nearest end.
func (s Schedule) Delay(attempt int, rnd float64) (time.Duration, bool) {
	i := max(attempt, 1) - 1
	if i >= len(s) {
		return 0, false
	}
	if !(rnd > 0) { // also NaN
		rnd = 0
	}
	factor := 1 - Jitter + 2*Jitter*min(rnd, 1)
	return time.Duration(float64(s[i]) * factor), true
}

// Total returns how long the schedule lasts without jitter: the sum of its
// entries.
func (s Schedule) Total() time.Duration {
	var sum time.Duration
	for _, d := range s {
		sum += d
	}
	return sum
}

// Longest returns the longest delay; 0 where there is none.
func (s Schedule) Longest() time.Duration {
	var most time.Duration
	for _, d := range s {
		most = max(most, d)
	}
	return most
}
