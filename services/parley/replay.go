package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parleyhq/parley/pkg/replay"
	"github.com/parleyhq/parley/services/ops"
)

func newReplayCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("replay", "Send again what was delivered; follow and steer that, and what `parley dead replay` and `discard` have begun",
		newReplayDelivered(c),
		newReplayList(c),
		newReplayShow(c),
		newReplaySteer(c, "pause", "Stop a replay for now"),
		newReplaySteer(c, "resume", "Let a paused replay go on"),
		newReplaySteer(c, "cancel", "End a replay; what it has sent stays sent, and the rest dead"),
	)
}

func newReplayList(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List replays, the newest first", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: "/replays"}, func(w io.Writer, list ops.ReplayList) {
				fmt.Fprintln(w, "ID\tACTION\tSTATE\tDONE\tOF\tLEFT\tBEGAN\tBY")
				for _, j := range list.Items {
					row(w, j.ID, j.Action, j.State, j.Done, totalOf(j), j.Left, when(j.CreatedAt), j.By)
				}
			})
		}),
	}
}

func totalOf(j ops.ReplayJob) string {
	if !j.Counted {
		return "counting"
	}
	return fmt.Sprint(j.Total)
}

func replayPath(id string) string { return "/replays/" + url.PathEscape(id) }

func newReplayShow(c *clientConfig) *cobra.Command {
	wait := false
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a replay, and how far it has come", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			if wait {
				return c.awaitReplay(cmd, o, args[0])
			}
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: replayPath(args[0])}, printReplay)
		}),
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has ended; fails unless all was done")
	return cmd
}

func newReplaySteer(c *clientConfig, action, short string) *cobra.Command {
	return &cobra.Command{
		Use: action + " ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: replayPath(args[0]) + "/" + action}, printReplay)
		}),
	}
}

func printReplay(w io.Writer, j ops.ReplayJob) {
	field(w, "replay", j.ID)
	field(w, "action", j.Action)
	field(w, "state", j.State)
	field(w, "error", j.Error)
	field(w, "reason", j.Reason)
	row(w, "done", fmt.Sprintf("%d of %s", j.Done, totalOf(j)))
	field(w, "left", leftOf(j.Left))
	field(w, "gone", goneOf(j.Gone))
	if j.Rate > 0 {
		field(w, "rate", fmt.Sprintf("%d a second", j.Rate))
	}
	field(w, "by", j.By)
	field(w, "began", when(j.CreatedAt))
	if j.EndedAt != nil {
		field(w, "ended", when(*j.EndedAt))
	}
}

func leftOf(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d that can't be sent again: they stay where they are", n)
}

func goneOf(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d that were removed meanwhile", n)
}

// replayPoll is how often a replay that is waited for is looked at.
const replayPoll = 250 * time.Millisecond

