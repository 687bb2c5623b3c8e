package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/httpserver"
	"github.com/parleyhq/parley/services/parley/bench"
	"github.com/parleyhq/parley/services/parley/ready"
)

func newBenchCommand() *cobra.Command {
	o := bench.Options{Version: version}
	var report string
	var scaling bench.ScalingOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the pipeline beside a bare relay",
		Long: "Measure the pipeline beside a bare relay: rounds of the two alternate under the same load, on\n" +
			"loopback, each in a process of its own. A round ends after --duration, or after --messages.\n\n" +
			"With --workers, measure what more workers add: the pipeline as processes on --nats-url (without data of\n" +
			"Parley's) and --redis-url, with a sink that takes --sink-delay for each answer. Each worker has at most\n" +
			"--in-flight POSTs under way, so that one delivers at most --in-flight / --sink-delay a second.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Messages > 0 && !cmd.Flags().Changed("duration") {
				o.Duration = 0
			}
			if len(scaling.Workers) > 0 {
				scaling.Options = o
				return runScaling(cmd, scaling, report)
			}
			return runBench(cmd, o, report)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Connections, "connections", 64, "requests under way at once")
	f.IntVar(&o.Conversations, "conversations", 64, "conversations of a round")
	f.IntVar(&o.Messages, "messages", 0, "messages of a round; 0: as many as --duration allows")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "how long a round sends")
	f.IntVar(&o.Rounds, "rounds", 3, "rounds of each of the two")
	f.IntVar(&o.Body, "body", 300, "bytes of a request's body")
	f.StringVar(&o.Sync, "sync", "always", "when the pipeline fsyncs: always, or an interval such as 1s")
	f.StringVar(&o.RedisURL, "redis-url", "", "`URL` of a Redis that the pipeline uses; empty: without")
	f.StringVar(&o.Bot, "bot", "echo", "kind of the pipeline's bot")
	f.IntSliceVar(&scaling.Workers, "workers", nil, "numbers of workers of each stage to measure one after another, such as 1,2,4")
	f.StringVar(&scaling.NATSURL, "nats-url", "", "with --workers: `URL` of the NATS that the processes use")
	f.DurationVar(&scaling.SinkDelay, "sink-delay", 20*time.Millisecond, "with --workers: how long the sink takes for an answer")
	f.IntVar(&scaling.MaxInFlight, "in-flight", 8, "with --workers: POSTs under way of each worker")
	f.StringVar(&report, "report", "", "JSON `FILE` for the whole report")
	return cmd
}

func runBench(cmd *cobra.Command, o bench.Options, reportFile string) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this binary: %w", err)
	}
	o.Binary = binary
	report, err := bench.Run(cmd.Context(), o, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	return writeReport(cmd, report, reportFile)
}

func runScaling(cmd *cobra.Command, o bench.ScalingOptions, reportFile string) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this binary: %w", err)
	}
	o.Binary = binary
	table, err := bench.RunScaling(cmd.Context(), o, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	return writeReport(cmd, table, reportFile)
}

// writeReport prints a report, and writes it as JSON where a file is named.
func writeReport(cmd *cobra.Command, report interface {
	WriteTable(w io.Writer) error
	WriteJSON(w io.Writer) error
}, reportFile string,
) error {
	if err := report.WriteTable(cmd.OutOrStdout()); err != nil {
		return err
	}
	if reportFile == "" {
		return nil
	}
	f, err := os.Create(reportFile)
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
	cmd := &cobra.Command{
		Use:    "bench-sink",
		Short:  "Be the sink of a benchmark",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveBench(cmd, readyFile, bench.NewSink(delay).Handler())
		},
	}
	readyFileFlag(cmd, &readyFile)
	cmd.Flags().DurationVar(&delay, "delay", 0, "how long each answer takes")
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
