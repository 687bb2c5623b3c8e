package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"

	"github.com/parleyhq/parley/pkg/chat"
)

// transcript prints a conversation, both sides, for people. On a terminal it
// uses colours and box characters, elsewhere plain ASCII. It may be used from
// several goroutines; each entry is one write.
type transcript struct {
	style transcriptStyle

	mu sync.Mutex
	w  io.Writer
}

type transcriptStyle struct {
	user, bot, bar, tick string
	dim, strong, reset   string
	green, red, cyan     string
}

var (
	plainStyle = transcriptStyle{user: ">", bot: "<", bar: "|", tick: "*"}
	richStyle  = transcriptStyle{
		user: "▸", bot: "◂", bar: "│", tick: "✓",
		dim: "\x1b[2m", strong: "\x1b[1m", reset: "\x1b[0m",
		green: "\x1b[32m", red: "\x1b[31m", cyan: "\x1b[36m",
	}
)

// newTranscript prints to w; it is plain unless w is a terminal and NO_COLOR
// is unset.
func newTranscript(w io.Writer) *transcript {
	t := &transcript{w: w, style: plainStyle}
	if f, ok := w.(*os.File); ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			t.style = richStyle
		}
	}
	return t
}

// margin is the width of the column with the counter and the side.
const margin = "            "

// User prints what the user did.
func (t *transcript) User(text string) error {
	s := t.style
	return t.write(fmt.Sprintf("       user %s%s %s%s\n", s.cyan, s.user, printable(text), s.reset))
}

// Note prints a line that is no part of the conversation.
func (t *transcript) Note(text string) error {
	return t.write(t.style.dim + "-- " + printable(text) + t.style.reset + "\n")
}

// Refused prints a delivery that the endpoint did not take, and why.
func (t *transcript) Refused(reason string) error {
	return t.write(t.style.red + "!! " + printable(reason) + t.style.reset + "\n")
}

// Remark prints a line about what stands above it.
func (t *transcript) Remark(text string) error {
	return t.write(margin + " " + t.style.dim + printable(text) + t.style.reset + "\n")
}

// Bot prints a message of the bot with its counter, or an event, and what is
// known of its signature.
func (t *transcript) Bot(d *delivery) error { return t.said(d, t.remarks(d)) }

// Said prints a message of the bot with its counter, or an event, and a remark.
func (t *transcript) Said(d *delivery, remark string) error {
	return t.said(d, t.style.dim+printable(remark)+t.style.reset)
}

func (t *transcript) said(d *delivery, remark string) error {
	s := t.style
	var b strings.Builder
	lines := t.lines(&d.Message)
	if d.Event == "" {
		fmt.Fprintf(&b, "%s%6s bot %s%s ", s.strong, fmt.Sprintf("#%d", d.Counter), s.bot, s.reset)
	} else {
		fmt.Fprintf(&b, "%s%10s %s%s ", s.strong, "event", s.bot, s.reset)
		lines = []string{printable(d.Event), printable(d.Data)}
	}
	for i, line := range lines {
		if i > 0 {
			b.WriteString(margin + " ")
		}
		b.WriteString(line + "\n")
	}
	b.WriteString(margin + " " + remark + "\n")
	return t.write(b.String())
}

func (t *transcript) write(text string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := io.WriteString(t.w, text)
	return err
}

// remarks are what a delivery says beside its message.
func (t *transcript) remarks(d *delivery) string {
	s := t.style
	mark := s.dim + "signature not checked"
	if d.Verified {
		mark = s.green + s.tick + " signature verified" + s.reset + s.dim
	}
	parts := []string{mark}
	if d.Event == "" {
		parts = append(parts, "conversation "+printable(d.ConversationID))
	}
	if d.Intent != "" {
		parts = append(parts, "intent "+printable(d.Intent))
	}
	if d.Attempt != "" && d.Attempt != "1" {
		parts = append(parts, "attempt "+printable(d.Attempt))
	}
	if d.Replay != "" {
		parts = append(parts, "replay "+printable(d.Replay))
	}
	return strings.Join(parts, ", ") + s.reset
}

// lines draw a message.
func (t *transcript) lines(m *chat.Message) []string {
	var lines []string
	if m.Text != "" {
		lines = paragraphs(m.Text)
	}
	if len(m.QuickReplies) > 0 {
		titles := make([]string, len(m.QuickReplies))
		for i, q := range m.QuickReplies {
			titles[i] = "(" + printable(q.Title) + ")"
			if q.Title == "" {
				titles[i] = "(" + printable(q.ContentType) + ")"
			}
		}
		lines = append(lines, strings.Join(titles, " "))
	}
	if a := m.Attachment; a != nil {
		lines = append(lines, t.attachment(a)...)
	}
	if len(lines) == 0 {
		lines = []string{"(nothing)"}
	}
	return lines
}

func (t *transcript) attachment(a *chat.Attachment) []string {
	if a.Type != "template" {
		return []string{"[" + printable(a.Type) + "] " + printable(a.Payload.URL)}
	}
	var lines []string
	if a.Payload.Text != "" {
		lines = paragraphs(a.Payload.Text)
	}
	for i := range a.Payload.Elements {
		lines = append(lines, t.card(&a.Payload.Elements[i])...)
	}
	if len(a.Payload.Buttons) > 0 {
		lines = append(lines, buttonRow(a.Payload.Buttons))
	}
	return lines
}

func (t *transcript) card(e *chat.Element) []string {
	bar := t.style.bar + " "
	lines := []string{bar + t.style.strong + printable(e.Title) + t.style.reset}
	for _, text := range []string{e.Subtitle, e.ImageURL, e.ItemURL} {
		if text != "" {
			lines = append(lines, bar+printable(text))
		}
	}
	if len(e.Buttons) > 0 {
		lines = append(lines, bar+buttonRow(e.Buttons))
	}
	return lines
}

func buttonRow(buttons []chat.Button) string {
	row := make([]string, len(buttons))
	for i, b := range buttons {
		title := b.Title
		if title == "" {
			title = strings.TrimPrefix(b.Type, "element_") // element_share has none
		}
		row[i] = "[" + printable(title) + "]"
		if b.URL != "" {
			row[i] += " " + printable(b.URL)
		}
	}
	return strings.Join(row, " ")
}

func paragraphs(text string) []string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return lines
}

// printable replaces what could move a terminal's cursor or hide text.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsGraphic(r) && !unicode.Is(unicode.Cf, r) || isBidiControl(r) {
			return '?'
		}
		return r
	}, text)
}

func isBidiControl(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
