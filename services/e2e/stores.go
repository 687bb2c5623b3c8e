package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// NATS is a nats-server process with JetStream on disk. It keeps its port and
// its data over a restart.
type NATS struct {
	*Process
	URL string
	dir string
}

// StartNATS starts a nats-server at a free port.
func StartNATS(t testing.TB, binaries *Binaries) *NATS {
	t.Helper()
	n := &NATS{dir: t.TempDir()}
	config := filepath.Join(n.dir, "nats.conf")
	n.configure(t, config, -1)
	n.Process = newProcess(t, "nats-server", binaries.NATS, nil, "--config", config)
	n.Process.Start()
	n.URL = n.discover(t)
	at, err := url.Parse(n.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(at.Port())
	require.NoError(t, err)
	n.configure(t, config, port) // for restarts
	return n
}

// Start starts a stopped or killed server again, where it was.
func (n *NATS) Start() {
	n.t.Helper()
	n.Process.Start()
	require.Equal(n.t, n.URL, n.discover(n.t), "the server's address after a restart")
}

func (n *NATS) configure(t testing.TB, path string, port int) {
	t.Helper()
	config := fmt.Sprintf("listen: \"127.0.0.1:%d\"\nports_file_dir: %q\njetstream { store_dir: %q, max_file_store: 20GB }\n",
		port, n.dir, filepath.Join(n.dir, "store"))
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
}

// discover reads the ports file, which the server writes once it listens.
func (n *NATS) discover(t testing.TB) string {
	t.Helper()
	path := filepath.Join(n.dir, fmt.Sprintf("nats-server_%d.ports", n.PID()))
	var ports struct {
		NATS []string `json:"nats"`
	}
	n.await("the server's ports file", func() bool {
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
	addr string
}

// StartRedis starts a redis-server at a free port.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	path := redisServer(t)
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	r := &Redis{URL: "redis://" + addr + "/0", addr: addr}
	r.Process = newProcess(t, "redis-server", path, nil,
		"--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--appendonly", "yes", "--save", "")
	r.Start()
	return r
}

// freeAddr is an address of loopback that nobody listens at. Its port is below
// those that systems give to outgoing connections (32768 or 49152 and up), one
// of which could otherwise take it before it is used.
func freeAddr(t testing.TB) string {
	t.Helper()
	const lowest, ports = 20_000, 12_000
	var err error
	for range 100 {
		addr := "127.0.0.1:" + strconv.Itoa(lowest+rand.IntN(ports))
		var l net.Listener
		if l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr); err == nil {
			require.NoError(t, l.Close())
			return addr
		}
	}
	require.NoError(t, err, "no free port was found")
	return ""
}

// Start starts the server and waits until it answers.
func (r *Redis) Start() {
	r.t.Helper()
	r.Process.Start()
	r.await("redis-server's PONG", func() bool { return ping(r.t.Context(), r.addr) })
}

func ping(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 16)
	n, err := conn.Read(answer)
	return err == nil && strings.HasPrefix(string(answer[:n]), "+PONG")
}

// await waits until ok, and fails the test when the process ends before.
func (p *Process) await(what string, ok func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), readyWithin)
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
