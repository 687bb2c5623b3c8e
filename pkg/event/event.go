package event

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// Event is an operational event. Of what it is about only the channel is required.
type Event struct {
	Kind           string // chat.EventDeliveryFailed, …
	ChannelID      string
	EndpointID     string
	MessageID      string
	ConversationID string
	Reason         string
	Error          string // the last attempt's, where the customer may know it
	// Replay is that which the message came from: one that fails again is another
	// event.
	Replay string
	At     time.Time
}

// message makes what is stored of it.
func (e *Event) message(revision uint64) (*chat.BotMessage, error) {
	data, err := json.Marshal(chat.OperationalData{
		EndpointID: e.EndpointID, ConversationID: e.ConversationID, MessageID: e.MessageID,
		Reason: e.Reason, Error: e.Error,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the event %s: %w", e.Kind, err)
	}
	m := &chat.BotMessage{
		ChannelID: e.ChannelID, ConversationID: chat.EventConversation(e.EndpointID),
		CreatedAt: time.UnixMilli(e.At.UnixMilli()), ConfigRevision: revision, Event: e.Kind, Message: data,
	}
	m.ID = e.id(m.Key())
	return m, nil
}

// id is a function of the cause where that is a message.
func (e *Event) id(key chat.ConversationKey) string {
	if e.MessageID == "" {
		return chat.EventID(e.At, key, e.Kind, e.EndpointID)
	}
	at, _, err := chat.ParseMessageID(e.MessageID)
	if err != nil || at.IsZero() {
		at = time.UnixMilli(0)
	}
	return chat.EventID(at, key, e.Kind, e.MessageID+" "+e.Replay)
}
