package webhook

import (
	"net/http"
	"strconv"
	"time"
)

// Class is what an attempt means for the message and for whom it was sent to, an
// endpoint or a bot. The zero class is Failed, which retries.
type Class uint8

// The classes.
const (
	// Failed: try again by the schedule.
	Failed Class = iota
	// Delivered: the message was confirmed.
	Delivered
	// Throttled: try again by the schedule, no sooner than RetryAfter, and
	// slow down for the whole endpoint or bot.
	Throttled
	// Gone: no more is wanted there. An endpoint is disabled and the message
	// parked.
	Gone
)

// String returns the class as a word, fit for a metric's label.
func (c Class) String() string {
	switch c {
	case Delivered:
		return "delivered"
	case Throttled:
		return "throttled"
	case Gone:
		return "gone"
	default:
		return "failed"
	}
}

// Judgement is what to make of an attempt.
type Judgement struct {
	Class Class
	// Reason says why it is not Delivered.
	Reason string
	// RetryAfter is how long who throttles asked to be left alone; 0 if that was
	// not said.
	RetryAfter time.Duration
}

// Judge decides what an attempt means. status is the answer's HTTP status, 0 if
// there was none, and then transportErr says why; a status stands whatever broke
// behind it. retryAfter is the answer's Retry-After, already capped.
//
// An attempt that this side ended (KindInterrupted) says nothing of the other:
// the caller must not have it judged.
func Judge(status int, transportErr error, retryAfter time.Duration) Judgement {
	switch {
	case status == 0 && transportErr != nil:
		return Judgement{Class: Failed, Reason: transportErr.Error()}
	case status == 0:
		return Judgement{Class: Failed, Reason: "no answer"}
	case status >= 200 && status <= 299:
		return Judgement{Class: Delivered}
	case status == http.StatusGone:
		return Judgement{Class: Gone, Reason: reason(status) + ": no more messages are wanted there"}
	case throttles(status):
		return Judgement{Class: Throttled, Reason: reason(status), RetryAfter: max(retryAfter, 0)}
	case status >= 300 && status <= 399:
		return Judgement{Class: Failed, Reason: reason(status) + ": redirects are not followed; set the URL to where it leads"}
	}
	return Judgement{Class: Failed, Reason: reason(status)}
}

func throttles(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// reason returns a status with its name, such as "HTTP 500 Internal Server
// Error".
func reason(status int) string {
	text := "HTTP " + strconv.Itoa(status)
	if name := http.StatusText(status); name != "" {
		text += " " + name
	}
	return text
}
