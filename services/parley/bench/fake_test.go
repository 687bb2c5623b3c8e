package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

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
	for _, name := range []string{"connections", "public-addr", "admin-addr", "sync", "allow-cidrs", "allow-ports", "log-level", "redis-url", "journal", "delay", "errors", "store-max", "channel-backlog-bytes", "endpoint-backlog-bytes"} {
		flags.String(name, "", "")
	}
	dataDir, paused := flags.String("data-dir", "", ""), flags.Bool("paused", false, "")
	if err := flags.Parse(args[1:]); err != nil {
		panic(err)
	}
	handler := map[string]http.Handler{"bench-sink": NewSink(0, 0).Handler(), "bench-relay": NewRelay(*target, 8), "serve": newFakeServe(*dataDir, *paused)}[args[0]]
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

type fakeMessage struct {
	Channel string
	Body    []byte
}

// fakeServe relays to the endpoints that the ops API was given; what it may not
// relay yet, it keeps in its data directory.
type fakeServe struct {
	dir    string
	paused bool
	client *http.Client

	mu        sync.Mutex
	Endpoints map[string]string // by channel
	Disabled  bool
	Waiting   []fakeMessage
}

func newFakeServe(dir string, paused bool) http.Handler {
	f := &fakeServe{dir: dir, paused: paused, client: newClient(8), Endpoints: map[string]string{}}
	if data, err := os.ReadFile(f.file()); err == nil && json.Unmarshal(data, f) != nil {
		panic("bad data")
	}
	go f.deliver(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /ops/v1/status", f.status)
	mux.HandleFunc("POST /ops/v1/", f.configure)
	mux.HandleFunc("POST /v1/channels/webhook/{channel}/messages", f.accept)
	return mux
}

func (f *fakeServe) file() string { return filepath.Join(f.dir, "state") }

// save is called with the lock.
func (f *fakeServe) save() {
	data, err := json.Marshal(f)
	if err = errors.Join(err, os.MkdirAll(f.dir, 0o700), os.WriteFile(f.file(), data, 0o600)); err != nil {
		panic(err)
	}
}

// deliver delivers what waits, as long as it may.
func (f *fakeServe) deliver(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paused || f.Disabled {
		return
	}
	for _, m := range f.Waiting {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.Endpoints[m.Channel], bytes.NewReader(m.Body))
		if err == nil {
			_, err = do(f.client, req)
		}
		if err != nil {
			panic(err)
		}
	}
	f.Waiting = nil
}

func (f *fakeServe) accept(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Authorization") != "Bearer pat_1" {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	batch := r.Header.Get("Content-Type") == "application/x-ndjson"
	if !batch {
		w.WriteHeader(http.StatusAccepted)
	}
	f.mu.Lock()
	for line := range bytes.Lines(body) {
		f.Waiting = append(f.Waiting, fakeMessage{r.PathValue("channel"), line})
		if batch {
			_, _ = fmt.Fprintln(w, `{"status":202,"messageId":"msg_1"}`)
		}
	}
	f.save()
	f.mu.Unlock()
	f.deliver(r.Context())
}

func (f *fakeServe) configure(w http.ResponseWriter, r *http.Request) {
	var body struct {
		URL string `json:"url"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Authorization") != "Bearer ops" {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	switch r.URL.Path {
	case "/ops/v1/channels/bench/endpoints", "/ops/v1/channels/neighbour/endpoints":
		f.Endpoints[strings.Split(r.URL.Path, "/")[4]] = body.URL
	case "/ops/v1/endpoints/bench/disable":
		f.Disabled = true
	case "/ops/v1/endpoints/bench/enable":
		f.Disabled = false
	case "/ops/v1/bots", "/ops/v1/channels", "/ops/v1/tokens":
	default:
		http.NotFound(w, r)
	}
	f.save()
	f.mu.Unlock()
	f.deliver(r.Context())
	_, _ = w.Write([]byte(`{"token":"pat_1"}`))
}

func (f *fakeServe) status(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	user, parked := 0, len(f.Waiting)
	if f.paused {
		user, parked = parked, 0
	}
	_, _ = fmt.Fprintf(w, `{"stages":[{"stage":"user","waiting":%d},{"stage":"bot","parked":{"messages":%d}}]}`, user, parked)
}
