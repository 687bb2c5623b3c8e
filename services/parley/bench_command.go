package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/httpserver"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/services/parley/bench"
	"github.com/parleyhq/parley/services/parley/ready"
)

func newBenchCommand() *cobra.Command {
	var o bench.Options
	var b benchFlags
	var scaling bench.ScalingOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the pipeline beside a bare relay",
		Long: "Measure the pipeline beside a bare relay: rounds of the two alternate under the same load, on\n" +
			"loopback, each in a process of its own. A round ends after --duration, or after --messages. The load is a\n" +
			"closed loop, with --rate an open one: each message is sent when it is due, and latencies count from then.\n" +
			"With --batch or --paused the pipeline is measured alone: a relay knows neither.\n\n" +
			"With --workers, measure what more workers add: the pipeline as processes on --nats-url (without data of\n" +
			"Parley's) and --redis-url, with a sink that takes --sink-delay for each answer. Each worker has at most\n" +
			"--in-flight POSTs under way, so that one delivers at most --in-flight / --sink-delay a second.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			workers := len(scaling.Workers) > 0
			settleBench(cmd, &o, workers)
			return b.run(cmd, &o.Setup, func(ctx context.Context, progress io.Writer) (benchReport, error) {
				if workers {
					scaling.Options = o
					return bench.RunScaling(ctx, scaling, progress)
				}
				return bench.Run(ctx, o, progress)
			})
		},
	}
	addBenchLoad(cmd, &o)
	f := cmd.Flags()
	f.IntSliceVar(&scaling.Workers, "workers", nil, "numbers of workers of each stage to measure one after another, such as 1,2,4")
	f.StringVar(&scaling.NATSURL, "nats-url", "", "with --workers: `URL` of the NATS that the processes use")
	f.IntVar(&scaling.MaxInFlight, "in-flight", 8, "with --workers: POSTs under way of each worker")
	b.addTo(cmd, &o.Setup)
	cmd.AddCommand(newBenchBacklogCommand(), newBenchParkedCommand(), newBenchBulkheadCommand(), newBenchIdleCommand())
	return cmd
}

func addBenchLoad(cmd *cobra.Command, o *bench.Options) {
	f := cmd.Flags()
	f.IntVar(&o.Connections, "connections", 64, "requests under way at once (with --batch 8)")
	f.IntVar(&o.Conversations, "conversations", 64, "conversations of a round")
	f.IntVar(&o.Messages, "messages", 0, "messages of a round; 0: as many as --duration allows")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "how long a round sends")
	f.IntVar(&o.Rounds, "rounds", 3, "rounds of each of the two")
	f.IntVar(&o.Rate, "rate", 0, "messages a second, sent when they are due; 0: a closed loop")
	f.IntVar(&o.Batch, "batch", 0, "messages of a request, as NDJSON; 0: one, as JSON")
	f.BoolVar(&o.Paused, "paused", false, "without workers: measure accepting alone")
}

// settleBench sets what was left to its default and hangs on other flags.
func settleBench(cmd *cobra.Command, o *bench.Options, workers bool) {
	given := cmd.Flags().Changed
	if o.Messages > 0 && !given("duration") {
		o.Duration = 0
	}
	if o.Batch > 0 && !given("connections") {
		o.Connections = 8
	}
	if workers && !given("sink-delay") {
		o.SinkDelay = 20 * time.Millisecond
	}
}

// benchFlags are what every measurement has, beside its setup.
type benchFlags struct {
	report string
	within time.Duration
}

func (b *benchFlags) addTo(cmd *cobra.Command, s *bench.Setup) {
	f := cmd.Flags()
	f.IntVar(&s.Body, "body", 300, "bytes of a message's body")
	f.StringVar(&s.Sync, "sync", "always", "when the pipeline fsyncs: always, or an interval such as 1s")
	f.StringVar(&s.Journal, "journal", string(journal.ModeAll), "what the pipeline records: all, failures or off")
	f.BoolVar(&s.Redis, "redis", false, "start a redis-server (from PATH) for the pipeline, and count it as part of it")
	f.StringVar(&s.RedisURL, "redis-url", "", "`URL` of a Redis that the pipeline uses, which isn't counted; without it and --redis: none")
	f.StringVar(&s.Bot, "bot", "echo", "kind of the pipeline's bot: echo or flow")
	f.DurationVar(&s.SinkDelay, "sink-delay", 0, "how long the sink takes for an answer (with --workers 20ms)")
	f.Float64Var(&s.SinkErrors, "sink-errors", 0, "share of the requests that the sink answers 500, such as 0.05")
	f.StringVar(&b.report, "report", "", "JSON `FILE` for the whole report")
	f.DurationVar(&b.within, "within", time.Hour, "how long all of it may take")
}

// benchReport is what a measurement came to.
type benchReport interface {
	WriteTable(w io.Writer) error
	WriteJSON(w io.Writer) error
}

// run measures with this binary, prints the report, and writes it as JSON where
// a file is named.
func (b *benchFlags) run(cmd *cobra.Command, s *bench.Setup, measure func(ctx context.Context, progress io.Writer) (benchReport, error)) (err error) {
	s.Version = version
	if s.Binary, err = os.Executable(); err != nil {
		return fmt.Errorf("finding this binary: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), b.within, fmt.Errorf("not done within --within %s", b.within))
	defer cancel()
	report, err := measure(ctx, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	if err := report.WriteTable(cmd.OutOrStdout()); err != nil || b.report == "" {
		return err
	}
	f, err := os.Create(b.report)
	if err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	if err := errors.Join(report.WriteJSON(f), f.Close()); err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}

func newBenchSinkCommand() *cobra.Command {
	var readyFile string
	var delay time.Duration
	var failures float64
	cmd := &cobra.Command{
		Use:    "bench-sink",
		Short:  "Be the sink of a benchmark",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveBench(cmd, readyFile, bench.NewSink(delay, failures).Handler())
		},
	}
	readyFileFlag(cmd, &readyFile)
	cmd.Flags().DurationVar(&delay, "delay", 0, "how long each answer takes")
	cmd.Flags().Float64Var(&failures, "errors", 0, "share of the requests that are answered 500")
	return cmd
}

func newBenchRelayCommand() *cobra.Command {
	var readyFile, target string
	var connections int
	cmd := &cobra.Command{
		Use:    "bench-relay",
		Short:  "Be the bare relay of a benchmark",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveBench(cmd, readyFile, bench.NewRelay(target, connections))
		},
	}
	readyFileFlag(cmd, &readyFile)
	cmd.Flags().StringVar(&target, "target", "", "`URL` to post to")
	cmd.Flags().IntVar(&connections, "connections", 64, "most connections to the target")
	return cmd
}

// readyFileFlag adds the flag of every command that serves.
func readyFileFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "ready-file", "", "`FILE` that says, as JSON, where this process listens once it is ready")
}

// serveBench serves a part of the benchmark at a free port of loopback.
func serveBench(cmd *cobra.Command, readyFile string, h http.Handler) error {
	srv, err := httpserver.New(httpserver.Options{Addr: "127.0.0.1:0"}, h, zap.NewNop())
	if err != nil {
		return err
	}
	if readyFile != "" {
		if err := ready.Write(readyFile, ready.File{PublicURL: "http://" + srv.Addr(), PID: os.Getpid()}); err != nil {
			return err
		}
	}
	return srv.Run(cmd.Context())
}
