package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/parleyhq/parley/services/parley/ready"
)

// child is a process of the benchmark: the binary itself with another command,
// or a redis-server.
type child struct {
	name   string
	cmd    *exec.Cmd
	ready  ready.File
	log    string // path of what it wrote to its outputs
	exited chan struct{}
}

const (
	readyWithin = 2 * time.Minute
	stopWithin  = 30 * time.Second // more than the services' --shutdown-timeout
	logTail     = 2 << 10          // bytes of a child's log that an error shows
)

// startChild starts the binary with --ready-file and waits until it is ready.
func startChild(ctx context.Context, dir, binary, name string, args ...string) (*child, error) {
	readyFile := filepath.Join(dir, name+".ready")
	if err := os.Remove(readyFile); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a former one
		return nil, fmt.Errorf("the ready file of %s: %w", name, err)
	}
	c, err := spawn(ctx, dir, name, binary, append(args, "--ready-file", readyFile)...)
	if err != nil {
		return nil, err
	}
	waitCtx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("%s was not ready within %s", name, readyWithin))
	defer cancel()
	if c.ready, err = ready.Wait(waitCtx, readyFile, c.exited); err != nil {
		err = fmt.Errorf("%s: %w; its log ends: %s", name, err, c.tail())
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// spawn starts a program whose outputs go to a log in the directory. Its
// environment has no PARLEY_ variables, which are the benchmark's own.
func spawn(ctx context.Context, dir, name, path string, args ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, fmt.Errorf("the log of %s: %w", name, err)
	}
	defer func() { _ = log.Close() }()
	c.cmd = exec.CommandContext(ctx, path, args...)
	c.cmd.Cancel = func() error { return terminate(c.cmd.Process) }
	c.cmd.WaitDelay = stopWithin
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.Env = environment(os.Environ())
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = c.cmd.Wait() // how it ended stands in its log
		close(c.exited)
	}()
	return c, nil
}

// stop ends the child, by force where asking doesn't help in time.
func (c *child) stop() error {
	_ = terminate(c.cmd.Process) // fails only where it has ended
	t := time.NewTimer(stopWithin)
	defer t.Stop()
	select {
	case <-c.exited:
		return nil
	case <-t.C:
	}
	err := c.cmd.Process.Kill()
	<-c.exited
	return errors.Join(fmt.Errorf("%s didn't stop within %s and was killed; its log ends: %s", c.name, stopWithin, c.tail()), err)
}

// terminate asks a process to end. Windows has no way to ask: there it ends at once.
func terminate(p *os.Process) error {
	if runtime.GOOS == "windows" {
		return p.Kill()
	}
	return p.Signal(syscall.SIGTERM)
}

// alive returns an error once the child has ended.
func (c *child) alive() error {
	select {
	case <-c.exited:
		return fmt.Errorf("%s ended during the run; its log ends: %s", c.name, c.tail())
	default:
		return nil
	}
}

func (c *child) usage() usage { return usageOf(c.cmd.Process.Pid) }

func (c *child) tail() string {
	data, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data[max(0, len(data)-logTail):]))
}

func environment(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, entry := range env {
		if !strings.HasPrefix(entry, "PARLEY_") {
			kept = append(kept, entry)
		}
	}
	return kept
}
