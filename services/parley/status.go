package main

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/topology"
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
	fmt.Fprintln(w, "STAGE\tPARTITION\tWAITING\tIN FLIGHT\tFULL\tOLDEST\tOWNER")
	for _, stage := range s.Stages {
		for _, p := range stage.Partitions {
			row(w, stage.Stage, p.Partition, p.Messages, p.InFlight, full(p.Bytes, p.MaxBytes), age(p.Oldest, now), ownerOf(s.Owners, stage.Stage, p))
		}
		parked := fmt.Sprintf("%d in %d lanes", stage.Parked.Messages, stage.Parked.Lanes)
		if stage.Parked.Approximate {
			parked = "about " + parked
		}
		if stage.Parked.Held > 0 {
			parked += fmt.Sprintf(", %d held", stage.Parked.Held)
		}
		row(w, stage.Stage, "parked", parked, "", full(stage.Parked.Bytes, stage.Parked.MaxBytes), age(stage.Parked.Oldest, now), "")
	}
	fmt.Fprintln(w)
	for _, o := range s.Owners {
		printWorkers(w, o, now)
	}
	for _, r := range s.Waiting {
		printWaiting(w, r, now)
	}
	for _, c := range s.Circuits {
		row(w, "circuit", fmt.Sprintf("%s of stage %s: %s", c.Destination, c.Stage, circuitText(c, now)))
	}
	row(w, "dead letters", fmt.Sprintf("%d (%s full)", s.Dead.Messages, full(s.Dead.Bytes, s.Dead.MaxBytes)))
	row(w, "configuration", fmt.Sprintf("revision %d: %d channels (%d paused), %d endpoints (%d disabled, %d paused), %d bots (%d paused), %d tokens",
		s.Config.Revision, s.Config.Channels, s.Config.PausedChannels, s.Config.Endpoints, s.Config.DisabledEndpoints, s.Config.PausedEndpoints,
		s.Config.Bots, s.Config.PausedBots, s.Config.Tokens))
	for _, h := range s.Health {
		state := "ok"
		if !h.OK {
			state = "failing: " + h.Error
		}
		row(w, h.Name, state)
	}
}

// ownerOf names the worker that holds a partition; in brackets while it has no
// consumer there, as during a hand-over. A sole owner needs none.
func ownerOf(all []*partition.Owners, stage chat.Stage, p topology.PartitionStatus) string {
	for _, o := range all {
		if o.Stage != stage || p.Partition >= len(o.Partitions) {
			continue
		}
		owner := o.Partitions[p.Partition]
		switch {
		case owner.Instance == "":
			return "none"
		case !p.Consumed && !owner.Sole:
			return "(" + owner.Instance + ")"
		case owner.Vanished > 0:
			return fmt.Sprintf("%s, %d vanished before it", owner.Instance, owner.Vanished)
		}
		return owner.Instance
	}
	return ""
}

// printWorkers prints who shares a stage; nothing where one process owns all.
func printWorkers(w io.Writer, o *partition.Owners, now time.Time) {
	for _, m := range o.Members {
		state := fmt.Sprintf("%d partitions, for %s, renewed %s ago", len(m.Partitions), age(&m.Since, now), age(&m.RenewedAt, now))
		if m.Leaving {
			state += ", leaving"
		}
		row(w, string(o.Stage)+" worker", m.Instance+": "+state)
	}
}

// shownWaiting is how many groups of a stage are printed.
const shownWaiting = 20

// printWaiting prints who has waited longest at a stage, and how many more wait.
func printWaiting(w io.Writer, r *lane.Report, now time.Time) {
	whose := map[chat.Stage]string{chat.StageUser: "channel", chat.StageBot: "endpoint"}[r.Stage]
	more := 0
	for i, g := range r.Groups {
		if i >= shownWaiting || g.Group == "_rest" {
			more += g.Lanes
			continue
		}
		since := "for a time that is not known yet"
		if g.Oldest != nil {
			since = "for " + age(g.Oldest, now)
		}
		text := fmt.Sprintf("%s: %s, %d conversations", g.Group, since, g.Lanes)
		if g.Cap > 0 {
			text += fmt.Sprintf(", at most %d at once", g.Cap)
		}
		row(w, whose+" waiting", text)
	}
	if more > 0 {
		row(w, whose+" waiting", fmt.Sprintf("all others: %d conversations", more))
	}
	if r.Answered < r.Workers {
		row(w, whose+" waiting", fmt.Sprintf("only %d of %d workers answered", r.Answered, r.Workers))
	}
}

// circuitText says how a destination does.
func circuitText(c ops.Circuit, now time.Time) string {
	text := c.State
	if c.Since != nil {
		text += " for " + age(c.Since, now)
	}
	if c.FailingSince != nil {
		text += fmt.Sprintf(", %d failures in a row since %s", c.Failures, when(*c.FailingSince))
	}
	if c.NextProbe != nil && c.NextProbe.After(now) {
		text += ", next try in " + c.NextProbe.Sub(now).Round(time.Second).String()
	}
	if c.Warned != nil {
		text += ", will be disabled: told " + age(c.Warned, now) + " ago"
	}
	return text
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
