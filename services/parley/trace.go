package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/services/ops"
)

func newTraceCommand(c *clientConfig) *cobra.Command {
	cmd := &cobra.Command{
		Use: "trace MESSAGE", Short: "Show a message's whole way, also while it is under way", Args: cobra.ExactArgs(1),
		Long: "Show a message's whole way in one timeline: accepted, waited, the bot, each bot message, each attempt at each\n" +
			"endpoint, what became of it, and what waits. MESSAGE is a user message's id (as its 202 says) or a bot message's\n" +
			"(as webhook-id says).",
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: "/messages/" + url.PathEscape(args[0]) + "/trace"}, func(w io.Writer, t ops.Trace) {
				printTrace(w, t, time.Now())
			})
		}),
	}
	c.bind(cmd)
	return cmd
}

func printTrace(w io.Writer, t ops.Trace, now time.Time) {
	field(w, "message", t.MessageID)
	field(w, "answers", t.InputID)
	field(w, "channel", t.ChannelID)
	field(w, "conversation", t.ConversationID)
	fmt.Fprintln(w)
	names := namesIn(t)
	for _, e := range t.Events {
		row(w, e.At.Local().Format("2006-01-02 15:04:05.000"), elapsed(e.At.Sub(t.Events[0].At)), what(e), happening(e, names))
	}
	for _, waiting := range t.Waiting {
		row(w, "now", "", "waits", waitingLine(waiting, names, now))
	}
	if len(t.Waiting) == 0 && len(t.Outcomes) > 0 {
		row(w, "now", "", "ended", endLine(t.Outcomes))
	}
	for _, note := range t.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", printable(note))
	}
}

// namesIn gives the messages of a trace short names.
func namesIn(t ops.Trace) map[string]string {
	names := map[string]string{}
	for _, e := range t.Events {
		switch {
		case e.MessageCounter != 0:
			names[e.MessageID] = fmt.Sprintf("#%d", e.MessageCounter)
		case e.Event != "":
			names[e.MessageID] = e.Event
		}
	}
	return names
}

func nameOf(id string, names map[string]string) string {
	if name, ok := names[id]; ok {
		return name
	}
	return id
}

// elapsed is a time since the first event, as exact as makes sense.
func elapsed(d time.Duration) string {
	if d >= time.Minute {
		return "+" + d.Round(time.Second).String()
	}
	return "+" + d.Round(time.Millisecond).String()
}

func what(e ops.TraceEvent) string {
	if e.What == ops.HappenedAttempt {
		return fmt.Sprintf("attempt %d", e.Number)
	}
	return strings.ReplaceAll(string(e.What), "_", " ")
}

// happening says an event in a line.
func happening(e ops.TraceEvent, names map[string]string) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch e.What {
	case ops.HappenedAccepted:
		return inputText(e.Message)
	case ops.HappenedMessage:
		return nameOf(e.MessageID, names) + " " + messageText(e.Message)
	case ops.HappenedBot:
		add("%s", e.Destination)
	default:
		add("%s at %s", nameOf(e.MessageID, names), orDash(e.Destination))
	}
	if e.WaitedMS != nil {
		add("waited %s", millis(*e.WaitedMS))
	}
	if e.DurationMS != nil {
		add("took %s", millis(*e.DurationMS))
	}
	if e.Status != 0 {
		add("status %d", e.Status)
	}
	if e.Replay != "" {
		add("replay %s", e.Replay)
	}
	for _, text := range []string{string(e.Outcome), e.Reason} {
		if text != "" {
			add("%s", text)
		}
	}
	line := strings.Join(parts, ", ")
	if e.Error != "" {
		line += ": " + e.Error
	}
	return line
}

func waitingLine(m ops.TraceWaiting, names map[string]string, now time.Time) string {
	name := "the message"
	if m.Stage == chat.StageBot {
		name = nameOf(m.MessageID, names)
	}
	line := fmt.Sprintf("%s for %s, %s", name, orDash(m.Destination), now.Sub(m.Since).Round(time.Second))
	switch {
	case m.Lane == "":
		line += ", in the queue or at work"
	case m.Ahead > 0:
		line += fmt.Sprintf(", behind %s in lane %s", countOf(m.Ahead, "other"), m.Lane)
	default:
		state := laneState(ops.Lane{Closed: m.Closed, Held: m.Held, DueAt: m.DueAt}, now)
		line += fmt.Sprintf(", first in lane %s, %s, %s", m.Lane, countOf(m.AttemptCount, "attempt"), state)
	}
	if m.Closed != "" && (m.Lane == "" || m.Ahead > 0) {
		line += ", closed: " + m.Closed
	}
	if m.LastError != "" {
		line += ": " + m.LastError
	}
	return line
}

// endLine counts the outcomes, in the order in which they came.
func endLine(outcomes []ops.TraceOutcome) string {
	var order []chat.Outcome
	count := map[chat.Outcome]int{}
	for _, o := range outcomes {
		if count[o.Outcome]++; count[o.Outcome] == 1 {
			order = append(order, o.Outcome)
		}
	}
	parts := make([]string, len(order))
	for i, o := range order {
		parts[i] = fmt.Sprintf("%d %s", count[o], o)
	}
	return strings.Join(parts, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// inputText says what a user did, in a line.
func inputText(message json.RawMessage) string {
	var m map[chat.InputKind]json.RawMessage
	if json.Unmarshal(message, &m) != nil || len(m) != 1 {
		return "(not recorded)"
	}
	for kind, body := range m {
		switch kind {
		case chat.InputText:
			var text chat.TextInput
			if json.Unmarshal(body, &text) == nil {
				return text.Text
			}
		case chat.InputPostback:
			var postback chat.PostbackInput
			if json.Unmarshal(body, &postback) == nil {
				return "[" + postback.Title + "]"
			}
		case chat.InputIntro:
			return "(begins)"
		case chat.InputFile:
			var file chat.FileInput
			if json.Unmarshal(body, &file) == nil {
				return "[file] " + strings.Join(file.URLs, " ")
			}
		case chat.InputLocation:
			var at chat.LocationInput
			if json.Unmarshal(body, &at) == nil {
				return fmt.Sprintf("[location] %v, %v", at.Lat, at.Long)
			}
		case chat.InputActions:
			return "(actions) " + string(body)
		}
	}
	return string(message)
}

// messageText draws a bot's message in a line.
func messageText(message json.RawMessage) string {
	var m chat.Message
	if len(message) == 0 {
		return "(not recorded)"
	}
	if json.Unmarshal(message, &m) != nil {
		return string(message)
	}
	return strings.Join((&transcript{style: plainStyle}).lines(&m), " ")
}
