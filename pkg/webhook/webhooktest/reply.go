package webhooktest

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is how an answer goes wrong. Over HTTP/1.1 and TLS it is the connection
// that suffers; over HTTP/2 too, with all its streams, but for Reset and
// ResetInBody, which reset the one stream.
type Fault string

// The faults.
const (
	// Hang gives no answer until the client leaves.
	Hang Fault = "hang"
	// Close closes the connection without a word.
	Close Fault = "close"
	// CloseInHeader closes it within the header fields.
	CloseInHeader Fault = "close-in-header"
	// CloseInBody closes it in the middle of the body that was announced.
	CloseInBody Fault = "close-in-body"
	// Reset resets the connection (RST) in place of an answer.
	Reset Fault = "reset"
	// ResetInBody resets it in the middle of the body that was announced.
	ResetInBody Fault = "reset-in-body"
	// EndlessHeader sends header fields for as long as the client takes them;
	// over HTTP/2, 16 MiB of them.
	EndlessHeader Fault = "endless-header"
	// EndlessBody sends a body for as long as the client takes it.
	EndlessBody Fault = "endless-body"
	// NotHTTP greets like a mail server and closes.
	NotHTTP Fault = "not-http"
	// HoldHandshake takes the next new connection and says nothing, so that a
	// TLS handshake never ends. What is held is not recorded: there is no request. The
	// answer before it closes its connection; a request that comes over another
	// one all the same takes the step and hangs.
	HoldHandshake Fault = "hold-handshake"
	// Die answers in full; then all connections are closed and new ones refused,
	// for the time Down.
	Die Fault = "die"
)

var faults = []Fault{
	Hang, Close, CloseInHeader, CloseInBody, Reset, ResetInBody, EndlessHeader, EndlessBody, NotHTTP, HoldHandshake, Die,
}

// silent reports whether a fault leaves no room for a status.
func (f Fault) silent() bool {
	switch f {
	case Hang, Close, CloseInHeader, Reset, EndlessHeader, NotHTTP, HoldHandshake:
		return true
	}
	return false
}

// Reply is how the receiver answers; its zero value is 200 with no body. The
// fields can be combined.
type Reply struct {
	Status int // 0 means 200, or 307 with Redirect
	Header http.Header
	// HeaderBytes adds so many bytes of header fields, X-Filler-1 and so on.
	HeaderBytes int
	Body        string
	// BodyBytes is a body of so many bytes in place of Body.
	BodyBytes int
	// RetryAfter is sent as Retry-After in whole seconds, rounded up; 0 leaves it
	// out.
	RetryAfter time.Duration
	// RetryAt is sent as Retry-After with the date so far from the answer; a
	// negative one is past; 0 leaves it out.
	RetryAt time.Duration
	// Redirect is sent as Location.
	Redirect string
	// Until delays the answer until the channel is closed or gives a value.
	Until <-chan struct{}
	// Delay is waited for before the header fields.
	Delay time.Duration
	// Trickle is waited for before each byte of the body, which has no end if
	// there is neither Body nor BodyBytes.
	Trickle time.Duration
	Fault   Fault
	// Down is how long an endpoint that died stays so; 0 means for ever.
	Down time.Duration
}

// String says in a few words what the reply is, such as "503, retry after 2s".
func (r Reply) String() string {
	var parts []string
	add := func(when bool, format string, args ...any) {
		if when {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	fault := r.Fault
	add(!fault.silent(), "%d", r.status())
	add(fault != "", "%s", fault)
	add(r.Down != 0, "for %s", r.Down)
	add(r.Redirect != "", "to %s", r.Redirect)
	add(r.RetryAfter != 0, "retry after %s", r.RetryAfter)
	add(r.RetryAt != 0, "retry at a date %s from now", r.RetryAt)
	add(r.HeaderBytes != 0, "%d bytes of header fields", r.HeaderBytes)
	add(r.BodyBytes != 0, "%d bytes of body", r.BodyBytes)
	add(r.Delay != 0, "after %s", r.Delay)
	add(r.Trickle != 0, "a byte each %s", r.Trickle)
	return strings.Join(parts, ", ")
}

// The bounds of a reply.
const (
	maxHeaderBytes = 64 << 20
	maxBodyBytes   = 1 << 30
)

// check returns an error that says what to change.
func (r *Reply) check() error {
	fault := r.Fault
	switch {
	case fault != "" && !slices.Contains(faults, fault):
		return fmt.Errorf("the fault %q is unknown: use one of %v", fault, faults)
	case fault.silent() && !r.silent():
		return fmt.Errorf("%s has no answer: remove status, header fields, body and trickle", fault)
	case r.Status != 0 && (r.Status < 200 || r.Status > 599):
		return fmt.Errorf("the status is %d: use one from 200 to 599", r.Status)
	case r.Redirect != "" && r.Status != 0 && r.Status/100 != 3:
		return fmt.Errorf("a redirect has a status from 300 to 399, not %d: change it or leave it out for 307", r.Status)
	case r.Body != "" && r.BodyBytes != 0:
		return errors.New("a body has its text or its size: remove one")
	case r.RetryAfter != 0 && r.RetryAt != 0:
		return errors.New("Retry-After is a number of seconds or a date: remove one")
	case r.HeaderBytes < 0 || r.HeaderBytes > maxHeaderBytes:
		return fmt.Errorf("%d bytes of header fields: use 0 to %d", r.HeaderBytes, maxHeaderBytes)
	case r.BodyBytes < 0 || r.BodyBytes > maxBodyBytes:
		return fmt.Errorf("%d bytes of body: use 0 to %d, or the fault %s", r.BodyBytes, maxBodyBytes, EndlessBody)
	case r.Delay < 0 || r.Trickle < 0 || r.RetryAfter < 0 || r.Down < 0:
		return errors.New("a time must not be negative")
	case r.Down != 0 && fault != Die:
		return fmt.Errorf("only what dies is down for a time: add the fault %s or remove the time", Die)
	case fault == EndlessBody && r.BodyBytes+len(r.Body) > 0:
		return errors.New("an endless body has neither text nor size: remove them")
	}
	return r.checkHeader()
}

func (r *Reply) checkHeader() error {
	if hasControl(r.Redirect) {
		return errors.New("the redirect has a control character: remove it")
	}
	for name, values := range r.Header {
		if name == "" || strings.ContainsFunc(name, notInFieldName) {
			return fmt.Errorf("%q is no name of a header field: use letters, digits and hyphens", name)
		}
		if slices.ContainsFunc(values, hasControl) {
			return fmt.Errorf("the header field %s has a control character: remove it", name)
		}
	}
	return nil
}

func notInFieldName(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
}

func hasControl(value string) bool {
	return strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// silent reports whether nothing is set that only an answer has.
func (r *Reply) silent() bool {
	return r.Status == 0 && len(r.Header) == 0 && r.HeaderBytes == 0 && r.Body == "" && r.BodyBytes == 0 &&
		r.RetryAfter == 0 && r.RetryAt == 0 && r.Redirect == "" && r.Trickle == 0
}

func (r *Reply) status() int {
	if r.Redirect != "" {
		return cmp.Or(r.Status, http.StatusTemporaryRedirect)
	}
	return cmp.Or(r.Status, http.StatusOK)
}
