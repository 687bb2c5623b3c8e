package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/suspend"
)

// Process is a program that runs until the test ends, and may be stopped,
// killed and started again before.
type Process struct {
	t    testing.TB
	name string
	path string
	args []string
	env  []string
	log  string

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
}

// The bounds of waiting; what is waited for is always something observable.
const (
	// ReadyWithin bounds the wait for a process to be ready.
	ReadyWithin = time.Minute
	stopWithin  = 30 * time.Second
	logTail     = 64 << 10 // bytes of a log that a failed test shows
)

// NewProcess prepares a process. Its environment has nothing of this one's but
// PATH, HOME and TMPDIR, and what env adds.
func NewProcess(t testing.TB, name, path string, env []string, args ...string) *Process {
	t.Helper()
	sources(t)
	p := &Process{t: t, name: name, path: path, args: args, log: filepath.Join(t.TempDir(), name+".log")}
	for _, key := range []string{"PATH", "HOME", "TMPDIR"} {
		if v, ok := os.LookupEnv(key); ok {
			p.env = append(p.env, key+"="+v)
		}
	}
	p.env = append(p.env, env...)
	t.Cleanup(p.finish)
	return p
}

// Start starts the process.
func (p *Process) Start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(p.t, err)
	defer func() { _ = log.Close() }()
	// Not the test's context: the process ends in finish, after the test, in order.
	cmd := exec.CommandContext(context.WithoutCancel(p.t.Context()), p.path, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	require.NoError(p.t, cmd.Start(), "starting %s", p.name)
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended stands in cmd.ProcessState
		close(exited)
	}()
	p.cmd, p.exited = cmd, exited
}

// Become has the next start run another program, with the same arguments.
func (p *Process) Become(path string) { p.path = path }

// Env is the environment that the process has.
func (p *Process) Env() []string { return p.env }

// Name is the process's name in logs.
func (p *Process) Name() string { return p.name }

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process as a crash would: by SIGKILL.
func (p *Process) Kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill(), "killing %s", p.name)
	<-p.exited
}

// Suspend lets the process do nothing until Resume.
func (p *Process) Suspend() {
	p.t.Helper()
	require.NoError(p.t, suspend.Suspend(p.cmd.Process), "suspending %s", p.name)
}

// Resume lets the process go on.
func (p *Process) Resume() {
	p.t.Helper()
	require.NoError(p.t, suspend.Resume(p.cmd.Process), "resuming %s", p.name)
}

// Signal sends the process a signal, such as SIGQUIT.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s), "sending %s to %s", s, p.name)
}

// Stop asks the process to end and requires that it does, with exit code 0.
func (p *Process) Stop() {
	p.t.Helper()
	require.NoError(p.t, p.terminate(), "stopping %s", p.name)
	require.Zero(p.t, p.cmd.ProcessState.ExitCode(), "%s should end with 0 when it is told to", p.name)
}

// CPU is the processor time that the process took; it must have ended.
func (p *Process) CPU() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// Running reports whether the process runs.
func (p *Process) Running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *Process) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(stopWithin)
	defer timer.Stop()
	select {
	case <-p.exited:
		return nil
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s didn't end within %s of SIGTERM", p.name, stopWithin)
	}
}

// finish ends the process with the test, and shows its log if the test failed.
func (p *Process) finish() {
	if p.Running() {
		_ = suspend.Resume(p.cmd.Process) // a stopped process ends only when it goes on
		if err := p.terminate(); err != nil {
			p.t.Error(err)
		}
	}
	if p.t.Failed() {
		p.t.Logf("the end of %s's log:\n%s", p.name, p.Tail())
	}
}

// Says reports whether the process's log has a text.
func (p *Process) Says(text string) bool { return strings.Contains(p.Tail(), text) }

// Tail is the end of the process's log.
func (p *Process) Tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data[max(0, len(data)-logTail):]))
}
