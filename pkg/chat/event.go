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
	// EventOffload is the bot handing its conversation over to a human, among its
	// messages.
	EventOffload = "offload"

	// Operational events stand in no conversation.

	// EventDeliveryFailed is a message that an endpoint did not get and won't: it
	// expired, or became a dead letter.
	EventDeliveryFailed = "delivery.failed"
	// EventDeadLetterCreated is a message, of either stage, that became a dead
	// letter.
	EventDeadLetterCreated = "dead_letter.created"
	// EventEndpointFailing warns of an endpoint that takes nothing.
	EventEndpointFailing = "endpoint.failing"
	// EventEndpointDisabled is an endpoint that Parley has disabled.
	EventEndpointDisabled = "endpoint.disabled"
	// EventEndpointRecovered is a failing endpoint that takes messages again.
	EventEndpointRecovered = "endpoint.recovered"
)

// EventEndpointTest is the event of an operator's test message. It goes through
// no stream, and no filter.
const EventEndpointTest = "endpoint.test"

// Events returns the events that an endpoint may ask for.
func Events() []string {
	return []string{
		EventMessage, EventUserMessage, EventOffload,
		EventDeliveryFailed, EventDeadLetterCreated, EventEndpointFailing, EventEndpointDisabled, EventEndpointRecovered,
	}
}

// IsEvent reports whether an endpoint may ask for it.
func IsEvent(name string) bool { return slices.Contains(Events(), name) }

// Operational reports whether an event is about Parley's own work and not part of
// a conversation.
func Operational(event string) bool {
	switch event {
	case EventDeliveryFailed, EventDeadLetterCreated, EventEndpointFailing, EventEndpointDisabled, EventEndpointRecovered:
		return true
	}
	return false
}

// EventConversation is the conversation in which operational events about an
// endpoint are sent: no user's id has a control character. An empty id stands
// for what is about none.
func EventConversation(endpointID string) string { return "\x1fevents." + endpointID }

// OperationalData is what an operational event tells.
type OperationalData struct {
	EndpointID     string `json:"endpointId,omitempty"`
	ConversationID string `json:"conversationId,omitempty"`
	MessageID      string `json:"messageId,omitempty"`
	Reason         string `json:"reason"`
	Error          string `json:"error,omitempty"` // of the last attempt
}

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

// OffloadData is what EventOffload tells.
type OffloadData struct {
	ConversationID string          `json:"conversationId"`
	MessageID      string          `json:"messageId"` // the user's, that led to it
	Details        json.RawMessage `json:"details,omitempty"`
}

// DataOf is what EventUserMessage tells of a user message.
func DataOf(m *UserMessage, botPaused bool) *UserMessageData {
	return &UserMessageData{
		ConversationID: m.ConversationID, MessageID: m.ID, AcceptedAt: m.AcceptedAt.UTC(),
		Message: map[InputKind]json.RawMessage{m.Input.Kind: m.Input.Body},
		User:    m.User, Locale: m.Locale, BotPaused: botPaused,
	}
}
