package flow_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/bot/flow"
	"github.com/parleyhq/parley/pkg/chat"
)

// conversation plays turns with a bot as the bot stage does: what a turn leaves
// goes through JSON before the next one.
type conversation struct {
	t        *testing.T
	bot      bot.Bot
	session  bot.Session
	last     *bot.Answer
	warnings []string
}

func play(t *testing.T, source string) *conversation {
	t.Helper()
	def, err := flow.Parse("bot.yaml", []byte(source))
	require.NoError(t, err)
	return &conversation{t: t, bot: flow.New(def), session: bot.Session{Variables: map[string]any{}}}
}

func playFile(t *testing.T, path string) *conversation {
	t.Helper()
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	return play(t, string(source))
}

func (c *conversation) turn(kind chat.InputKind, body any) *bot.Answer {
	c.t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(c.t, err)
	turn := &bot.Turn{ChannelID: "web", ConversationID: "c1", Input: chat.Input{Kind: kind, Body: raw}, Session: c.session}
	before, err := json.Marshal(turn)
	require.NoError(c.t, err)
	answer, err := c.bot.Respond(c.t.Context(), turn)
	require.NoError(c.t, err)
	after, err := json.Marshal(turn)
	require.NoError(c.t, err)
	require.JSONEq(c.t, string(before), string(after), "Respond must not change the turn")
	again, err := c.bot.Respond(c.t.Context(), turn)
	require.NoError(c.t, err)
	require.Equal(c.t, answer, again, "the same turn has the same answer")

	stored, err := json.Marshal(answer.Session)
	require.NoError(c.t, err)
	c.session = bot.Session{}
	require.NoError(c.t, json.Unmarshal(stored, &c.session))
	c.last, c.warnings = answer, answer.Warnings
	return answer
}

func (c *conversation) say(text string) []string {
	c.t.Helper()
	return show(c.turn(chat.InputText, chat.TextInput{Text: text}))
}

func (c *conversation) intro() []string {
	c.t.Helper()
	return show(c.turn(chat.InputIntro, struct{}{}))
}

// choose sends back the quick reply or button with the title, as a customer
// does: its payload untouched.
func (c *conversation) choose(title string) []string {
	c.t.Helper()
	for _, out := range c.last.Outputs {
		for _, q := range out.Message.QuickReplies {
			if q.Title == title {
				return show(c.turn(chat.InputPostback, chat.PostbackInput{Title: title, Payload: q.Payload}))
			}
		}
		for _, b := range allButtons(out.Message) {
			if b.Title == title {
				return show(c.turn(chat.InputPostback, chat.PostbackInput{Title: title, Payload: b.Payload}))
			}
		}
	}
	require.Failf(c.t, "nothing to choose", "%q is not among %v", title, show(c.last))
	return nil
}

// chooseOn chooses a button of a card.
func (c *conversation) chooseOn(card, title string) []string {
	c.t.Helper()
	for _, out := range c.last.Outputs {
		if a := out.Message.Attachment; a != nil {
			for _, e := range a.Payload.Elements {
				for _, b := range e.Buttons {
					if e.Title == card && b.Title == title {
						return show(c.turn(chat.InputPostback, chat.PostbackInput{Title: title, Payload: b.Payload}))
					}
				}
			}
		}
	}
	require.Failf(c.t, "nothing to choose", "%q on %q is not among %v", title, card, show(c.last))
	return nil
}

func allButtons(m chat.Message) []chat.Button {
	if m.Attachment == nil {
		return nil
	}
	list := m.Attachment.Payload.Buttons
	for _, e := range m.Attachment.Payload.Elements {
		list = append(list, e.Buttons...)
	}
	return list
}

// show writes messages as one line each: the text, then what can be chosen.
func show(a *bot.Answer) []string {
	var lines []string
	for _, out := range a.Outputs {
		m := out.Message
		line := m.Text
		if at := m.Attachment; at != nil {
			line = at.Type + " " + at.Payload.URL
			if at.Type == "template" {
				line = at.Payload.TemplateType + " " + at.Payload.Text
			}
			for _, e := range at.Payload.Elements {
				line += "(" + strings.TrimSpace(e.Title+": "+e.Subtitle) + ")"
			}
		}
		for _, q := range m.QuickReplies {
			line += " [" + q.Title + "]"
		}
		for _, b := range allButtons(m) {
			line += " <" + b.Title + ">"
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}
