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
	"path/filepath"
	"slices"
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
	if filepath.Base(os.Args[0]) == "redis-server" {
		fakeRedis(args)
		return
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	readyFile, target := flags.String("ready-file", "", ""), flags.String("target", "", "")
	for _, name := range []string{"connections", "public-addr", "admin-addr", "data-dir", "sync", "allow-cidrs", "allow-ports", "log-level", "redis-url", "journal", "delay", "errors", "store-max", "channel-backlog-bytes", "endpoint-backlog-bytes"} {
		flags.String(name, "", "")
	}
	flags.Bool("paused", false, "")
	if err := flags.Parse(args[1:]); err != nil {
		panic(err)
	}
	handler := map[string]http.Handler{"bench-sink": NewSink(0, 0).Handler(), "bench-relay": NewRelay(*target, 8), "serve": fakeServe()}[args[0]]
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

// fakeRedis answers every connection with a PONG.
func fakeRedis(args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	port := args[slices.Index(args, "--port")+1]
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:"+port)
	if err != nil {
		panic(err)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte("+PONG\r\n"))
		_ = conn.Close()
	}
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
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
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

func TestRunWithARedisOfItsOwn(t *testing.T) {
	t.Setenv(fakeBinary, "works")
	o := runOptions(t)
	bin := t.TempDir()
	require.NoError(t, os.Symlink(o.Binary, filepath.Join(bin, "redis-server")))
	t.Setenv("PATH", bin)
	o.Redis, o.Rounds, o.Paused = true, 1, true

	r, err := Run(t.Context(), o, io.Discard)

	require.NoError(t, err)
	require.Len(t, r.Rounds, 1, "nothing to compare with")
	require.Contains(t, r.Rounds[0].CPU, "redis")
	require.Contains(t, r.Rounds[0].CPU, "serve")
	require.InDelta(t, r.Rounds[0].CPU["serve"]+r.Rounds[0].CPU["redis"], r.Rounds[0].CPU[KindPipeline], 1e-6)
	var table bytes.Buffer
	require.NoError(t, r.WriteTable(&table))
	require.Contains(t, table.String(), "CPU µs/message, redis")
	require.NotContains(t, table.String(), "delivered")

	t.Setenv("PATH", t.TempDir())
	_, err = Run(t.Context(), o, io.Discard)
	require.ErrorContains(t, err, "--redis starts a redis-server: install one")
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
