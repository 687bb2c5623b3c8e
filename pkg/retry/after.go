package retry

import (
	"net/http"
	"strings"
	"time"
)

// ParseRetryAfter reads a Retry-After field (RFC 9110, section 10.2.3): a number
// of seconds, or an HTTP date, which counts from now. The delay is at least 0
// (a date that has passed) and at most limit. It returns false for a field that
// is empty or neither of the two.
func ParseRetryAfter(header string, now time.Time, limit time.Duration) (time.Duration, bool) {
	header = strings.Trim(header, " \t")
	if header == "" {
		return 0, false
	}
	limit = max(limit, 0)
	if strings.Trim(header, "0123456789") == "" {
		return parseSeconds(header, limit), true
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), limit), true
}

// parseSeconds reads digits of any number and stops as soon as limit is reached.
func parseSeconds(digits string, limit time.Duration) time.Duration {
	var seconds int64
	for _, c := range []byte(digits) {
		seconds = seconds*10 + int64(c-'0')
		if seconds > int64(limit/time.Second) {
			return limit
		}
	}
	return time.Duration(seconds) * time.Second
}
