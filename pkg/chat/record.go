package chat

import (
	"encoding/json"
	"time"
)

// Stage is one of the pipeline's two: StageUser runs bots, StageBot delivers.
type Stage string

// The stages; the words also stand in subjects.
const (
	StageUser Stage = "user"
	StageBot  Stage = "bot"
)

// Attempt is one try at a message: one POST, or one run of a bot.
type Attempt struct {
	At       time.Time     `json:"at"`
	Duration time.Duration `json:"durationNs"`
	Status   int           `json:"status,omitempty"` // HTTP status; 0 where there was none
	Error    string        `json:"error,omitempty"`
	Excerpt  []byte        `json:"excerpt,omitempty"` // the answer's beginning, at most 4 KiB
}

// DeadLetter is a message that the pipeline gave up on, with its history.
type DeadLetter struct {
	MessageID      string            `json:"messageId"`
	Stage          Stage             `json:"stage"`
	ChannelID      string            `json:"channelId"`
	Destination    string            `json:"destination"` // endpoint or bot
	ConversationID string            `json:"conversationId"`
	Counter        uint64            `json:"messageCounter,omitempty"`
	Reason         string            `json:"reason"`
	Error          string            `json:"error,omitempty"`
	FirstFailure   time.Time         `json:"firstFailure"`
	DiedAt         time.Time         `json:"diedAt"`
	AttemptCount   int               `json:"attemptCount"`
	Attempts       []Attempt         `json:"attempts"` // the latest, oldest first
	Data           []byte            `json:"data"`     // the envelope as stored
	Headers        map[string]string `json:"headers,omitempty"`
}

// LaneState is what a parked lane remembers of its head.
type LaneState struct {
	HeadSeq      uint64 // the head's in its work queue; a state of another head is void
	Due          time.Time
	FirstFailure time.Time
	AttemptCount int
	Attempts     []Attempt
	Held         bool
	GivenUp      string // why, where only the dead letter is still to be written
	Asked        bool   // an operator asked for an attempt, whatever the schedule says
	// EarlyCount is how many of the attempts the schedule doesn't count: they were
	// made before the head was due, since its destination seemed to be well again.
	EarlyCount int
}

// Session is a conversation's record at the bot stage.
type Session struct {
	ChannelID      string
	ConversationID string
	Epoch          uint64
	Counter        uint64
	LastInputSeq   uint64
	LastInputAt    int64 // Unix milliseconds
	LastInputID    string
	LastPlaceAt    int64        // the highest time of an Ordinal, where it is above LastInputAt
	LastOutput     []BotMessage // the outbox
	BotID          string
	Dialog         json.RawMessage
	Variables      json.RawMessage
	User           json.RawMessage
	Locale         string
	Paused         bool
}

// Erased reports whether a record is what is left of a conversation that was
// erased: no more than says which of its messages, and of its ordinals, are old.
func (s *Session) Erased() bool { return s.ConversationID == "" }

// Erase returns the record of an erased conversation: without anything that was
// said, and with all inputs up to a place settled. s may be nil.
func (s *Session) Erase(upTo Ordinal) *Session {
	var left Session
	if s != nil {
		left = Session{
			Epoch: s.Epoch, Counter: s.Counter, LastInputSeq: s.LastInputSeq, LastInputAt: s.LastInputAt, LastInputID: s.LastInputID,
			LastPlaceAt: s.LastPlaceAt,
		}
	}
	left.LastInputSeq, left.LastInputAt = max(left.LastInputSeq, upTo.Counter), max(left.LastInputAt, upTo.InputAt)
	return &left
}

// Supersedes reports whether a later input than m's has been processed; where a
// session can't tell, it has not. The times alone tell across sessions that were
// lost. Where no time tells, it takes the same session, which has come as far as
// m. Events are never superseded: they say what has happened.
func (s *Session) Supersedes(m *BotMessage) bool {
	switch at := max(s.LastInputAt, s.LastPlaceAt); {
	case m.Event != EventMessage:
		return false
	case s.LastInputAt > m.Ordinal.InputAt:
		return true
	case s.LastInputID == m.InputID: // its own turn, which may have had an event after it
		return false
	case at != m.Ordinal.InputAt:
		return at > m.Ordinal.InputAt
	}
	return s.Epoch == m.Ordinal.Epoch && s.Counter >= m.Ordinal.Counter
}

// Outcome is what became of a message at a destination.
type Outcome string

// The outcomes of DESIGN's first promise, OutcomeRetry for an attempt that will be
// followed by another, and OutcomeFailed for a message that the bot did not
// answer and that was answered with its fallback.
const (
	OutcomeProcessed Outcome = "processed"
	OutcomeDelivered Outcome = "delivered"
	OutcomeRetry     Outcome = "retry"
	OutcomeFailed    Outcome = "failed"
	OutcomeDead      Outcome = "dead"
	OutcomeExpired   Outcome = "expired"
	OutcomeFiltered  Outcome = "filtered"
	OutcomeUnrouted  Outcome = "unrouted"
	// OutcomeDiscarded is a message that an operator has erased with its
	// conversation: it is counted, and not journalled.
	OutcomeDiscarded Outcome = "discarded"
)

// Turn is one user message with what the bot made of it, for the journal.
type Turn struct {
	At       time.Time
	Input    UserMessage
	Output   []BotMessage
	BotID    string
	Duration time.Duration
	Outcome  Outcome
	Attempt  *Attempt // the run that failed; nil where the turn was made
	NoBodies bool     // what was said was left out
}

// Delivery is one attempt at, or the end of, a bot message at one endpoint,
// for the journal.
type Delivery struct {
	At             time.Time
	ChannelID      string
	ConversationID string
	MessageID      string
	EndpointID     string // empty when unrouted
	Ordinal        Ordinal
	AttemptNumber  int
	Attempt        *Attempt // nil where nothing was sent
	Outcome        Outcome
	Reason         string // why it expired; empty for any other outcome
	Replay         string // the replay that the message came from; empty where it is none
	NoBodies       bool   // the answer's excerpt was left out
}

// Why bot messages expire.
const (
	ExpiredByTime     = "time"       // expireAfter, the message's or the endpoint's
	ExpiredSuperseded = "superseded" // a later user message has been processed
)
