package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/ops"
)

func newDeadCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("dead", "Read dead letters, messages that the pipeline gave up on; send them again, or remove them",
		newDeadList(c), newDeadCount(c), newDeadShow(c), newDeadReplay(c), newDeadDiscard(c))
}

// bindDeadFilter adds the flags that choose dead letters to a command.
func bindDeadFilter(cmd *cobra.Command, filter *ops.DeadLetterFilter) {
	f := cmd.Flags()
	f.StringVar((*string)(&filter.Stage), "stage", "", "only of this `STAGE`: user (bots) or bot (deliveries)")
	f.StringVar(&filter.Channel, "channel", "", "only of this `CHANNEL`")
	f.StringVar(&filter.Endpoint, "endpoint", "", "only of this `ENDPOINT`")
	f.StringVar(&filter.Bot, "bot", "", "only of this `BOT`")
	f.StringVar(&filter.Destination, "destination", "", "only of this `ENDPOINT` or bot")
	f.StringVar(&filter.Conversation, "conversation", "", "only of this `CONVERSATION` of the channel")
	f.StringVar(&filter.Reason, "reason", "", "only for this `REASON`, such as exhausted or poison")
	f.IntVar(&filter.Status, "status", 0, "only with this HTTP `STATUS` at the last attempt")
	f.StringVar(&filter.Since, "since", "", "only stored at this `TIME` or later: "+whenForms)
	f.StringVar(&filter.Until, "until", "", "only stored before this `TIME`, written alike")
}

func deadQuery(f *ops.DeadLetterFilter) url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"stage": string(f.Stage), "channel": f.Channel, "endpoint": f.Endpoint, "bot": f.Bot, "destination": f.Destination,
		"conversation": f.Conversation, "reason": f.Reason, "since": f.Since, "until": f.Until,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.Status != 0 {
		query.Set("status", strconv.Itoa(f.Status))
	}
	return query
}

func newDeadList(c *clientConfig) *cobra.Command {
	var (
		filter ops.DeadLetterFilter
		before string
		limit  int
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, newest first", Args: cobra.NoArgs,
		Long: "List dead letters, newest first. Reason and status stand in the letters alone: with them the list\n" +
			"goes on, about 20,000 letters at a time, until it has as many as the limit says or is at its end.",
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			if limit < 1 {
				return fmt.Errorf("--limit is %d: set it to 1 or more", limit)
			}
			// A duration back is one moment for all parts of the list and its count.
			if err := pinTimes(&filter.Since, &filter.Until, time.Now()); err != nil {
				return err
			}
			page, err := listDead(cmd.Context(), o, deadQuery(&filter), before, limit)
			if err != nil {
				return err
			}
			var total *uint64
			if filter.Reason == "" && filter.Status == 0 && !c.JSON {
				var n ops.DeadLetterCount
				if _, err := o.do(cmd.Context(), deadCount(&filter), &n); err != nil {
					return err
				}
				total = &n.Count
			}
			return show(c, cmd, page, func(w io.Writer, page ops.DeadLetterPage) { printDeadList(w, page, total) })
		}),
	}
	bindDeadFilter(cmd, &filter)
	f := cmd.Flags()
	f.StringVar(&before, "before", "", "`PLACE` that the list before ended at")
	f.IntVar(&limit, "limit", 50, "at most `NUMBER`")
	return cmd
}

// maxDeadPage is the most that the API lists in one answer.
const maxDeadPage = 500

// listDead asks for one part after another until there is enough: a part may be
// short, or empty, and not the last.
func listDead(ctx context.Context, o *opsClient, query url.Values, before string, limit int) (ops.DeadLetterPage, error) {
	all := ops.DeadLetterPage{Items: []ops.DeadLetter{}, Next: before}
	for {
		if all.Next != "" {
			query.Set("before", all.Next)
		}
		query.Set("limit", strconv.Itoa(min(limit-len(all.Items), maxDeadPage)))
		var page ops.DeadLetterPage
		if _, err := o.do(ctx, opsCall{method: http.MethodGet, path: "/dead-letters?" + query.Encode()}, &page); err != nil {
			return all, err
		}
		all.Items = append(all.Items, page.Items...)
		all.Undecodable += page.Undecodable
		all.Next = page.Next
		if all.Next == "" || len(all.Items) >= limit {
			return all, nil
		}
	}
}

func printDeadList(w io.Writer, page ops.DeadLetterPage, total *uint64) {
	fmt.Fprintln(w, "DIED\tSTAGE\tCHANNEL\tDESTINATION\tCONVERSATION\tATTEMPTS\tREASON\tMESSAGE")
	for _, d := range page.Items {
		row(w, when(d.DiedAt), d.Stage, d.ChannelID, d.Destination, d.ConversationID, d.AttemptCount, d.Reason, d.MessageID)
	}
	if total != nil {
		fmt.Fprintf(w, "\n%d in all\n", *total)
	}
	if page.Undecodable > 0 {
		fmt.Fprintf(w, "\n%d that can't be read are left out\n", page.Undecodable)
	}
	if page.Next != "" {
		fmt.Fprintf(w, "\nmore: --before %s\n", printable(page.Next))
	}
}

func newDeadCount(c *clientConfig) *cobra.Command {
	var filter ops.DeadLetterFilter
	cmd := &cobra.Command{
		Use: "count", Short: "Count dead letters", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			if err := pinTimes(&filter.Since, &filter.Until, time.Now()); err != nil {
				return err
			}
			o.http.Timeout = countTimeout
			return call(c, cmd, o, deadCount(&filter), func(w io.Writer, n ops.DeadLetterCount) { fmt.Fprintln(w, n.Count) })
		}),
	}
	bindDeadFilter(cmd, &filter)
	return cmd
}

// countTimeout is longer than the API takes for a count at most.
const countTimeout = 6 * time.Minute

func deadCount(f *ops.DeadLetterFilter) opsCall {
	return opsCall{method: http.MethodGet, path: "/dead-letters/count?" + deadQuery(f).Encode()}
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
	field(w, "stored", when(d.StoredAt))
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		field(w, "header "+name, d.Headers[name])
	}
	field(w, "body", string(d.Message))
	field(w, "body as base64", base64.StdEncoding.EncodeToString(d.Data))
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
