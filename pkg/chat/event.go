package chat

import (
	"encoding/json"
	"slices"
	"time"
)

// The events that endpoints filter by.
const (
	// EventMessage is a bot's message.
	EventMessage = "message"
	// EventUserMessage is a user's message, among the bot's.
	EventUserMessage = "user_message"
)

// EventEndpointTest is the event of an operator's test message. It goes through
// no stream, and no filter.
const EventEndpointTest = "endpoint.test"

// Events returns the events that an endpoint may ask for.
func Events() []string { return []string{EventMessage, EventUserMessage} }

// IsEvent reports whether an endpoint may ask for it.
func IsEvent(name string) bool { return slices.Contains(Events(), name) }

// UserMessageData is what EventUserMessage tells.
type UserMessageData struct {
	ConversationID string                        `json:"conversationId"`
	MessageID      string                        `json:"messageId"`
	AcceptedAt     time.Time                     `json:"acceptedAt"`
	Message        map[InputKind]json.RawMessage `json:"message"` // one, as it was sent
	User           json.RawMessage               `json:"user,omitempty"`
	Locale         string                        `json:"locale,omitempty"`
	BotPaused      bool                          `json:"botPaused,omitempty"` // a human has taken over: it ran no bot
}

// DataOf is what EventUserMessage tells of a user message.
func DataOf(m *UserMessage, botPaused bool) *UserMessageData {
	return &UserMessageData{
		ConversationID: m.ConversationID, MessageID: m.ID, AcceptedAt: m.AcceptedAt.UTC(),
		Message: map[InputKind]json.RawMessage{m.Input.Kind: m.Input.Body},
		User:    m.User, Locale: m.Locale, BotPaused: botPaused,
	}
}
