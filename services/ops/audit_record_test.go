package ops

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/parleyhq/parley/pkg/audit"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/httpserver"
	"github.com/parleyhq/parley/pkg/problem"
)

// notebook is an audit that asserts that nothing is answered before it is written.
type notebook struct {
	t       *testing.T
	answer  *httptest.ResponseRecorder
	fail    error
	entries []audit.Entry
}

func (n *notebook) Write(ctx context.Context, e audit.Entry) error {
	require.NoError(n.t, ctx.Err(), "a client that goes away takes no entry with it")
	require.Zero(n.t, n.answer.Body.Len())
	require.False(n.t, n.answer.Flushed)
	n.entries = append(n.entries, e)
	return n.fail
}

func (n *notebook) List(context.Context, audit.Filter, audit.Page) (audit.Listing, error) {
	return audit.Listing{}, errors.New("not asked for here")
}

// record serves one request by a handler that is audited.
func record(t *testing.T, n *notebook, r *http.Request, h echo.HandlerFunc) (*httptest.ResponseRecorder, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	s := &Service{Deps: Deps{Audit: n, Log: zap.New(core)}}
	n.t, n.answer = t, httptest.NewRecorder()
	e := httpserver.NewEcho(zap.NewNop())
	e.Any(Root+"/bots/:id", h, s.audit)
	e.ServeHTTP(n.answer, r)
	return n.answer, logs
}

func putRequest(t *testing.T) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), http.MethodPut, Root+"/bots/pizza?held=true", http.NoBody)
}

func TestWhatIsRecorded(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	bot := func(c echo.Context) error { return answer(c, http.StatusOK, 7, Bot{ID: "pizza", Kind: "echo"}) }
	for name, test := range map[string]struct {
		request *http.Request
		handler echo.HandlerFunc
		status  int // recorded; 0: nothing is
	}{
		"done":               {putRequest(t), bot, 200},
		"created":            {putRequest(t), func(c echo.Context) error { return created(c, "/bots/pizza", 7, Bot{ID: "pizza"}) }, 201},
		"no JSON":            {putRequest(t), func(c echo.Context) error { return c.String(202, "x") }, 202},
		"no body":            {putRequest(t), func(c echo.Context) error { return c.NoContent(204) }, 204},
		"no answer":          {putRequest(t), func(echo.Context) error { return nil }, 200},
		"in pieces":          {putRequest(t), func(c echo.Context) error { return c.Stream(200, "text/plain", strings.NewReader("x")) }, 200},
		"refused":            {putRequest(t), func(echo.Context) error { return problem.New(412, "changed", "x") }, 0},
		"refused by hand":    {putRequest(t), func(c echo.Context) error { return c.JSON(409, Bot{}) }, 0},
		"the broker is away": {putRequest(t), func(echo.Context) error { return refusal(broker.ErrUnavailable) }, 503},
		"an error":           {putRequest(t), func(echo.Context) error { return errors.New("x") }, 500},
		"a panic":            {putRequest(t), func(echo.Context) error { panic("x") }, 500},
		"a panic afterwards": {putRequest(t), func(c echo.Context) error { _ = bot(c); panic("x") }, 200},
		"the client left":    {putRequest(t).WithContext(gone), func(c echo.Context) error { return refusal(c.Request().Context().Err()) }, 500},
		"left when done":     {putRequest(t).WithContext(gone), bot, 200},
		"a read":             {httptest.NewRequestWithContext(t.Context(), http.MethodGet, Root+"/bots/pizza", http.NoBody), bot, 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := &notebook{}
			record(t, n, test.request, test.handler)
			if test.status == 0 {
				require.Empty(t, n.entries)
				return
			}
			require.Len(t, n.entries, 1, "one request, one entry")
			require.Equal(t, test.status, n.entries[0].Status)
			require.Equal(t, "bot.put", n.entries[0].Action)
			require.Equal(t, "pizza", n.entries[0].Object)
		})
	}
}

func TestEntry(t *testing.T) {
	n := &notebook{}
	r := putRequest(t)
	r.Header.Set(echo.HeaderXRequestID, "r1")
	record(t, n, r, func(c echo.Context) error {
		c.Set(callerKey, "ada")
		c.Set(callerIDKey, "tok_1")
		return answer(c, http.StatusOK, 7, Bot{ID: "pizza", Kind: "flow", Flow: "dialogs: {}\n", Revision: 7, Sending: Sending{Secrets: []string{"whsec_x"}}})
	})
	require.JSONEq(t, `{"id":"pizza","kind":"flow","revision":7,"secrets":["[redacted]"],
		"flow":"sha256:5820935bb80e099e1927b5f62d2bf9a03bc0dc0e45caf3f8cd2e2e1f10edd550 (12 bytes)"}`, string(n.entries[0].Detail))
	n.entries[0].Detail = nil
	require.Equal(t, audit.Entry{
		By: "ada", TokenID: "tok_1", Remote: r.RemoteAddr, Action: "bot.put", Kind: audit.KindBot, Object: "pizza", Query: "held=true",
		Status: 200, RequestID: "r1",
	}, n.entries[0])
}

// A change that can't be recorded stands; it is logged with all that the entry
// would say.
func TestWhatCannotBeRecorded(t *testing.T) {
	n := &notebook{fail: broker.ErrUnavailable}
	got, logs := record(t, n, putRequest(t), func(c echo.Context) error { return answer(c, http.StatusOK, 7, Bot{ID: "pizza", Kind: "echo"}) })
	require.Equal(t, http.StatusOK, got.Code)
	require.Contains(t, got.Body.String(), "pizza")
	failed := logs.FilterLevelExact(zap.ErrorLevel).All()
	require.Len(t, failed, 1)
	require.Equal(t, n.entries[0], failed[0].ContextMap()["entry"])
	require.ErrorContains(t, broker.ErrUnavailable, failed[0].ContextMap()["error"].(string))
}
