// Package redistest gives tests a real Redis: redis-server on a free loopback
// port, with its append-only file in a temporary directory.
package redistest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/suspend"
)

// Server is a redis-server process of a test.
type Server struct {
	// Addr is where it listens, before and after a restart: 127.0.0.1:port.
	Addr string
	// URL is Addr as a redis:// URL.
	URL string

	t       testing.TB
	path    string
	dir     string
	log     *strings.Builder
	process *os.Process
	exited  chan struct{}
}

// startWithin bounds how long redis-server takes to answer.
const startWithin = 10 * time.Second

// Start starts redis-server, waits until it answers and stops it when the test
// ends. Where it is not installed the test is skipped, or fails if CI=true.
func Start(t testing.TB) *Server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not in PATH: install it, CI runs every test")
		}
		t.Skip("redis-server is not in PATH")
	}
	s := &Server{t: t, path: path, dir: t.TempDir(), log: new(strings.Builder)}
	t.Cleanup(s.Stop)
	// Another process may take the port before Redis does: then try the next.
	for attempt := 1; ; attempt++ {
		s.Addr = freeAddr(t)
		s.URL = "redis://" + s.Addr
		err = s.start()
		if err == nil {
			return s
		}
		require.Less(t, attempt, 3, "redis-server does not start: %v", err)
	}
}

// Stop ends the process, as an operator would; what it holds stays on disk. It
// may be called more than once.
func (s *Server) Stop() {
	s.t.Helper()
	if s.process == nil {
		return
	}
	_ = suspend.Resume(s.process)
	_ = s.process.Signal(syscall.SIGTERM)
	<-s.exited
	s.process = nil
}

// Restart stops the server if it runs, and starts it on the same address and
// data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	require.NoError(s.t, s.start())
}

// Freeze stops the process from answering while its connections stay open;
// Thaw undoes it.
func (s *Server) Freeze() {
	s.t.Helper()
	require.NoError(s.t, suspend.Suspend(s.process))
}

// Thaw lets a frozen process go on.
func (s *Server) Thaw() {
	s.t.Helper()
	require.NoError(s.t, suspend.Resume(s.process))
}

func (s *Server) start() error {
	host, port, err := net.SplitHostPort(s.Addr)
	require.NoError(s.t, err)
	s.log.Reset()
	cmd := exec.Command(s.path, "--bind", host, "--port", port, "--dir", s.dir, //nolint:noctx // it outlives the call; Stop ends it
		"--save", "", "--appendonly", "yes", "--appendfsync", "no", "--daemonize", "no")
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.process, s.exited = cmd.Process, make(chan struct{})
	go func(exited chan struct{}) {
		_ = cmd.Wait() // the exit code of a signalled process says nothing
		close(exited)
	}(s.exited)
	deadline := time.After(startWithin)
	for {
		if err = s.ping(); err == nil {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-s.exited:
			s.process = nil
			return fmt.Errorf("redis-server ended: %s", s.log)
		case <-deadline:
			s.Stop()
			return fmt.Errorf("%w; its log: %s", err, s.log)
		}
	}
}

// ping makes sure that this process answers, not another one at its port.
func (s *Server) ping() error {
	c, err := net.DialTimeout("tcp", s.Addr, time.Second) //nolint:noctx // bounded by its time-out
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(c, "INFO server\r\n"); err != nil {
		return err
	}
	want := "process_id:" + strconv.Itoa(s.process.Pid)
	for lines := bufio.NewScanner(c); lines.Scan(); {
		switch line := lines.Text(); {
		case line == want:
			return nil
		case strings.HasPrefix(line, "process_id:"), strings.HasPrefix(line, "-"):
			return fmt.Errorf("%s answers %q", s.Addr, line)
		}
	}
	return fmt.Errorf("%s does not answer", s.Addr)
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
