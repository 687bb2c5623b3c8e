package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/parley/bench"
)

func newBenchBacklogCommand() *cobra.Command {
	var o bench.BacklogOptions
	var b benchFlags
	cmd := &cobra.Command{
		Use:   "backlog",
		Short: "Measure what messages cost that wait",
		Long: "Measure what messages cost that wait: fill a paused serve with each --backlog in batches, start it again\n" +
			"with workers, and measure the first deliveries of its drain. With --sessions so many conversations have had\n" +
			"a turn before, so that their sessions are kept too.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, &o.Setup, func(ctx context.Context, progress io.Writer) (benchReport, error) {
				return bench.RunBacklog(ctx, o, progress)
			})
		},
	}
	f := cmd.Flags()
	f.IntSliceVar(&o.Backlogs, "backlog", []int{10_000, 1_000_000}, "messages that wait, one after another")
	f.IntVar(&o.Conversations, "conversations", 10_000, "conversations that they are of")
	f.IntVar(&o.Sessions, "sessions", 0, "sessions to make first")
	f.IntVar(&o.Measured, "measured", 10_000, "deliveries of each drain that are measured; 0: all")
	f.IntVar(&o.Rounds, "rounds", 3, "rounds of each backlog")
	b.addTo(cmd, &o.Setup)
	return cmd
}

func newBenchParkedCommand() *cobra.Command {
	var o bench.ParkedOptions
	var b benchFlags
	cmd := &cobra.Command{
		Use:   "parked",
		Short: "Measure the drain of parked messages beside the hot path",
		Long: "Measure the drain of parked messages beside the hot path: measure deliveries under a closed loop, disable\n" +
			"the endpoint, send messages until all are parked, enable it, and measure how they are delivered.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, &o.Setup, func(ctx context.Context, progress io.Writer) (benchReport, error) {
				return bench.RunParked(ctx, o, progress)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Messages, "messages", 1_000_000, "messages that are parked")
	f.IntVar(&o.Lanes, "lanes", 100_000, "conversations that they are of")
	f.IntVar(&o.Connections, "connections", 64, "requests under way at once on the hot path, and its conversations")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "how long the hot path's round sends")
	b.addTo(cmd, &o.Setup)
	return cmd
}

func newBenchBulkheadCommand() *cobra.Command {
	var o bench.BulkheadOptions
	var b benchFlags
	cmd := &cobra.Command{
		Use:   "bulkhead",
		Short: "Measure what an endpoint that hangs costs the others",
		Long: "Measure what an endpoint that hangs costs the others: two channels of a serve get the same open loop, and the\n" +
			"arrivals of the first are measured. Rounds in which both endpoints are well alternate with rounds in which the\n" +
			"second one's hangs on every request, each on new data.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, &o.Setup, func(ctx context.Context, progress io.Writer) (benchReport, error) {
				return bench.RunBulkhead(ctx, o, progress)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Rate, "rate", 200, "messages a second of each channel")
	f.IntVar(&o.Connections, "connections", 64, "requests under way at once, of each channel")
	f.IntVar(&o.Conversations, "conversations", 1000, "conversations of each channel")
	f.DurationVar(&o.Duration, "duration", 30*time.Second, "how long a round sends")
	f.DurationVar(&o.Hang, "hang", 15*time.Second, "how long the endpoint keeps a request")
	f.IntVar(&o.Rounds, "rounds", 3, "rounds of each kind")
	b.addTo(cmd, &o.Setup)
	return cmd
}

func newBenchIdleCommand() *cobra.Command {
	var o bench.IdleOptions
	var b benchFlags
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "Measure a serve's start, and what it takes with nothing to do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, &o.Setup, func(ctx context.Context, progress io.Writer) (benchReport, error) {
				return bench.RunIdle(ctx, o, progress)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Starts, "starts", 5, "starts on new data")
	f.DurationVar(&o.Settle, "settle", 3*time.Second, "how long it is left alone before")
	f.DurationVar(&o.For, "length", 20*time.Second, "how long its CPU is measured")
	b.addTo(cmd, &o.Setup)
	return cmd
}
