package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/parleyhq/parley/services/parley/ready"
)

// field is the set of processes of a run, in a directory of its own.
type field struct {
	setup    Setup
	dir      string
	children []*child
	sink     *sinkClient
	sinkProc *child
	redis    *child // nil unless the run has one of its own
	redisURL string
	rounds   int // that scenarios have sent: their messages' round
}

const serveName = "serve"

func newField(s Setup) (*field, error) {
	dir, err := os.MkdirTemp("", "parley-bench-")
	if err != nil {
		return nil, fmt.Errorf("a directory for the run: %w", err)
	}
	return &field{setup: s, dir: dir, redisURL: s.RedisURL}, nil
}

// close ends the processes, last started first, and removes the directory; it
// adds to *err what failed.
func (f *field) close(err *error) {
	for _, c := range slices.Backward(f.children) {
		*err = errors.Join(*err, c.stop())
	}
	*err = errors.Join(*err, os.RemoveAll(f.dir))
}

// child starts a command of the binary.
func (f *field) child(ctx context.Context, command string, args ...string) (*child, error) {
	return f.named(ctx, command, append([]string{command}, args...)...)
}

func (f *field) named(ctx context.Context, name string, args ...string) (*child, error) {
	c, err := startChild(ctx, f.dir, f.setup.Binary, name, args...)
	if err != nil {
		return nil, err
	}
	f.children = append(f.children, c)
	return c, nil
}

// end stops a child before the run's end.
func (f *field) end(c *child) error {
	f.children = slices.DeleteFunc(f.children, func(other *child) bool { return other == c })
	return c.stop()
}

func (f *field) startSink(ctx context.Context) (err error) {
	f.sinkProc, err = f.child(ctx, "bench-sink", "--delay", f.setup.SinkDelay.String(),
		"--errors", strconv.FormatFloat(f.setup.SinkErrors, 'g', -1, 64))
	if err != nil {
		return err
	}
	f.sink = &sinkClient{base: f.sinkProc.ready.PublicURL, client: newClient(1), stall: drainStall}
	if f.setup.SinkErrors > 0 {
		f.sink.stall = retriedStall
	}
	return nil
}

func (f *field) sinkURL() string { return f.sinkProc.ready.PublicURL + "/" }

// serving is a running `parley serve` with a channel whose endpoint is the
// sink.
type serving struct {
	*child
	pipeline

	redis      *child // nil unless the run has one of its own
	readyAfter time.Duration
}

func (s *serving) target() target {
	t := target{kind: KindPipeline, url: s.url, token: s.token, processes: []*child{s.child}}
	if s.redis != nil {
		t.processes = append(t.processes, s.redis)
	}
	return t
}

// usages are what the processes have used: all, and each by its name.
func (s *serving) usages() map[string]usage {
	processes := s.target().processes
	all := map[string]usage{KindPipeline: usageOfAll(processes)}
	for _, c := range processes {
		all[c.name] = c.usage()
	}
	return all
}

func (s *serving) allAlive() error { return allAlive(s.target().processes) }

// pipelineProcesses are the names of the processes that figures are of, serve
// before redis.
func pipelineProcesses(figures map[string]float64) (names []string) {
	for _, name := range []string{serveName, redisName} {
		if _, ok := figures[name]; ok {
			names = append(names, name)
		}
	}
	return names
}

// unbounded are arguments of serve for more messages than its default quotas
// and store let wait.
var unbounded = []string{"--store-max", "30GiB", "--channel-backlog-bytes", "0", "--endpoint-backlog-bytes", "0"}

// serve starts a serve on new data and configures it.
func (f *field) serve(ctx context.Context, args ...string) (*serving, error) {
	s, err := f.startServe(ctx, args...)
	if err != nil {
		return nil, err
	}
	token, err := s.configure(ctx, f.setup.Bot, f.sinkURL(), 0)
	s.token = token
	return s, err
}

// again starts a serve on the data of one that was ended.
func (f *field) again(ctx context.Context, former *serving, args ...string) (*serving, error) {
	s, err := f.startServe(ctx, args...)
	if err != nil {
		return nil, err
	}
	s.token = former.token
	return s, nil
}

func (f *field) dataDir() string { return filepath.Join(f.dir, "data") }

// startServe starts a serve on the run's data directory and waits until
// /readyz says that it is ready.
func (f *field) startServe(ctx context.Context, args ...string) (*serving, error) {
	if f.setup.Redis && f.redis == nil {
		if err := f.startRedis(ctx); err != nil {
			return nil, err
		}
	}
	all := []string{
		"--public-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data-dir", f.dataDir(),
		"--sync", f.setup.Sync, "--journal", f.setup.Journal, "--allow-cidrs", "127.0.0.0/8", "--allow-ports", "any", "--log-level", "warn",
	}
	if f.redisURL != "" {
		all = append(all, "--redis-url", f.redisURL)
	}
	started := time.Now()
	c, err := f.child(ctx, serveName, append(all, args...)...)
	if err != nil {
		return nil, err
	}
	if err := answersReady(ctx, f.sink.client, c); err != nil {
		return nil, err
	}
	return &serving{
		child: c, redis: f.redis, readyAfter: time.Since(started),
		pipeline: pipelineAt(f.sink.client, c.ready),
	}, nil
}

// answersReady waits until /readyz answers 200.
func answersReady(ctx context.Context, client *http.Client, c *child) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("%s did not answer /readyz with 200 within %s", c.name, readyWithin))
	defer cancel()
	return poll(ctx, time.Millisecond, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.ready.AdminURL+"/readyz", http.NoBody)
		if err != nil {
			return false, err
		}
		status, err := do(client, req)
		return err == nil && status == http.StatusOK, c.alive()
	})
}

// poll calls done until it says so or fails.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// channelURL is where a channel's user messages are posted to.
func channelURL(at ready.File, id string) string {
	return at.PublicURL + "/v1/channels/webhook/" + id + "/messages"
}
