package idempotency

import "time"

// SetClock gives the store another clock.
func SetClock(s *Store, now func() time.Time) { s.now = now }
