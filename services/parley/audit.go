package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/ops"
)

func newAuditCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("audit", "See who changed what, and when", newAuditList(c))
}

func newAuditList(c *clientConfig) *cobra.Command {
	var (
		kind, object, by, since, until, before string
		limit                                  int
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List what operators did, newest first", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			query := url.Values{}
			for name, value := range map[string]string{"kind": kind, "object": object, "by": by, "before": before} {
				if value != "" {
					query.Set(name, value)
				}
			}
			if err := setTimes(query, since, until, time.Now()); err != nil {
				return err
			}
			page, err := readAudit(cmd.Context(), o, query, limit)
			if err != nil {
				return err
			}
			return show(c, cmd, page, printAudit)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&kind, "kind", "", "only of this `KIND` of object: channel, endpoint, bot, token, lane, dead-letter, replay, conversation or configuration")
	f.StringVar(&object, "object", "", "only of the object with this `ID`")
	f.StringVar(&by, "by", "", "only by this `TOKEN`, by name or id")
	f.StringVar(&since, "since", "", "only at or after this `TIME`: "+whenForms)
	f.StringVar(&until, "until", "", "only before this `TIME`, written alike")
	f.StringVar(&before, "before", "", "`PLACE` that the list before ended at")
	f.IntVar(&limit, "limit", 50, "at most `NUMBER`, up to 500")
	return cmd
}

// readAudit reads parts until it has as many entries as asked for, or all: what
// one call looks at is bounded.
func readAudit(ctx context.Context, o *opsClient, query url.Values, limit int) (all ops.AuditPage, err error) {
	all.Items = []ops.AuditEntry{}
	for {
		query.Set("limit", strconv.Itoa(limit-len(all.Items)))
		var page ops.AuditPage
		if _, err := o.do(ctx, opsCall{method: http.MethodGet, path: "/audit?" + query.Encode()}, &page); err != nil {
			return all, err
		}
		all.Items = append(all.Items, page.Items...)
		all.Undecodable += page.Undecodable
		if all.Next = page.Next; all.Next == "" || len(all.Items) >= limit {
			return all, nil
		}
		query.Set("before", page.Next)
	}
}

// maxAuditDetail bounds a cell, in characters; --json has all of it.
const maxAuditDetail = 80

func printAudit(w io.Writer, page ops.AuditPage) {
	fmt.Fprintln(w, "TIME\tWHO\tACTION\tOBJECT\tSTATUS\tDETAIL")
	for _, e := range page.Items {
		detail := string(e.Detail)
		if e.Query != "" {
			detail = "?" + e.Query + " " + detail
		}
		if r := []rune(detail); len(r) > maxAuditDetail {
			detail = string(r[:maxAuditDetail-1]) + "…"
		}
		row(w, when(e.At), e.By, e.Action, e.Object, auditStatus(e.Status), detail)
	}
	if page.Undecodable > 0 {
		fmt.Fprintf(w, "\n%d entries can't be read, and are left out\n", page.Undecodable)
	}
	if page.Next != "" {
		fmt.Fprintf(w, "\nmore: --before %s\n", printable(page.Next))
	}
}

// auditStatus says where it is not known whether all was done.
func auditStatus(status int) string {
	if status >= http.StatusInternalServerError {
		return fmt.Sprintf("%d, may be done", status)
	}
	return strconv.Itoa(status)
}
