package ops

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/audit"
	"github.com/parleyhq/parley/pkg/problem"
)

// Audit keeps who changed what; an *audit.Log does. Write returns within a few
// seconds, whatever the broker does.
type Audit interface {
	Write(ctx context.Context, e audit.Entry) error
	List(ctx context.Context, f audit.Filter, p audit.Page) (audit.Listing, error)
}

// actions names what a request does, by method and route. A name is the kind of
// the object and a verb.
var actions = map[string]string{
	"POST /channels":               "channel.create",
	"PUT /channels/:id":            "channel.put",
	"DELETE /channels/:id":         "channel.delete",
	"POST /channels/:id/pause":     "channel.pause",
	"POST /channels/:id/resume":    "channel.resume",
	"POST /channels/:id/endpoints": "endpoint.create",

	"PUT /endpoints/:id":                  "endpoint.put",
	"DELETE /endpoints/:id":               "endpoint.delete",
	"POST /endpoints/:id/disable":         "endpoint.disable",
	"POST /endpoints/:id/enable":          "endpoint.enable",
	"POST /endpoints/:id/rotate-secret":   "endpoint.rotate-secret",
	"POST /endpoints/:id/test":            "endpoint.test",
	"POST /endpoints/:id/pause":           "endpoint.pause",
	"POST /endpoints/:id/resume":          "endpoint.resume",
	"POST /endpoints/:id/lanes/retry-now": "endpoint.lanes-retry-now",
	"POST /endpoints/:id/lanes/skip":      "endpoint.lanes-skip",
	"POST /endpoints/:id/lanes/discard":   "endpoint.lanes-discard",

	"POST /bots":                   "bot.create",
	"PUT /bots/:id":                "bot.put",
	"DELETE /bots/:id":             "bot.delete",
	"POST /bots/:id/pause":         "bot.pause",
	"POST /bots/:id/resume":        "bot.resume",
	"POST /bots/:id/rotate-secret": "bot.rotate-secret",

	"POST /tokens":       "token.create",
	"DELETE /tokens/:id": "token.delete",

	"POST /lanes/:id/retry-now": "lane.retry-now",
	"POST /lanes/:id/skip":      "lane.skip",
	"POST /lanes/:id/discard":   "lane.discard",

	"DELETE /conversations": "conversation.erase",

	"POST /apply": "configuration.apply",

	"POST /replays":            "replay.create",
	"POST /replays/:id/pause":  "replay.pause",
	"POST /replays/:id/resume": "replay.resume",
	"POST /replays/:id/cancel": "replay.cancel",
}

// audited is what an answer says of itself in the audit: the id of its object,
// empty where the path names it, and a detail without secrets. Of an answer of
// another type the audit has no detail.
type audited interface {
	audited() (id string, detail any)
}

// audit records what changes something, in this one place, so that no route can
// be forgotten.
//
// The entry is written when the answer is about to go out and says what came of
// the request: one answer, one entry. An intent, written before the change and
// refused with 503 where it can't be stored, would hold a change back for the
// sake of an entry that doesn't say whether it was made; and the broker that
// refuses the entry has just taken the change. So a change that can't be
// recorded stands: it is answered as usual, logged as an error with all that
// the entry would say, and counted (parley_audit_failed_total). The answer waits
// for the entry for 2 s at most, however the client does.
//
// Not recorded is what was refused (4xx), which changed nothing. What failed
// (5xx), panicked, or whose client went away is recorded with its status: it may
// have been done, or a part of it.
func (s *Service) audit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		switch c.Request().Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			return next(c)
		}
		t := &trail{Context: c, service: s}
		status := http.StatusInternalServerError // of a panic
		defer func() { t.record(status) }()
		c.Response().Before(func() { t.record(c.Response().Status) })
		if err = next(t); err == nil {
			status = c.Response().Status
		} else {
			status = problem.From(err).Status
		}
		return err
	}
}

// trail is the context of a request that is audited: it sees the answer.
type trail struct {
	echo.Context
	service  *Service
	answer   any
	recorded bool
}

// JSON notes the answer on its way.
func (t *trail) JSON(status int, v any) error {
	t.answer = v
	return t.Context.JSON(status, v)
}

// record writes the entry, once.
func (t *trail) record(status int) {
	refused := status >= http.StatusBadRequest && status < http.StatusInternalServerError
	if t.recorded || refused {
		return
	}
	t.recorded = true
	e := t.entry(status)
	// The change is made, whether or not the client is still there.
	ctx := context.WithoutCancel(t.Request().Context())
	if err := t.service.Audit.Write(ctx, e); err != nil {
		t.service.Log.Error("what an operator did could not be recorded in the audit", zap.Any("entry", e), zap.Error(err))
	}
}

func (t *trail) entry(status int) audit.Entry {
	r := t.Request()
	route := r.Method + " " + strings.TrimPrefix(t.Path(), Root)
	action, known := actions[route]
	if !known {
		action = "other." + route
	}
	kind, _, _ := strings.Cut(action, ".") // one of audit.Kinds, a test says
	e := audit.Entry{
		By: caller(t), TokenID: callerID(t), Remote: r.RemoteAddr, Action: action, Kind: kind,
		Query: auditedQuery(r.URL), Status: status, RequestID: r.Header.Get(echo.HeaderXRequestID),
	}
	if !strings.HasSuffix(action, ".create") { // there the path names what it is made in
		e.Object = t.Param("id")
	}
	if a, ok := t.answer.(audited); ok && status < http.StatusBadRequest {
		id, detail := a.audited()
		if id != "" {
			e.Object = id
		}
		var err error
		if e.Detail, err = json.Marshal(detail); err != nil {
			t.service.Log.Error("the detail of an audit entry can't be encoded", zap.String("action", action), zap.Error(err))
		}
	}
	return e
}
