package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/parley/ready"
)

// fakeBinary makes the test binary be one for child processes: its sink and
// relay are the real ones, its pipeline is a relay with an ops API.
const fakeBinary = "BENCH_TEST_FAKE_BINARY"

func fakeMain(args []string) {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	readyFile, target := flags.String("ready-file", "", ""), flags.String("target", "", "")
	for _, name := range []string{"connections", "public-addr", "admin-addr", "data-dir", "sync", "allow-cidrs", "allow-ports", "log-level", "redis-url"} {
		flags.String(name, "", "")
	}
	if err := flags.Parse(args[1:]); err != nil {
		panic(err)
	}
	handler := map[string]http.Handler{"bench-sink": NewSink(0).Handler(), "bench-relay": NewRelay(*target, 8), "serve": fakeServe()}[args[0]]
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	url := "http://" + l.Addr().String()
	if args[0] == "serve" && os.Getenv(fakeBinary) == "broken" {
		panic("the disk is full")
	}
	if err := ready.Write(*readyFile, ready.File{PublicURL: url, AdminURL: url, OpsToken: "ops", PID: os.Getpid()}); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	srv := &http.Server{Handler: handler}
	go func() { _ = srv.Serve(l) }()
	<-ctx.Done()
	_ = srv.Close()
}

// fakeServe relays to the endpoint that the ops API was given.
func fakeServe() http.Handler {
	var relay atomic.Pointer[http.Handler]
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			URL string `json:"url"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Authorization") != "Bearer ops" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		if body.URL != "" {
			h := NewRelay(body.URL, 8)
			relay.Store(&h)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"token":"pat_1"}`))
	}
	for _, path := range []string{"/bots", "/channels", "/channels/bench/endpoints", "/tokens"} {
		mux.HandleFunc("POST /ops/v1"+path, answer)
	}
	mux.HandleFunc("POST /v1/channels/webhook/bench/messages", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer pat_1" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		(*relay.Load()).ServeHTTP(w, r)
	})
	return mux
}

func runOptions(t *testing.T) Options {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each child's end takes a second
	self, err := os.Executable()
	require.NoError(t, err)
	o := good()
	o.Binary, o.Rounds = self, 2
	return o
}

func TestRun(t *testing.T) {
	t.Setenv(fakeBinary, "works")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var progress bytes.Buffer

	r, err := Run(t.Context(), runOptions(t), &progress)

	require.NoError(t, err)
	require.Len(t, r.Rounds, 4)
	for i, kind := range []string{KindRelay, KindPipeline, KindRelay, KindPipeline} {
		require.Equal(t, kind, r.Rounds[i].Kind, "the two alternate")
		require.Equal(t, 100, r.Rounds[i].Delivered)
	}
	require.Equal(t, 4, strings.Count(progress.String(), "\n"))
	require.Positive(t, r.Ratio.Delivered)
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		require.Positive(t, r.Median[KindPipeline].PeakRSS[KindPipeline])
	}
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left, "nothing stays behind")
}

func TestRunSaysWhyAProcessDidNotStart(t *testing.T) {
	t.Setenv(fakeBinary, "broken")
	_, err := Run(t.Context(), runOptions(t), &bytes.Buffer{})
	require.ErrorContains(t, err, "serve: the process ended before it was ready")
	require.ErrorContains(t, err, "the disk is full")
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Setenv(fakeBinary, "works")
	ctx, cancel := context.WithCancel(t.Context())
	o := runOptions(t)
	o.Messages = maxMessages
	ended := make(chan error, 1)
	go func() {
		_, err := Run(ctx, o, io.Discard)
		ended <- err
	}()
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}
