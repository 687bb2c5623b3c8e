package httpserver_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/httpserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type slow struct{ entered, release chan struct{} }

func (s slow) handle(c echo.Context) error {
	s.entered <- struct{}{}
	<-s.release
	return c.String(http.StatusOK, "finished")
}

func start(t *testing.T, o httpserver.Options, h http.Handler) (url string, stop context.CancelFunc, done chan error) {
	t.Helper()
	o.Addr = "127.0.0.1:0"
	srv, err := httpserver.New(o, h, zap.NewNop())
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	done = make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	return "http://" + srv.Addr(), stop, done
}

type answer struct {
	status int
	body   string
	header http.Header
	err    error
}

func get(t *testing.T, url string) chan answer {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, url, nil)
	require.NoError(t, err)
	out := make(chan answer, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			out <- answer{err: err}
			return
		}
		body, err := io.ReadAll(resp.Body)
		out <- answer{resp.StatusCode, string(body), resp.Header, err}
		_ = resp.Body.Close()
	}()
	return out
}

func TestShutdownFinishesWhatIsUnderWay(t *testing.T) {
	s := slow{make(chan struct{}), make(chan struct{})}
	e := httpserver.NewEcho(zap.NewNop())
	e.GET("/", s.handle)
	url, stop, done := start(t, httpserver.Options{}, e)

	first := get(t, url)
	<-s.entered
	stop()
	close(s.release)
	got := <-first
	require.NoError(t, got.err)
	require.Equal(t, "finished", got.body)
	require.NoError(t, <-done)
}

func TestShutdownIsBounded(t *testing.T) {
	s := slow{make(chan struct{}), make(chan struct{})}
	e := httpserver.NewEcho(zap.NewNop())
	e.GET("/", s.handle)
	url, stop, done := start(t, httpserver.Options{ShutdownTimeout: time.Millisecond}, e)

	first := get(t, url)
	<-s.entered
	stop()
	require.ErrorIs(t, <-done, context.DeadlineExceeded)
	require.Error(t, (<-first).err)
	close(s.release)
}

func TestLimit(t *testing.T) {
	s := slow{make(chan struct{}), make(chan struct{})}
	refused := 0
	e := httpserver.NewEcho(zap.NewNop())
	e.Use(httpserver.Limit(1, func() { refused++ }))
	e.GET("/", s.handle)
	url, stop, done := start(t, httpserver.Options{}, e)

	first := get(t, url)
	<-s.entered
	second := <-get(t, url)
	require.NoError(t, second.err)
	require.Equal(t, http.StatusServiceUnavailable, second.status)
	require.Equal(t, "1", second.header.Get("Retry-After"))
	require.Equal(t, 1, refused)
	close(s.release)
	require.Equal(t, http.StatusOK, (<-first).status)
	stop()
	require.NoError(t, <-done)
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]httpserver.Options{
		"no port":       {Addr: "localhost"},
		"negative time": {Addr: ":0", ReadTimeout: -1},
		"negative size": {Addr: ":0", MaxHeaderBytes: -1},
	} {
		t.Run(name, func(t *testing.T) { require.Error(t, o.Validate()) })
	}
	require.NoError(t, httpserver.Options{Addr: ":0"}.Validate())
}

func TestAddressInUse(t *testing.T) {
	url, stop, done := start(t, httpserver.Options{}, http.NotFoundHandler())
	_, err := httpserver.New(httpserver.Options{Addr: url[len("http://"):]}, http.NotFoundHandler(), zap.NewNop())
	require.ErrorContains(t, err, "choose another address")
	stop()
	require.NoError(t, <-done)
}
