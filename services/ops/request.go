package ops

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/registry"
)

// maxBody bounds a request's body in bytes: a flow as a JSON string may be
// twice as long as the flow.
const maxBody = 2 * registry.MaxFlow

// decode reads a JSON body into v; what v doesn't know is refused.
func decode(c echo.Context, v any) error { return decodeUpTo(c, maxBody, v) }

func decodeUpTo(c echo.Context, most int64, v any) error {
	if t := mediaType(c); t != echo.MIMEApplicationJSON {
		return problem.New(http.StatusUnsupportedMediaType, "unsupported-media-type",
			fmt.Sprintf("the content type is %q: send application/json", t))
	}
	dec := json.NewDecoder(http.MaxBytesReader(c.Response(), c.Request().Body, most))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something stands behind the JSON object: send one object")
		}
	}
	return badBody(err)
}

// badBody turns an error of decoding into a problem that names the place.
func badBody(err error) error {
	if err == nil {
		return nil
	}
	if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
		return err
	}
	bad := chat.Problem{Detail: strings.TrimPrefix(err.Error(), "json: ")}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		bad.Pointer = "/" + strings.ReplaceAll(wrong.Field, ".", "/")
		bad.Detail = fmt.Sprintf("this is a %s: give %s", wrong.Value, article(wrong))
	}
	if errors.Is(err, io.EOF) {
		bad.Detail = "the body is empty: send a JSON object"
	}
	p := problem.New(http.StatusBadRequest, "bad-json", "the body is not the JSON object that this path takes: see errors")
	p.Errors = []chat.Problem{bad}
	return p
}

func article(e *json.UnmarshalTypeError) string {
	switch e.Type.Kind().String() {
	case "int", "uint64":
		return "a whole number"
	case "bool":
		return "true or false"
	case "slice":
		return "a list"
	case "struct":
		return "an object"
	}
	return "a " + e.Type.Kind().String()
}

func mediaType(c echo.Context) string {
	t, _, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if err != nil {
		return ""
	}
	return t
}

// sameID takes the id of the path, and refuses another one in the body.
func sameID(c echo.Context, body *string) error {
	id := c.Param("id")
	if *body != "" && *body != id {
		return invalid("/id", fmt.Sprintf("the path names %q, the body %q: leave it out of the body", id, *body))
	}
	*body = id
	return nil
}

func invalid(pointer, detail string) error {
	return &chat.ValidationError{Problems: []chat.Problem{{Pointer: pointer, Detail: detail}}}
}

// expectation reads If-Match and If-None-Match (RFC 9110, section 13.1).
func expectation(c echo.Context) (registry.Expect, error) {
	match, none := c.Request().Header.Get("If-Match"), c.Request().Header.Get("If-None-Match")
	switch {
	case none == "*" && match == "":
		return registry.Absent, nil
	case none != "":
		return 0, problem.New(http.StatusBadRequest, "bad-condition", "If-None-Match takes * alone, and not together with If-Match")
	case match == "":
		return registry.Any, nil
	case match == "*":
		return registry.Present, nil
	}
	revision, err := strconv.ParseUint(strings.Trim(match, `"`), 10, 63)
	if err != nil || revision == 0 {
		return 0, problem.New(http.StatusBadRequest, "bad-condition",
			"If-Match is no ETag of this API: give the ETag of an answer, or *")
	}
	return registry.Expect(revision), nil
}

// answer writes an object with its revision as ETag.
func answer(c echo.Context, status int, revision uint64, v any) error {
	h := c.Response().Header()
	h.Set("ETag", etag(revision))
	h.Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(status, v)
}

func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// created answers 201 with where the new object is.
func created(c echo.Context, path string, revision uint64, v any) error {
	c.Response().Header().Set(echo.HeaderLocation, Root+path)
	return answer(c, http.StatusCreated, revision, v)
}

// put answers a PUT: 201 where the object is new.
func put(c echo.Context, isNew bool, path string, revision uint64, v any) error {
	if isNew {
		return created(c, path, revision, v)
	}
	return answer(c, http.StatusOK, revision, v)
}

// retryAfter is what a client is told to wait when the broker fails.
const retryAfter = 2 * time.Second

// refusal makes a problem of the registry's error about a record.
func refusal(err error) error {
	kind := ""
	status := http.StatusConflict
	switch {
	case errors.Is(err, registry.ErrNotFound):
		kind, status = "not-found", http.StatusNotFound
	case errors.Is(err, registry.ErrExists):
		kind = "exists"
	case errors.Is(err, registry.ErrInUse):
		kind = "in-use"
	case errors.Is(err, registry.ErrConflict):
		kind, status = "changed", http.StatusPreconditionFailed
	case errors.Is(err, broker.ErrFull):
		kind, status = "store-full", http.StatusServiceUnavailable
	case errors.Is(err, broker.ErrUnavailable):
		kind, status = "broker-unavailable", http.StatusServiceUnavailable
	default:
		return err
	}
	p := problem.New(status, kind, err.Error())
	p.Cause = err
	if status == http.StatusServiceUnavailable {
		p.RetryAfter = retryAfter
	}
	return p
}

// missing is the answer where the registry has no such record.
func missing(kind registry.Kind, id string) error {
	return refusal(fmt.Errorf("%s %q: %w", kind, id, registry.ErrNotFound))
}

// partQuery reads which part of a list is asked for: how much, and what it ends
// before (0: nothing).
func partQuery(c echo.Context, p *chat.Problems) (limit int, before uint64) {
	limit = defaultPage
	var err error
	if text := c.QueryParam("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			p.Add("limit", fmt.Sprintf("the limit is %q: set it to 1..%d", text, maxPage))
		}
	}
	if text := c.QueryParam("before"); text != "" {
		if before, err = strconv.ParseUint(text, 10, 64); err != nil {
			p.Add("before", `this is no place in the list: give the "next" of an answer`)
		}
	}
	return limit, before
}

// placeOf is what "before" takes for the part behind; empty where there is none.
func placeOf(next uint64) string {
	if next == 0 {
		return ""
	}
	return strconv.FormatUint(next, 10)
}

// momentQuery reads a time; the zero time where none is given.
func momentQuery(c echo.Context, now time.Time, p *chat.Problems, name string) time.Time {
	return moment(name, c.QueryParam(name), now, p)
}

// moment reads a time, or a duration back from now; none is the zero time.
func moment(pointer, text string, now time.Time, p *chat.Problems) time.Time {
	if text == "" {
		return time.Time{}
	}
	if back, err := time.ParseDuration(text); err == nil && back >= 0 {
		return now.Add(-back)
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.Add(pointer, fmt.Sprintf(`%q is no time: write it like "2026-07-28T12:00:00Z", or as a duration back like "1h30m"`, text))
	}
	return at
}
