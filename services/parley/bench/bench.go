package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// Options say what to measure.
type Options struct {
	Binary        string        // the parley binary, for the child processes
	Version       string        // of the binary, for the report
	Connections   int           // requests under way at once
	Conversations int           // in a round; at least as many as connections
	Messages      int           // in a round; 0: as many as the duration allows
	Duration      time.Duration // of a round's sending; 0 only with Messages
	Rounds        int           // of each of the two
	Body          int           // of a user message's request, in bytes
	Sync          string        // `serve --sync`: "always" or an interval
	RedisURL      string        // `serve --redis-url`; empty: without
	Bot           string        // kind of the bot
}

// The bounds of a run, so that a slip of the keyboard doesn't fill a disk.
const (
	maxConnections   = 4096
	maxConversations = 1_000_000
	maxMessages      = 20_000_000
	maxDuration      = time.Hour
	maxRounds        = 100
	minBodySize      = 200
	maxBodySize      = 64 << 10
)

// Validate reports the first option that can't work.
func (o Options) Validate() error {
	switch {
	case o.Connections < 1 || o.Connections > maxConnections:
		return fmt.Errorf("--connections is %d: set it to 1..%d", o.Connections, maxConnections)
	case o.Conversations < o.Connections || o.Conversations > maxConversations:
		return fmt.Errorf("--conversations is %d: set it to at least --connections (%d), so that each conversation's messages are sent in order, and at most %d",
			o.Conversations, o.Connections, maxConversations)
	case o.Messages < 0 || o.Messages > maxMessages:
		return fmt.Errorf("--messages is %d: set it to 1..%d, or to 0 to go by --duration", o.Messages, maxMessages)
	case o.Duration < 0 || o.Duration > maxDuration:
		return fmt.Errorf("--duration is %s: set it to at most %s", o.Duration, maxDuration)
	case o.Messages == 0 && o.Duration == 0:
		return errors.New("--messages and --duration are both 0: one must bound a round")
	case o.Rounds < 1 || o.Rounds > maxRounds:
		return fmt.Errorf("--rounds is %d: set it to 1..%d", o.Rounds, maxRounds)
	case o.Body < minBodySize || o.Body > maxBodySize:
		return fmt.Errorf("--body is %d bytes: set it to %d..%d", o.Body, minBodySize, maxBodySize)
	}
	return nil
}

// The two that are compared.
const (
	KindRelay    = "relay"
	KindPipeline = "pipeline"
)

// target is one of the two with where to send, and the process that does the
// work.
type target struct {
	kind       string
	url, token string
	process    *child
}

// Run measures. Progress gets a line a round.
func Run(ctx context.Context, o Options, progress io.Writer) (report *Report, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "parley-bench-")
	if err != nil {
		return nil, fmt.Errorf("a directory for the run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f := &field{options: o, dir: dir}
	defer func() { err = errors.Join(err, f.stop()) }()
	if err := f.start(ctx); err != nil {
		return nil, err
	}
	report = newReport(o)
	for number := 1; number <= o.Rounds; number++ {
		for _, t := range f.targets {
			r, err := f.round(ctx, len(report.Rounds)+1, t)
			if err != nil {
				return nil, fmt.Errorf("round %d of the %s: %w", number, t.kind, err)
			}
			report.Rounds = append(report.Rounds, *r)
			if _, err := fmt.Fprintf(progress, "round %d of %d, %s: %s\n", number, o.Rounds, t.kind, r.line()); err != nil {
				return nil, fmt.Errorf("printing the progress: %w", err)
			}
		}
	}
	report.summarise()
	return report, nil
}

// field is the set of processes of a run.
type field struct {
	options  Options
	dir      string
	children []*child
	sink     *sinkClient
	sinkProc *child
	targets  []target
}

func (f *field) start(ctx context.Context) error {
	sink, err := f.child(ctx, "bench-sink")
	if err != nil {
		return err
	}
	f.sinkProc = sink
	f.sink = &sinkClient{base: sink.ready.PublicURL, client: newClient(1)}
	relay, err := f.child(ctx, "bench-relay", "--target", sink.ready.PublicURL+"/", "--connections", fmt.Sprint(f.options.Connections))
	if err != nil {
		return err
	}
	args := []string{
		"--public-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data-dir", filepath.Join(f.dir, "data"),
		"--sync", f.options.Sync, "--allow-cidrs", "127.0.0.0/8", "--allow-ports", "any", "--log-level", "warn",
	}
	if f.options.RedisURL != "" {
		args = append(args, "--redis-url", f.options.RedisURL)
	}
	serve, err := f.child(ctx, "serve", args...)
	if err != nil {
		return err
	}
	p, err := configure(ctx, f.sink.client, serve.ready, f.options.Bot, sink.ready.PublicURL+"/", 0)
	if err != nil {
		return err
	}
	f.targets = []target{
		{kind: KindRelay, url: relay.ready.PublicURL + "/", process: relay},
		{kind: KindPipeline, url: p.target, token: p.token, process: serve},
	}
	return nil
}

// child starts a command of the binary.
func (f *field) child(ctx context.Context, command string, args ...string) (*child, error) {
	c, err := startChild(ctx, f.dir, f.options.Binary, command, append([]string{command}, args...)...)
	if err != nil {
		return nil, err
	}
	f.children = append(f.children, c)
	return c, nil
}

// stop ends the processes, last started first.
func (f *field) stop() error {
	var err error
	for _, c := range slices.Backward(f.children) {
		err = errors.Join(err, c.stop())
	}
	return err
}

// machine says what the figures were measured on.
func machine() string {
	return fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}
