package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/deploy/samples"
	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/bot/flow"
	"github.com/parleyhq/parley/pkg/chat"
)

// The script and the sample bot fit each other: the conversation is played with
// the bot itself.
func TestDemoScriptFitsTheSampleBot(t *testing.T) {
	definition, err := flow.Parse("pizza", samples.Pizza())
	require.NoError(t, err)
	pizza := flow.New(definition)
	session, first := bot.Session{Variables: map[string]any{}}, true
	used := map[string]int{}
	answered := 0 // by the turn before the one under way
	f := &fakePipeline{respond: func(kind chat.InputKind, body json.RawMessage) []chat.Message {
		answer, err := pizza.Respond(t.Context(), &bot.Turn{
			ChannelID: "shop", ConversationID: "anna", Input: chat.Input{Kind: kind, Body: body}, Session: session, First: first,
		})
		if err != nil {
			return []chat.Message{{Text: "the bot failed: " + err.Error()}}
		}
		session, first = answer.Session, false
		used[string(kind)]++
		messages := make([]chat.Message, len(answer.Outputs))
		for i, o := range answer.Outputs {
			messages[i] = o.Message
			used[shape(&o.Message)]++
		}
		answered += len(messages)
		return messages
	}}
	var out bytes.Buffer
	cfg := startDemo(t, f, &out)
	cfg.Script, cfg.AnswerWithin = pizzaScript(), 5*time.Second
	require.NoError(t, cfg.Customer.trust(f.secret))

	require.NoError(t, playDemo(t.Context(), cfg), "%s", &out)

	expected := 0
	for _, turn := range cfg.Script {
		expected += turn.Answers
	}
	require.Equal(t, expected, answered, "the bot answers as much as the script waits for:\n%s", &out)
	require.GreaterOrEqual(t, len(cfg.Script), 8)
	for _, what := range []string{"textMessage", "postbackMessage", "text", "quick replies", "button", "generic", "list", "image"} {
		require.Positive(t, used[what], "the conversation uses %s: %v", what, used)
	}
	require.NotContains(t, out.String(), "didn't get that", "every input is understood")
	require.Contains(t, out.String(), "2 × Funghi")
	t.Log("\n" + out.String())
}

// shape names a message's kind.
func shape(m *chat.Message) string {
	switch {
	case m.Attachment != nil && m.Attachment.Type == "template":
		return m.Attachment.Payload.TemplateType
	case m.Attachment != nil:
		return m.Attachment.Type
	case len(m.QuickReplies) > 0:
		return "quick replies"
	}
	return "text"
}