// awaitReplay waits until a replay has ended, and prints it.
func (c *clientConfig) awaitReplay(cmd *cobra.Command, o *opsClient, id string) error {
	ctx := cmd.Context()
	tick := time.NewTicker(replayPoll)
	defer tick.Stop()
	for {
		var j ops.ReplayJob
		if _, err := o.do(ctx, opsCall{method: http.MethodGet, path: replayPath(id)}, &j); err != nil {
			return err
		}
		if j.State.Ended() {
			if err := show(c, cmd, j, printReplay); err != nil {
				return err
			}
			if j.State != replay.Done {
				return fmt.Errorf("the replay is %s", j.State)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// newDeadReplay and newDeadDiscard begin replays.
func newDeadReplay(c *clientConfig) *cobra.Command {
	return newDeadJob(c, replay.Replay, "Send dead letters again: those named, or all that match; as a job, see `parley replay`")
}

func newDeadDiscard(c *clientConfig) *cobra.Command {
	return newDeadJob(c, replay.Discard, "Remove dead letters for good: those named, or all that match; as a job, see `parley replay`")
}

func newReplayDelivered(c *clientConfig) *cobra.Command {
	in := ops.ReplayRequest{Action: replay.Replay, Delivered: new(ops.ReplayDelivered)}
	wait := false
	cmd := &cobra.Command{
		Use: "delivered --endpoint ENDPOINT --since TIME", Short: "Send again what an endpoint has confirmed, as for a customer who lost it", Args: cobra.NoArgs,
		Long: "Send again, out of the journal, what an endpoint has confirmed in a time. It is marked as a replay, keeps webhook-id\n" +
			"and messageCounter, and goes in order behind what waits. It is refused where the journal doesn't hold all of it.",
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			if err := pinTimes(&in.Delivered.Since, &in.Delivered.Until, time.Now()); err != nil {
				return err
			}
			return c.begin(cmd, o, in, wait)
		}),
	}
	f, d := cmd.Flags(), in.Delivered
	f.StringVar(&d.Endpoint, "endpoint", "", "what this `ENDPOINT` has confirmed")
	f.StringVar(&d.Channel, "channel", "", "only of this `CHANNEL`")
	f.StringVar(&d.Conversation, "conversation", "", "only of this `CONVERSATION` of the channel")
	f.StringVar(&d.Since, "since", "", "confirmed at this `TIME` or later: "+whenForms)
	f.StringVar(&d.Until, "until", "", "confirmed before this `TIME`, written alike; now if left out")
	f.BoolVar(&d.Partial, "partial", false, "send what the journal holds, where that is not all")
	bindReplay(f, &in, &wait)
	return cmd
}

// bindReplay adds the flags that all replays have.
func bindReplay(f *pflag.FlagSet, in *ops.ReplayRequest, wait *bool) {
	f.IntVar(&in.Rate, "rate", 0, "at most `NUMBER` messages a second; 0: as fast as it goes")
	f.StringVar(&in.Reason, "why", "", "`TEXT` that says why; needed to discard")
	f.BoolVar(&in.DryRun, "dry-run", false, "say how many are meant, and do nothing")
	f.BoolVar(wait, "wait", false, "wait until it has ended")
}

// begin asks for a job, or for what it would do.
func (c *clientConfig) begin(cmd *cobra.Command, o *opsClient, in ops.ReplayRequest, wait bool) error {
	ask := opsCall{method: http.MethodPost, path: "/replays", body: in}
	if in.DryRun {
		return call(c, cmd, o, ask, printPreview)
	}
	var j ops.ReplayJob
	if _, err := o.do(cmd.Context(), ask, &j); err != nil {
		return err
	}
	if wait {
		return c.awaitReplay(cmd, o, j.ID)
	}
	return show(c, cmd, j, printReplay)
}

func newDeadJob(c *clientConfig, action replay.Action, short string) *cobra.Command {
	in := ops.ReplayRequest{Action: action}
	wait := false
	cmd := &cobra.Command{
		Use: string(action) + " [MESSAGE ...]", Short: short, Args: cobra.MaximumNArgs(replay.MaxMessages),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			in.Messages = args
			if err := pinTimes(&in.Filter.Since, &in.Filter.Until, time.Now()); err != nil {
				return err
			}
			return c.begin(cmd, o, in, wait)
		}),
	}
	f := cmd.Flags()
	bindDeadFilter(cmd, &in.Filter)
	f.BoolVar(&in.All, "all", false, "all dead letters, where there is no other filter")
	bindReplay(f, &in, &wait)
	return cmd
}

func printPreview(w io.Writer, p ops.ReplayPreview) {
	fmt.Fprintf(w, "%d messages\n", p.Total)
	if p.Left > 0 {
		fmt.Fprintf(w, "%d of them can't be sent again: they can't be decoded, or the journal doesn't hold them\n", p.Left)
	}
	if p.Refused != "" {
		fmt.Fprintf(w, "it would fail: %s\n", printable(p.Refused))
	}
	if len(p.Sample) > 0 {
		fmt.Fprintf(w, "the first %d:\n", len(p.Sample))
		printDeadList(w, ops.DeadLetterPage{Items: p.Sample}, nil)
	}
}
