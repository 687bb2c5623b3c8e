package main

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/ops"
)

func newStatusCommand(c *clientConfig) *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show what waits, for how long, and what is not well", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: "/status"}, func(w io.Writer, s ops.Status) {
				printStatus(w, s, time.Now())
			})
		}),
	}
	c.bind(cmd)
	return cmd
}

func printStatus(w io.Writer, s ops.Status, now time.Time) {
	fmt.Fprintln(w, "STAGE\tPARTITION\tWAITING\tIN FLIGHT\tFULL\tOLDEST\tOWNED")
	for _, stage := range s.Stages {
		for _, p := range stage.Partitions {
			owned := "yes"
			if !p.Consumed {
				owned = "no"
			}
			row(w, stage.Stage, p.Partition, p.Messages, p.InFlight, full(p.Bytes, p.MaxBytes), age(p.Oldest, now), owned)
		}
		parked := fmt.Sprintf("%d in %d lanes", stage.Parked.Messages, stage.Parked.Lanes)
		if stage.Parked.Approximate {
			parked = "about " + parked
		}
		row(w, stage.Stage, "parked", parked, "", full(stage.Parked.Bytes, stage.Parked.MaxBytes), age(stage.Parked.Oldest, now), "")
	}
	fmt.Fprintln(w)
	row(w, "dead letters", fmt.Sprintf("%d (%s full)", s.Dead.Messages, full(s.Dead.Bytes, s.Dead.MaxBytes)))
	row(w, "configuration", fmt.Sprintf("revision %d: %d channels, %d endpoints (%d disabled), %d bots, %d tokens",
		s.Config.Revision, s.Config.Channels, s.Config.Endpoints, s.Config.DisabledEndpoints, s.Config.Bots, s.Config.Tokens))
	for _, h := range s.Health {
		state := "ok"
		if !h.OK {
			state = "failing: " + h.Error
		}
		row(w, h.Name, state)
	}
}

func full(used uint64, limit int64) string {
	if limit <= 0 {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100*float64(used)/float64(limit))
}

// age is how long ago the oldest message was accepted.
func age(at *time.Time, now time.Time) string {
	if at == nil {
		return ""
	}
	return max(now.Sub(*at), 0).Round(time.Second).String()
}
