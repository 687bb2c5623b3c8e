package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/ops"
)

func newLaneCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("lane", "Look at what waits, and why; push it on, or give it up",
		newLaneList(c),
		newLaneShow(c),
		newLaneAction(c, "retry-now", "Try the first message now, whatever its schedule says"),
		newLaneAction(c, "skip", "Make a dead letter of the first message, and go on behind it"),
		newLaneAction(c, "discard", "Make dead letters of all that waits"),
	)
}

func newLaneList(c *clientConfig) *cobra.Command {
	var (
		stage, endpoint, channel, after string
		held                            bool
		limit                           int
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List parked lanes: a conversation's messages that wait for a bot or an endpoint", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			query := url.Values{}
			for name, value := range map[string]string{
				"stage": stage, "endpoint": endpoint, "channel": channel, "after": after, "limit": strconv.Itoa(limit),
			} {
				if value != "" {
					query.Set(name, value)
				}
			}
			if held {
				query.Set("held", "true")
			}
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: "/lanes?" + query.Encode()}, func(w io.Writer, page ops.LanePage) {
				printLanes(w, page, time.Now())
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&stage, "stage", "", "only of this `STAGE`: user (bots) or bot (deliveries)")
	f.StringVar(&endpoint, "endpoint", "", "only what waits for this `ENDPOINT`")
	f.StringVar(&channel, "channel", "", "only what waits for the bot of this `CHANNEL`")
	f.BoolVar(&held, "held", false, "only those that wait for an operator")
	f.StringVar(&after, "after", "", "`LANE` that the list before ended at")
	f.IntVar(&limit, "limit", 50, "at most `NUMBER`")
	return cmd
}

func printLanes(w io.Writer, page ops.LanePage, now time.Time) {
	fmt.Fprintln(w, "LANE\tDESTINATION\tCONVERSATION\tMESSAGES\tOLDEST\tATTEMPTS\tSTATE\tLAST ERROR")
	for _, l := range page.Items {
		row(w, l.ID, l.Destination, l.ConversationID, l.Messages, age(l.OldestAt, now), l.AttemptCount, laneState(l, now), l.LastError)
	}
	if page.Next != "" {
		fmt.Fprintf(w, "\nmore: --after %s\n", printable(page.Next))
	}
}

// laneState says what a lane waits for.
func laneState(l ops.Lane, now time.Time) string {
	state := "waits its turn"
	switch {
	case l.Closed != "":
		state = "closed: " + l.Closed
	case l.Held:
		state = "held"
	case l.DueAt != nil && l.DueAt.After(now):
		state = "due in " + l.DueAt.Sub(now).Round(time.Second).String()
	}
	if l.Asked != nil {
		state += fmt.Sprintf(", %s asked by %s", l.Asked.Action, l.Asked.By)
	}
	return state
}

func newLaneShow(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use: "show LANE", Short: "Show a lane, with the attempts of its first message", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: "/lanes/" + url.PathEscape(args[0])}, func(w io.Writer, l ops.Lane) {
				printLane(w, l, time.Now())
			})
		}),
	}
}

func printLane(w io.Writer, l ops.Lane, now time.Time) {
	field(w, "lane", l.ID)
	field(w, "stage", l.Stage)
	field(w, "channel", l.ChannelID)
	field(w, "destination", l.Destination)
	field(w, "conversation", l.ConversationID)
	field(w, "state", laneState(l, now))
	field(w, "messages", l.Messages)
	field(w, "first message", l.MessageID)
	if l.OldestAt != nil {
		field(w, "accepted", when(*l.OldestAt))
	}
	if l.DueAt != nil {
		field(w, "due", when(*l.DueAt))
	}
	field(w, "attempts", l.AttemptCount)
	printAttempts(w, l.Attempts, l.AttemptCount)
}

// newLaneAction makes the command that asks something of a lane, or of each of
// an endpoint.
func newLaneAction(c *clientConfig, action, short string) *cobra.Command {
	var (
		endpoint string
		held     bool
	)
	cmd := &cobra.Command{
		Use: action + " LANE | --endpoint ENDPOINT", Short: short, Args: cobra.MaximumNArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			path := ""
			switch {
			case len(args) == 1 && endpoint == "" && !held:
				path = "/lanes/" + url.PathEscape(args[0]) + "/" + action
			case len(args) == 0 && endpoint != "":
				path = endpointPath(endpoint) + "/lanes/" + action + "?held=" + strconv.FormatBool(held)
			default:
				return errors.New("name a lane, or all of an endpoint with --endpoint (and of those the held ones with --held)")
			}
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: path}, printCommanded)
		}),
	}
	cmd.Flags().StringVar(&endpoint, "endpoint", "", "each lane that waits for this `ENDPOINT`")
	cmd.Flags().BoolVar(&held, "held", false, "of these only those that wait for an operator")
	return cmd
}

func printCommanded(w io.Writer, done ops.LaneCommanded) {
	fmt.Fprintf(w, "%s: done by %d of %d lanes\n", done.Action, done.Done, done.Lanes)
	if done.Queued > 0 {
		fmt.Fprintf(w, "queued for %d: their owner does it as soon as it can\n", done.Queued)
	}
	if done.Busy > 0 {
		fmt.Fprintf(w, "not asked of %d: they have not done yet what was asked before\n", done.Busy)
	}
}
