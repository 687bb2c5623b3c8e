// Package echo is the bot that says back what it was told: for a first test of
// a channel and for measurements. It never fails and keeps nothing.
package echo

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
)

// New returns the bot. It answers a text with the same text, any other input
// with a text that describes it, and actions with nothing.
func New() bot.Bot { return echo{} }

type echo struct{}

// Respond implements bot.Bot.
func (echo) Respond(_ context.Context, turn *bot.Turn) (*bot.Answer, error) {
	answer := &bot.Answer{Session: turn.Session}
	if turn.Input.Kind == chat.InputActions {
		return answer, nil
	}
	text, err := describe(turn.Input)
	if err != nil {
		return nil, &bot.RefusedError{Reason: err.Error()}
	}
	if utf8.RuneCountInString(text) > chat.MaxText {
		text = string([]rune(text)[:chat.MaxText])
	}
	answer.Outputs = []bot.Output{{Message: chat.Message{Text: text}}}
	return answer, nil
}

func describe(in chat.Input) (string, error) {
	switch in.Kind {
	case chat.InputText:
		var text chat.TextInput
		err := read(in, &text)
		return text.Text, err
	case chat.InputPostback:
		var postback chat.PostbackInput
		err := read(in, &postback)
		return strings.TrimSpace("You chose: " + postback.Title), err
	case chat.InputIntro:
		return "Hello! I say back what you tell me.", nil
	case chat.InputFile:
		var files chat.FileInput
		err := read(in, &files)
		return "You sent: " + strings.Join(files.URLs, " "), err
	case chat.InputLocation:
		var at chat.LocationInput
		err := read(in, &at)
		return fmt.Sprintf("You are at %g, %g", at.Lat, at.Long), err
	default:
		return "", fmt.Errorf("the kind of input %q is unknown", in.Kind)
	}
}

func read(in chat.Input, into any) error {
	if err := json.Unmarshal(in.Body, into); err != nil {
		return fmt.Errorf("the %s can't be read: %w", in.Kind, err)
	}
	return nil
}
