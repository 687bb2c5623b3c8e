package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/services/ops"
)

func newConversationCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("conversation", "Read a conversation as the journal has it; erase it", newConversationShow(c), newConversationErase(c))
}

func newConversationShow(c *clientConfig) *cobra.Command {
	var (
		since, until, before string
		limit                int
	)
	cmd := &cobra.Command{
		Use: "show CHANNEL CONVERSATION", Short: "Show a conversation's transcript: its latest turns, oldest first", Args: cobra.ExactArgs(2),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			query := url.Values{"channel": {args[0]}, "conversation": {args[1]}, "limit": {strconv.Itoa(limit)}}
			if before != "" {
				query.Set("before", before)
			}
			if err := setTimes(query, since, until, time.Now()); err != nil {
				return err
			}
			var t ops.Transcript
			if _, err := o.do(cmd.Context(), opsCall{method: http.MethodGet, path: "/conversations?" + query.Encode()}, &t); err != nil {
				return err
			}
			if c.JSON {
				return show(c, cmd, t, nil)
			}
			return printConversation(newTranscript(cmd.OutOrStdout()), t)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "only since this `TIME`: "+whenForms)
	f.StringVar(&until, "until", "", "only before this `TIME`, written alike")
	f.StringVar(&before, "before", "", "`PLACE` that the part behind began at")
	f.IntVar(&limit, "limit", 50, "at most `NUMBER` turns")
	return cmd
}

func printConversation(out *transcript, t ops.Transcript) error {
	if t.Next != "" {
		if err := out.Note("before: --before " + t.Next); err != nil {
			return err
		}
	}
	for i := range t.Items {
		if err := printSaid(out, &t.Items[i]); err != nil {
			return err
		}
	}
	if len(t.Items) == 0 {
		if err := out.Note("nothing is recorded of this conversation"); err != nil {
			return err
		}
	}
	for _, note := range t.Notes {
		if err := out.Note(note); err != nil {
			return err
		}
	}
	return nil
}

func printSaid(out *transcript, i *ops.TranscriptItem) error {
	remarks := []string{when(i.At)}
	if i.Side == "user" {
		if i.Outcome != chat.OutcomeProcessed {
			remarks = append(remarks, string(i.Outcome))
		}
		if i.Error != "" {
			remarks = append(remarks, "the bot failed: "+i.Error)
		}
		if err := out.User(inputText(i.Message)); err != nil {
			return err
		}
		return out.Remark(strings.Join(remarks, ", "))
	}
	for _, d := range i.Deliveries {
		remarks = append(remarks, deliveredText(d))
	}
	shown := &delivery{Counter: i.MessageCounter, Event: i.Event, Data: string(i.Message)}
	if i.Side == "bot" {
		switch {
		case len(i.Message) == 0:
			shown.Message.Text = "(not recorded)"
		case json.Unmarshal(i.Message, &shown.Message) != nil:
			shown.Message.Text = string(i.Message)
		}
	}
	return out.Said(shown, strings.Join(remarks, ", "))
}

// deliveredText says how far a message has come at an endpoint.
func deliveredText(d ops.TranscriptDelivery) string {
	text := string(d.Outcome)
	if d.Outcome == chat.OutcomeRetry {
		text = "not delivered yet"
	}
	if d.EndpointID != "" {
		text = d.EndpointID + " " + text
	}
	if d.Attempts > 1 || d.Outcome == chat.OutcomeRetry {
		text += " after " + countOf(d.Attempts, "attempt")
	}
	if d.Status != 0 {
		text += fmt.Sprintf(" (%d)", d.Status)
	}
	return text
}

// countOf is a number of things.
func countOf(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
