package problem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/problem"
)

func TestHandler(t *testing.T) {
	invalid := &chat.ValidationError{Problems: []chat.Problem{{Pointer: "/message", Detail: "is missing: add it"}}}
	full := problem.New(http.StatusServiceUnavailable, "full", "try again later")
	full.RetryAfter = 1500 * time.Millisecond
	who := problem.New(http.StatusUnauthorized, "unauthorized", "send a token")
	who.Challenge = "Bearer"

	for name, tc := range map[string]struct {
		err    error
		status int
		slug   string
		header [2]string
		errs   []chat.Problem
		logged int
	}{
		"problem":            {err: full, status: 503, slug: "full", header: [2]string{"Retry-After", "2"}},
		"problem wrapped":    {err: fmt.Errorf("accepting: %w", full), status: 503, slug: "full", header: [2]string{"Retry-After", "2"}},
		"challenge":          {err: who, status: 401, slug: "unauthorized", header: [2]string{"WWW-Authenticate", "Bearer"}},
		"validation":         {err: fmt.Errorf("body: %w", invalid), status: 422, slug: "invalid", errs: invalid.Problems},
		"body over limit":    {err: &http.MaxBytesError{Limit: 10}, status: 413, slug: "too-large"},
		"echo 404":           {err: echo.ErrNotFound, status: 404, slug: "not-found"},
		"echo 405":           {err: echo.ErrMethodNotAllowed, status: 405, slug: "method-not-allowed"},
		"echo 413":           {err: echo.ErrStatusRequestEntityTooLarge, status: 413, slug: "too-large"},
		"echo 415":           {err: echo.ErrUnsupportedMediaType, status: 415, slug: "unsupported-media-type"},
		"echo 400":           {err: echo.NewHTTPError(400, "page is no number"), status: 400, slug: "http-400"},
		"anything, logged":   {err: errors.New("secret trouble"), status: 500, slug: "internal", logged: 1},
		"panic, logged once": {err: nil, status: 500, slug: "internal", logged: 2}, // the panic and the failed request
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			e := newEcho(zap.New(core))
			e.GET("/", func(echo.Context) error {
				if tc.err == nil {
					panic("secret trouble")
				}
				return tc.err
			})
			rec := httptest.NewRecorder()
			e.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))

			require.Equal(t, tc.status, rec.Code)
			require.Equal(t, problem.ContentType, rec.Header().Get("Content-Type"))
			var got problem.Problem
			require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &got))
			require.Equal(t, tc.slug, got.Slug())
			require.Equal(t, tc.status, got.Status)
			require.NotEmpty(t, got.Title)
			require.Equal(t, tc.errs, got.Errors)
			require.False(t, strings.Contains(rec.Body.String(), "secret"), rec.Body)
			if tc.header[0] != "" {
				require.Equal(t, tc.header[1], rec.Header().Get(tc.header[0]))
			}
			require.Equal(t, tc.logged, logs.Len())
		})
	}
}

func TestHandlerLeavesABegunAnswerAlone(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	e := newEcho(zap.New(core))
	e.GET("/", func(c echo.Context) error {
		require.NoError(t, c.String(http.StatusOK, "begun"))
		return errors.New("too late")
	})
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	require.Equal(t, http.StatusOK, rec.Code)
	require.Equal(t, "begun", rec.Body.String())
	require.NotZero(t, logs.Len())
}

func TestHandlerIsSilentWhenTheClientIsGone(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	e := newEcho(zap.New(core))
	e.GET("/", func(c echo.Context) error { return c.Request().Context().Err() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
	require.Zero(t, logs.Len())
}

func TestRecoverLetsAbortThrough(t *testing.T) {
	e := newEcho(zap.NewNop())
	e.GET("/", func(echo.Context) error { panic(http.ErrAbortHandler) })
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	})
}

func newEcho(log *zap.Logger) *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = problem.Handler(log)
	e.Use(problem.Recover(log))
	return e
}
