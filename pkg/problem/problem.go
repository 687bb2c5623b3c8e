package problem

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
)

// ContentType is the media type of a problem's body.
const ContentType = "application/problem+json"

// TypePrefix stands before the slug in a problem's type.
const TypePrefix = "urn:parley:problem:"

// Problem is an answer that refuses (RFC 9457). It is an error.
type Problem struct {
	Type   string         `json:"type"` // TypePrefix and a slug: what programs go by
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail,omitempty"`
	Errors []chat.Problem `json:"errors,omitempty"`

	// RetryAfter becomes the header Retry-After, in whole seconds rounded up;
	// 0 leaves it out.
	RetryAfter time.Duration `json:"-"`
	// Challenge becomes the header WWW-Authenticate.
	Challenge string `json:"-"`
	// Cause is logged where the status is 500, and never shown.
	Cause error `json:"-"`
}

// New makes a problem; the slug is its type's last part and names the kind of
// problem for programs, the detail tells people what to change.
func New(status int, slug, detail string) *Problem {
	return &Problem{Type: TypePrefix + slug, Title: http.StatusText(status), Status: status, Detail: detail}
}

// Error returns title and detail, and the cause where there is one.
func (p *Problem) Error() string {
	s := p.Title
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	if p.Cause != nil {
		s += ": " + p.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// Slug returns the type without TypePrefix.
func (p *Problem) Slug() string { return p.Type[min(len(TypePrefix), len(p.Type)):] }

// From makes a problem of any error; nil of nil.
func From(err error) *Problem {
	var (
		p       *Problem
		invalid *chat.ValidationError
		tooBig  *http.MaxBytesError
		he      *echo.HTTPError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return p
	case errors.As(err, &invalid):
		p = New(http.StatusUnprocessableEntity, "invalid", "the body breaks a rule of the contract: see errors")
		p.Errors = invalid.Problems
		return p
	case errors.As(err, &tooBig):
		return New(http.StatusRequestEntityTooLarge, "too-large",
			"the body is larger than "+strconv.FormatInt(tooBig.Limit, 10)+" bytes: send less in one request")
	case errors.As(err, &he):
		return fromEcho(he)
	}
	p = New(http.StatusInternalServerError, "internal", "the server failed at this request; try it again later")
	p.Cause = err
	return p
}

func fromEcho(he *echo.HTTPError) *Problem {
	switch he.Code {
	case http.StatusNotFound:
		return New(he.Code, "not-found", "there is nothing at this path: check the URL against the API's description")
	case http.StatusMethodNotAllowed:
		return New(he.Code, "method-not-allowed", "this path does not know the method: use one that the header Allow lists")
	case http.StatusRequestEntityTooLarge:
		return New(he.Code, "too-large", "the body is too large: send less in one request")
	case http.StatusUnsupportedMediaType:
		return New(he.Code, "unsupported-media-type", "the content type is not one that this path takes: send application/json")
	}
	p := New(he.Code, "http-"+strconv.Itoa(he.Code), "")
	if he.Code >= http.StatusInternalServerError {
		p.Cause = he
	} else if s, ok := he.Message.(string); ok {
		p.Detail = s
	}
	return p
}

// Write answers with the problem.
func Write(w http.ResponseWriter, p *Problem) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((p.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if p.Challenge != "" {
		h.Set("WWW-Authenticate", p.Challenge)
	}
	w.WriteHeader(p.Status)
	_, err = w.Write(body)
	return err
}
