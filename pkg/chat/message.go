package chat

import (
	"encoding/json"
	"time"
)

// EventMessage is the event of a bot's message; endpoints filter by event.
const EventMessage = "message"

// EventEndpointTest is the event of an operator's test message. It goes through
// no stream, and no filter.
const EventEndpointTest = "endpoint.test"

// BotMessage is one message of a bot with its place in the conversation.
type BotMessage struct {
	ID             string
	ChannelID      string
	ConversationID string
	BotID          string
	Ordinal        Ordinal
	InputID        string
	CreatedAt      time.Time
	ExpiresAt      time.Time // its input's; zero: never
	ConfigRevision uint64
	Event          string
	Message        json.RawMessage // a Message
	NLP            json.RawMessage // an NLP, or nil
	Traceparent    string
}

// Key returns the conversation's key.
func (m *BotMessage) Key() ConversationKey { return KeyOf(m.ChannelID, m.ConversationID) }

// Ordinal is a bot message's place in its conversation: the session's epoch,
// the counter in it, and the time of the input that it came from.
type Ordinal struct {
	Epoch   uint64
	Counter uint64
	InputAt int64 // Unix milliseconds
}

// Covers reports whether a lane that is settled up to o has settled p: neither
// p's place nor its input's time is above. (The time decides where a lost
// session began again at a lower epoch.)
func (o Ordinal) Covers(p Ordinal) bool {
	if p.InputAt > o.InputAt {
		return false
	}
	return p.Epoch < o.Epoch || p.Epoch == o.Epoch && p.Counter <= o.Counter
}

// Message is the contract's "message": text, text with quick replies, or an
// attachment.
type Message struct {
	Text         string       `json:"text,omitempty"`
	QuickReplies []QuickReply `json:"quick_replies,omitempty"`
	Attachment   *Attachment  `json:"attachment,omitempty"`
}

// QuickReply is a suggestion under a text.
type QuickReply struct {
	ContentType string `json:"content_type"`
	Title       string `json:"title,omitempty"`
	Payload     string `json:"payload,omitempty"`
	ImageURL    string `json:"image_url,omitempty"`
}

// Attachment is a medium (image, video, audio, file) or a template.
type Attachment struct {
	Type    string            `json:"type"`
	Payload AttachmentPayload `json:"payload"`
}

// AttachmentPayload holds a medium's URL or a template's parts.
type AttachmentPayload struct {
	URL          string    `json:"url,omitempty"`
	TemplateType string    `json:"template_type,omitempty"` // button, generic, list
	Text         string    `json:"text,omitempty"`
	Buttons      []Button  `json:"buttons,omitempty"`
	Elements     []Element `json:"elements,omitempty"`
}

// Element is a card of a carousel (generic) or a list's item.
type Element struct {
	Title         string   `json:"title"`
	Subtitle      string   `json:"subtitle,omitempty"`
	ImageURL      string   `json:"image_url,omitempty"`
	ItemURL       string   `json:"item_url,omitempty"`
	DefaultAction *Button  `json:"default_action,omitempty"`
	Buttons       []Button `json:"buttons,omitempty"`
}

// Button is of type postback, web_url, phone_number or element_share.
type Button struct {
	Type    string `json:"type"`
	Title   string `json:"title,omitempty"`
	Payload string `json:"payload,omitempty"`
	URL     string `json:"url,omitempty"`
}

// PostbackPayload is what a postback's payload holds as a JSON string; the
// customer sends it back untouched.
type PostbackPayload struct {
	Params            []KeyValue `json:"params,omitempty"`
	NextDialogstateID string     `json:"nextDialogstateId,omitempty"`
	Type              string     `json:"type,omitempty"`
	Caption           string     `json:"caption,omitempty"`
}

// NLP is what the bot understood.
type NLP struct {
	Intent Intent `json:"intent"`
}

// Intent is an intent's name with its score in [0, 1].
type Intent struct {
	Name  string  `json:"name"`
	Score float64 `json:"score"`
}
