package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/ops"
)

func newDeadCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("dead", "Read dead letters: messages that the pipeline gave up on",
		newDeadList(c), newDeadShow(c))
}

func newDeadList(c *clientConfig) *cobra.Command {
	var (
		stage, channel, destination, before string
		limit                               int
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, newest first", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			query := url.Values{}
			for name, value := range map[string]string{
				"stage": stage, "channel": channel, "destination": destination, "before": before, "limit": strconv.Itoa(limit),
			} {
				if value != "" {
					query.Set(name, value)
				}
			}
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: "/dead-letters?" + query.Encode()}, printDeadList)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&stage, "stage", "", "only of this `STAGE`: user (bots) or bot (deliveries)")
	f.StringVar(&channel, "channel", "", "only of this `CHANNEL`")
	f.StringVar(&destination, "destination", "", "only of this `ENDPOINT` or bot")
	f.StringVar(&before, "before", "", "`PLACE` that the list before ended at")
	f.IntVar(&limit, "limit", 50, "at most `NUMBER`")
	return cmd
}

func printDeadList(w io.Writer, page ops.DeadLetterPage) {
	fmt.Fprintln(w, "DIED\tSTAGE\tCHANNEL\tDESTINATION\tCONVERSATION\tATTEMPTS\tREASON\tMESSAGE")
	for _, d := range page.Items {
		row(w, when(d.DiedAt), d.Stage, d.ChannelID, d.Destination, d.ConversationID, d.AttemptCount, d.Reason, d.MessageID)
	}
	if page.Next != "" {
		fmt.Fprintf(w, "\nmore: --before %s\n", printable(page.Next))
	}
}

func newDeadShow(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use: "show MESSAGE", Short: "Show a message's dead letters with their whole history", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: "/dead-letters/" + url.PathEscape(args[0])}, func(w io.Writer, page ops.DeadLetterPage) {
				for i, d := range page.Items {
					if i > 0 {
						fmt.Fprintln(w)
					}
					printDead(w, d)
				}
			})
		}),
	}
}

func printDead(w io.Writer, d ops.DeadLetter) {
	field(w, "message", d.MessageID)
	field(w, "stage", d.Stage)
	field(w, "channel", d.ChannelID)
	field(w, "destination", d.Destination)
	field(w, "conversation", d.ConversationID)
	field(w, "counter", d.MessageCounter)
	field(w, "reason", d.Reason)
	field(w, "error", d.Error)
	if d.FirstFailureAt != nil {
		field(w, "first failure", when(*d.FirstFailureAt))
	}
	field(w, "died", when(d.DiedAt))
	field(w, "body", string(d.Message))
	field(w, "attempts", d.AttemptCount)
	printAttempts(w, d.Attempts, d.AttemptCount)
}

// printAttempts prints the latest of so many.
func printAttempts(w io.Writer, attempts []ops.Attempt, count int) {
	for i, a := range attempts {
		line := fmt.Sprintf("%s after %s", when(a.At), time.Duration(a.DurationMS)*time.Millisecond)
		if a.Status != 0 {
			line += fmt.Sprintf(", status %d", a.Status)
		}
		if a.Error != "" {
			line += ": " + a.Error
		}
		row(w, fmt.Sprintf("  %d", max(count-len(attempts), 0)+i+1), line)
		if a.Excerpt != "" {
			row(w, "    answer", a.Excerpt)
		}
	}
}
