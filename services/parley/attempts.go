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

// maxPages is how many parts of a list are asked for at most to fill one: a part
// may be empty, and the journal have more all the same.
const maxPages = 50

func newAttemptsCommand(c *clientConfig) *cobra.Command {
	filter := map[string]*string{}
	var (
		since, until string
		status       int
		limit        int
	)
	cmd := &cobra.Command{
		Use: "attempts", Short: "List attempts at endpoints, newest first", Args: cobra.NoArgs,
		Example: "  parley attempts --endpoint crm --since 2h\n" +
			"  parley attempts --endpoint crm --status 503 --since 2026-11-25T14:00:00Z --until 2026-11-25T15:00:00Z\n" +
			"  parley attempts --channel shop --conversation anna",
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			query := url.Values{}
			for name, value := range filter {
				if *value != "" {
					query.Set(name, *value)
				}
			}
			if status != 0 {
				query.Set("status", strconv.Itoa(status))
			}
			if err := setTimes(query, since, until, time.Now()); err != nil {
				return err
			}
			page, err := listAttempts(cmd, o, query, limit)
			if err != nil {
				return err
			}
			return show(c, cmd, page, printAttemptsList)
		}),
	}
	f := cmd.Flags()
	for _, flag := range []struct{ name, usage string }{
		{"endpoint", "only at this `ENDPOINT`"},
		{"channel", "only of this `CHANNEL`"},
		{"conversation", "only of this `CONVERSATION`, with its --channel"},
		{"message", "only of this bot `MESSAGE`"},
		{"outcome", "only of this `OUTCOME`: delivered, retry, dead, expired, filtered or unrouted"},
		{"before", "`PLACE` that the list before ended at"},
	} {
		filter[flag.name] = f.String(flag.name, "", flag.usage)
	}
	f.IntVar(&status, "status", 0, "only those answered with this HTTP `STATUS`")
	f.StringVar(&since, "since", "", "only since this `TIME`: "+whenForms)
	f.StringVar(&until, "until", "", "only before this `TIME`, written alike")
	f.IntVar(&limit, "limit", 50, "at most `NUMBER`")
	c.bind(cmd)
	return cmd
}

// listAttempts asks until there are as many as wanted.
func listAttempts(cmd *cobra.Command, o *opsClient, query url.Values, limit int) (all ops.DeliveryPage, err error) {
	all.Items = []ops.Delivery{}
	for range maxPages {
		query.Set("limit", strconv.Itoa(limit-len(all.Items)))
		var page ops.DeliveryPage
		if _, err := o.do(cmd.Context(), opsCall{method: http.MethodGet, path: "/attempts?" + query.Encode()}, &page); err != nil {
			return all, err
		}
		all.Items, all.Next, all.Unreadable = append(all.Items, page.Items...), page.Next, all.Unreadable+page.Unreadable
		if page.LookedBackTo != nil {
			all.LookedBackTo = page.LookedBackTo
		}
		if page.Next == "" || len(all.Items) >= limit {
			break
		}
		query.Set("before", page.Next)
	}
	return all, nil
}

func printAttemptsList(w io.Writer, page ops.DeliveryPage) {
	fmt.Fprintln(w, "AT\tENDPOINT\tCONVERSATION\tCOUNTER\tATTEMPT\tSTATUS\tTOOK\tOUTCOME\tERROR\tMESSAGE")
	for _, d := range page.Items {
		var status, took, failure any = "", "", d.Reason
		at := d.At
		if a := d.Attempt; a != nil {
			at, took = a.At, millis(a.DurationMS)
			if a.Status != 0 {
				status = a.Status
			}
			if a.Error != "" {
				failure = a.Error
			}
		}
		row(w, when(at), d.EndpointID, d.ConversationID, d.MessageCounter, d.Number, status, took, d.Outcome, failure, d.MessageID)
	}
	if page.Unreadable > 0 {
		fmt.Fprintf(w, "\n%d entries can't be read\n", page.Unreadable)
	}
	if page.Next != "" {
		fmt.Fprintf(w, "\nmore: --before %s", printable(page.Next))
		if page.LookedBackTo != nil {
			fmt.Fprintf(w, " (this looks back to %s)", when(*page.LookedBackTo))
		}
		fmt.Fprintln(w)
	}
}

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
