package httpbot

import (
	"encoding/json"
	"fmt"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
)

// request is the body that is posted; its schema is
// proto/httpbot/v1/request.schema.json.
type request struct {
	ChannelID      string `json:"channelId"`
	ConversationID string `json:"conversationId"`
	MessageID      string `json:"messageId"`
	// MessageCounter is the messageCounter that the conversation's endpoint saw
	// last; 0 in a new session.
	MessageCounter uint64 `json:"messageCounter"`
	NewSession     bool   `json:"newSession"`
	Locale         string `json:"locale,omitempty"`
	// Message has one member: the kind of input, with its body as it came.
	Message map[chat.InputKind]json.RawMessage `json:"message"`
	User    map[string]any                     `json:"user,omitempty"`
	// SessionData are the variables, with what the message set.
	SessionData map[string]any `json:"sessionData"`
	// Dialogstate is the nextDialogstate that the bot answered last.
	Dialogstate string `json:"dialogstate,omitempty"`
}

// render returns the same bytes for the same turn: maps are in the order of
// their keys.
func render(turn *bot.Turn) ([]byte, error) {
	r := request{
		ChannelID: turn.ChannelID, ConversationID: turn.ConversationID, MessageID: turn.MessageID,
		MessageCounter: turn.Counter, NewSession: turn.First, Locale: turn.Session.Locale,
		Message: map[chat.InputKind]json.RawMessage{turn.Input.Kind: turn.Input.Body},
		User:    turn.Session.User, SessionData: turn.Session.Variables, Dialogstate: loadDialogstate(turn.Session.Dialog),
	}
	if r.SessionData == nil {
		r.SessionData = map[string]any{}
	}
	if turn.Input.Kind == chat.InputActions {
		asked, err := actions(turn.Input.Body)
		if err != nil {
			return nil, err
		}
		r.Message[chat.InputActions] = asked
	}
	body, err := json.Marshal(&r)
	if err != nil {
		return nil, fmt.Errorf("the turn can't be written as JSON: %w", err)
	}
	return body, nil
}

// actions keeps what is the bot's to do; the rest is done.
func actions(body json.RawMessage) (json.RawMessage, error) {
	var all chat.Actions
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("the actions can't be read: %w", err)
	}
	return json.Marshal(chat.Actions{NextDialogstate: all.NextDialogstate})
}

// loadDialogstate reads a session's state. That of a bot of another kind, which
// had the conversation before, is none.
func loadDialogstate(dialog json.RawMessage) string {
	var state string
	if json.Unmarshal(dialog, &state) != nil {
		return ""
	}
	return state
}

func storeDialogstate(state string) json.RawMessage {
	if state == "" {
		return nil
	}
	stored, _ := json.Marshal(state) // a string always can
	return stored
}
