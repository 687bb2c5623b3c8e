package telemetry_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewLogger(t *testing.T) {
	for name, tc := range map[string]struct {
		level, format, fails string
	}{
		"json":       {"info", "json", ""},
		"console":    {"debug", "console", ""},
		"bad level":  {"loud", "json", "choose debug, info"},
		"too silent": {"fatal", "json", "choose debug, info"},
		"bad format": {"info", "xml", "choose json or console"},
	} {
		t.Run(name, func(t *testing.T) {
			log, stop, err := telemetry.NewLogger(io.Discard, tc.level, tc.format)
			if tc.fails != "" {
				require.ErrorContains(t, err, tc.fails)
				return
			}
			require.NoError(t, err)
			defer stop()
			require.Equal(t, tc.level, log.Level().String())
		})
	}
}

func TestAdmin(t *testing.T) {
	admin, err := telemetry.NewAdmin("127.0.0.1:0", telemetry.NewRegistry("v1"), zap.NewNop())
	require.NoError(t, err)
	admin.Echo().GET("/boom", func(echo.Context) error { panic("boom") })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- admin.Run(ctx) }()

	get := func(path string) (int, string, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+admin.Addr()+path, nil)
		require.NoError(t, err)
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, resp.Header.Get("Content-Type"), string(body)
	}

	status, _, body := get("/livez")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"status":"ok"}`, body)

	status, _, body = get("/metrics")
	require.Equal(t, 200, status)
	require.Contains(t, body, "go_goroutines")
	require.Contains(t, body, "process_cpu_seconds_total")

	status, _, body = get("/debug/pprof/goroutine?debug=1")
	require.Equal(t, 200, status)
	require.Contains(t, body, "goroutine profile")

	admin.AddCheck("redis", func(context.Context) error { return errors.New("no answer") })
	admin.AddCheck("broker", func(context.Context) error { return nil })
	admin.AddCheck("wild", func(context.Context) error { panic("oh") })
	status, _, body = get("/readyz")
	require.Equal(t, 503, status)
	require.JSONEq(t, `{"status":"failing","checks":[{"name":"broker","status":"ok"},
		{"name":"redis","status":"failing","error":"no answer"},
		{"name":"wild","status":"failing","error":"the check panicked: oh"}]}`, body)

	_, _, body = get("/metrics")
	require.Contains(t, body, `version="v1"} 1`)
	require.Contains(t, body, `parley_check_ok{check="broker"} 1`)
	require.Contains(t, body, `parley_check_ok{check="redis"} 0`)
	require.Contains(t, body, `parley_check_ok{check="wild"} 0`)

	admin.AddOptionalCheck("redis", func(context.Context) error { return errors.New("no answer") })
	admin.AddCheck("wild", func(context.Context) error { return nil })
	status, _, body = get("/readyz")
	require.Equal(t, 200, status, "it can do without")
	require.JSONEq(t, `{"status":"degraded","checks":[{"name":"broker","status":"ok"},
		{"name":"redis","status":"degraded","error":"no answer"},{"name":"wild","status":"ok"}]}`, body)

	admin.AddCheck("redis", func(context.Context) error { return nil })
	admin.AddCheck("wild", func(context.Context) error { return nil })
	status, _, _ = get("/readyz")
	require.Equal(t, 200, status)

	for path, want := range map[string]int{"/boom": 500, "/nowhere": 404} {
		status, contentType, _ := get(path)
		require.Equal(t, want, status)
		require.Equal(t, problem.ContentType, contentType)
	}
	stop()
	require.NoError(t, <-done)
}
