package chat

import (
	"encoding/json"
	"time"
)

// InputKind says what a user message is; its values are the names of the
// contract's message fields.
type InputKind string

// The kinds of user message.
const (
	InputText     InputKind = "textMessage"
	InputPostback InputKind = "postbackMessage"
	InputIntro    InputKind = "introMessage"
	InputFile     InputKind = "fileMessage"
	InputLocation InputKind = "locationMessage"
	// InputActions is not a message of a user but an order from outside.
	InputActions InputKind = "actions"
)

// UserMessage is an accepted user message.
type UserMessage struct {
	ID             string
	ChannelID      string
	ConversationID string
	AcceptedAt     time.Time // to the millisecond
	ExpiresAt      time.Time // to the millisecond; zero: never
	ConfigRevision uint64
	Input          Input
	SessionData    json.RawMessage // JSON object, or nil
	User           json.RawMessage // JSON object, or nil
	Locale         string
	Traceparent    string
}

// Key returns the conversation's key.
func (m *UserMessage) Key() ConversationKey { return KeyOf(m.ChannelID, m.ConversationID) }

// Input is what the user did: Kind says which, Body is its JSON as the
// contract spells it (for a text {"text":"…"}).
type Input struct {
	Kind InputKind
	Body json.RawMessage
}

// TextInput is the body of InputText.
type TextInput struct {
	Text string `json:"text"`
}

// PostbackInput is the body of InputPostback: a button or quick reply that the
// user chose.
type PostbackInput struct {
	Title             string     `json:"title"`
	Payload           string     `json:"payload,omitempty"`
	NextDialogstateID string     `json:"nextDialogstateId,omitempty"`
	SessionDataToSet  []KeyValue `json:"sessionDataToSet,omitempty"`
}

// KeyValue sets one variable.
type KeyValue struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// FileInput is the body of InputFile.
type FileInput struct {
	URLs []string `json:"urls"`
}

// LocationInput is the body of InputLocation, in degrees (WGS 84).
type LocationInput struct {
	Lat  float64 `json:"lat"`
	Long float64 `json:"long"`
}

// Actions is the body of InputActions.
type Actions struct {
	SendMessages    []Message       `json:"sendMessages,omitempty"`
	NextDialogstate string          `json:"nextDialogstate,omitempty"`
	SessionData     json.RawMessage `json:"sessionData,omitempty"`
	PauseBot        bool            `json:"pauseBot,omitempty"`
	ResumeBot       bool            `json:"resumeBot,omitempty"`
	// ExpireAfter is the message's, not the bot's: 0 means never.
	ExpireAfter time.Duration `json:"-"`
}
