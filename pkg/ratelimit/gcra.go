package ratelimit

import (
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parleyhq/parley/pkg/chat"
)

// Decision is an answer to Take.
type Decision struct {
	Granted int // how many may happen now
	// Wait is after which time more may be granted; 0 where all were.
	Wait time.Duration
	// Remaining is how many more could be granted now, and Reset after which
	// time the whole burst could; as far as it is known here.
	Remaining int
	Reset     time.Duration
}

// take decides on n at once. next is the theoretical arrival time: when the
// whole burst is there again. It returns the new one.
func take(next, now time.Time, interval time.Duration, burst, n int) (time.Time, Decision) {
	whole := time.Duration(burst) * interval
	switch {
	case next.Before(now):
		next = now
	case next.Sub(now) > whole: // the clock was set back
		next = now.Add(whole)
	}
	free := int((whole - next.Sub(now)) / interval)
	d := Decision{Granted: max(0, min(n, free))}
	next = next.Add(time.Duration(d.Granted) * interval)
	d.Remaining, d.Reset = free-d.Granted, next.Sub(now)
	if d.Granted < n {
		d.Wait = max(0, d.Reset+interval-whole)
	}
	return next, d
}

// takeScript is take, in Lua: KEYS[1] holds the theoretical arrival time in µs
// since 2026, ARGV are interval in µs, burst and n; it returns granted,
// remaining, wait and reset in µs.
var takeScript = redis.NewScript(`
local t = redis.call('TIME')
local now = (t[1] - 1767225600) * 1000000 + t[2]
local interval, burst, n = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local whole = burst * interval
local stored = math.max(tonumber(redis.call('GET', KEYS[1]) or '') or now, now)
local next = math.min(stored, now + whole)
local free = math.floor((now + whole - next) / interval + 0.000001)
local granted = math.max(0, math.min(n, free))
next = next + granted * interval
if next ~= stored then
  redis.call('SET', KEYS[1], string.format('%.3f', next), 'PX', math.ceil((next - now) / 1000) + 1000)
end
local wait = 0
if granted < n then
  wait = math.max(0, next + interval - whole - now)
end
return {granted, free - granted, math.ceil(wait), math.ceil(next - now)}
`)

func scriptArgs(interval time.Duration, burst, n int) []any {
	return []any{float64(interval) / float64(time.Microsecond), burst, n}
}

// aheadFor is how much of the rate's time is taken ahead at most.
const aheadFor = 50 * time.Millisecond

// ahead is how many tokens may be taken ahead of their use; 0 where that would
// be less than two.
func ahead(r chat.Rate) int {
	n := int(math.Min(float64(aheadFor)/float64(r.Interval()), float64(r.Burst/2)))
	if n < 2 {
		return 0
	}
	return n
}
