package ops

import (
	"encoding/json"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// Trace is a message's whole way: of a user message with what the bot answered
// to it, of a bot message from the user message that it answers.
type Trace struct {
	MessageID      string       `json:"messageId"`
	InputID        string       `json:"inputId,omitempty"` // the user message, of a bot message
	ChannelID      string       `json:"channelId,omitempty"`
	ConversationID string       `json:"conversationId,omitempty"`
	Events         []TraceEvent `json:"events"` // in the order of time
	// Waiting is what waits now, Outcomes what became of the rest: at the bot, and
	// of each bot message at each endpoint.
	Waiting  []TraceWaiting `json:"waiting"`
	Outcomes []TraceOutcome `json:"outcomes"`
	// Notes say what the answer can't tell, and why.
	Notes []string `json:"notes"`
	// NoBodies says that what was said was not recorded.
	NoBodies bool `json:"noBodies,omitempty"`
}

// Happening is a kind of TraceEvent.
type Happening string

// What happens on a message's way.
const (
	HappenedAccepted   Happening = "accepted"
	HappenedBot        Happening = "bot"     // a run of the bot
	HappenedMessage    Happening = "message" // the bot said something, or an event was made
	HappenedAttempt    Happening = "attempt" // a POST to an endpoint
	HappenedEnd        Happening = "end"     // without an attempt: filtered, expired, unrouted, given up
	HappenedDeadLetter Happening = "dead_letter"
)

// TraceEvent is something that happened. But for the time, the kind and the
// message all is left out that it doesn't have.
type TraceEvent struct {
	At             time.Time       `json:"at"`
	What           Happening       `json:"what"`
	MessageID      string          `json:"messageId"`
	Destination    string          `json:"destination,omitempty"`    // endpoint or bot
	MessageCounter uint64          `json:"messageCounter,omitempty"` // of a bot's message
	Event          string          `json:"event,omitempty"`          // of what is no bot's message
	Number         int             `json:"number,omitempty"`         // of the attempt; 1 is the first
	WaitedMS       *int64          `json:"waitedMs,omitempty"`       // in the queue, before the first run of the bot
	DurationMS     *int64          `json:"durationMs,omitempty"`
	Status         int             `json:"status,omitempty"`
	Outcome        chat.Outcome    `json:"outcome,omitempty"`
	Reason         string          `json:"reason,omitempty"`
	Replay         string          `json:"replay,omitempty"` // that it was sent again by
	Error          string          `json:"error,omitempty"`
	Excerpt        string          `json:"excerpt,omitempty"` // of the answer
	Message        json.RawMessage `json:"message,omitempty"` // what was said
}

// TraceWaiting is a message that waits for a destination.
type TraceWaiting struct {
	MessageID   string     `json:"messageId"`
	Stage       chat.Stage `json:"stage"`
	Destination string     `json:"destination,omitempty"` // endpoint or bot
	Lane        string     `json:"lane,omitempty"`        // where it is parked; else it waits in the work queue, or is at work
	Since       time.Time  `json:"since"`
	// Ahead counts the messages of its parked lane before it.
	Ahead        int        `json:"ahead,omitempty"`
	AttemptCount int        `json:"attemptCount"`
	DueAt        *time.Time `json:"dueAt,omitempty"`
	Held         bool       `json:"held,omitempty"`
	Closed       string     `json:"closed,omitempty"` // why its destination gets nothing now
	LastError    string     `json:"lastError,omitempty"`
}

// TraceOutcome is what became of a message at a destination.
type TraceOutcome struct {
	MessageID   string       `json:"messageId"`
	Stage       chat.Stage   `json:"stage"`
	Destination string       `json:"destination,omitempty"` // endpoint or bot; none of an unrouted message
	Outcome     chat.Outcome `json:"outcome"`
	At          time.Time    `json:"at"`
}
