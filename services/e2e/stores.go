package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/require"
)

// NATS is a nats-server process with JetStream on disk. It keeps its port and
// its data over a restart.
type NATS struct {
	*Process
	URL     string
	dir     string
	config  string // its file
	monitor string // its monitoring address; only in a cluster
}

// StartNATS starts a nats-server at a free port.
func StartNATS(t testing.TB, binaries *Binaries) *NATS {
	t.Helper()
	n := newNATS(t, binaries, "nats-server")
	n.configure(t, -1)
	n.Process.Start()
	n.URL = n.discover(t)
	at, err := url.Parse(n.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(at.Port())
	require.NoError(t, err)
	n.configure(t, port) // for restarts
	return n
}

// StartNATSCluster starts servers that are one cluster, and waits until all are
// healthy.
func StartNATSCluster(t testing.TB, binaries *Binaries, servers int) []*NATS {
	t.Helper()
	var cluster []*NATS
	var routes []string
	free := FreePorts(t, 3*servers)
	for i := range servers {
		n := newNATS(t, binaries, fmt.Sprintf("nats-%d", i+1))
		n.monitor = "127.0.0.1:" + strconv.Itoa(free[3*i+1])
		cluster = append(cluster, n)
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", free[3*i+2]))
	}
	for i, n := range cluster {
		n.configure(t, free[3*i], fmt.Sprintf("server_name: %q", n.Name()), fmt.Sprintf("http: %q", n.monitor),
			fmt.Sprintf("cluster { name: parley, listen: \"127.0.0.1:%d\", routes: [%s] }", free[3*i+2], strings.Join(routes, ", ")))
		n.Process.Start()
	}
	for _, n := range cluster {
		n.URL = n.discover(t)
		n.Await("the server's health", func() bool { return n.Healthy(t.Context()) })
	}
	return cluster
}

// FreePorts finds ports of loopback below those that systems give to outgoing
// connections (32768 or 49152 and up), so that a server finds its port free again
// when it comes back. No other test has them until this process ends.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range 1000 {
		if len(ports) == n {
			break
		}
		port := 20000 + rand.IntN(12000)
		free, err := reserve(t.Context(), port)
		require.NoError(t, err)
		if free {
			ports = append(ports, port)
		}
	}
	require.Len(t, ports, n, "free ports")
	return ports
}

// reserve reports whether nobody listens at a port and no test has it, in any
// process: a locked file says so, which the end of the process unlocks.
func reserve(ctx context.Context, port int) (bool, error) {
	dir := filepath.Join(os.TempDir(), "parley-test-ports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	name := strconv.Itoa(port)
	mine := flock.New(filepath.Join(dir, name))
	locked, err := mine.TryLock()
	if err != nil || !locked {
		return false, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:"+name)
	if err != nil { // somebody has it
		return false, mine.Close()
	}
	reserved.Store(port, mine) // kept, so that it stays locked
	return true, l.Close()
}

// reserved are the files of the ports that this process has.
var reserved sync.Map

func newNATS(t testing.TB, binaries *Binaries, name string) *NATS {
	t.Helper()
	n := &NATS{dir: t.TempDir()}
	n.config = filepath.Join(n.dir, "nats.conf")
	n.Process = NewProcess(t, name, binaries.NATS, nil, "--config", n.config)
	return n
}

// Healthy reports whether a server of a cluster says that it is: its streams
// and consumers are current with their leaders.
func (n *NATS) Healthy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.monitor+"/healthz", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Start starts a stopped or killed server again, where it was.
func (n *NATS) Start() {
	n.t.Helper()
	n.Process.Start()
	require.Equal(n.t, n.URL, n.discover(n.t), "the server's address after a restart")
}

func (n *NATS) configure(t testing.TB, port int, more ...string) {
	t.Helper()
	config := fmt.Sprintf("listen: \"127.0.0.1:%d\"\nports_file_dir: %q\njetstream { store_dir: %q, max_file_store: 20GB }\n",
		port, n.dir, filepath.Join(n.dir, "store"))
	config += strings.Join(append(more, ""), "\n")
	require.NoError(t, os.WriteFile(n.config, []byte(config), 0o600))
}

// discover reads the ports file, which the server writes once it listens.
func (n *NATS) discover(t testing.TB) string {
	t.Helper()
	path := filepath.Join(n.dir, fmt.Sprintf("nats-server_%d.ports", n.PID()))
	var ports struct {
		NATS []string `json:"nats"`
	}
	n.Await("the server's ports file", func() bool {
		data, err := os.ReadFile(path)
		return err == nil && json.Unmarshal(data, &ports) == nil && len(ports.NATS) > 0
	})
	return ports.NATS[0]
}

// Redis is a redis-server process with an append-only file. It keeps its port
// and its data over a restart.
type Redis struct {
	*Process
	URL  string
	Addr string
}

// StartRedis starts a redis-server at a free port.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	path := RedisServer(t)
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	r := &Redis{URL: "redis://" + addr + "/0", Addr: addr}
	r.Process = NewProcess(t, "redis-server", path, nil,
		"--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--appendonly", "yes", "--save", "")
	r.Start()
	return r
}

// freeAddr is an address of loopback that nobody listens at; see FreePorts.
func freeAddr(t testing.TB) string {
	t.Helper()
	return "127.0.0.1:" + strconv.Itoa(FreePorts(t, 1)[0])
}

// Start starts the server and waits until it answers.
func (r *Redis) Start() {
	r.t.Helper()
	r.Process.Start()
	r.Await("redis-server's PONG", func() bool { return r.Answers(r.t.Context()) })
}

// Answers reports whether the server answers a PING.
func (r *Redis) Answers(ctx context.Context) bool {
	answer, err := r.command(ctx, "PING")
	return err == nil && strings.HasPrefix(answer, "+PONG")
}

// Tell gives the server a command whose answer is OK.
func (r *Redis) Tell(ctx context.Context, command string) error {
	answer, err := r.command(ctx, command)
	if err == nil && !strings.HasPrefix(answer, "+OK") {
		err = fmt.Errorf("redis-server said %q to %s", answer, command)
	}
	return err
}

// command sends an inline command and returns the beginning of its answer.
func (r *Redis) command(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return "", err
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	return string(answer[:n]), err
}

// Await waits until ok, and fails the test when the process ends before.
func (p *Process) Await(what string, ok func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), ReadyWithin)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-p.exited:
			require.FailNow(p.t, p.name+" ended", "while waiting for %s", what)
		case <-ctx.Done():
			require.FailNow(p.t, "waited too long for "+what)
		case <-tick.C:
		}
	}
}
