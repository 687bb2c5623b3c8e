// Package bot says what a bot is to Parley: something that answers a turn.
//
// Implementations: echo (says back what it was told), flow (dialogs from a YAML
// file) and httpbot (asks a service over HTTP). A bot keeps nothing between turns: what it must remember is in
// the [Session] that it is given and that the bot stage stores.
package bot

import (
	"context"
	"encoding/json"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/tracing"
)

// Session is the conversation's state as a bot sees and changes it.
type Session struct {
	// Dialog is the bot's own state, opaque to Parley; nil in a new session.
	Dialog json.RawMessage
	// Variables are the conversation's variables; never nil.
	Variables map[string]any
	// User is the user's profile (firstName, lastName, …); may be nil.
	User map[string]any
	// Locale is a BCP 47 tag, or empty.
	Locale string
}

// Turn is one input to answer.
type Turn struct {
	// MessageID is the user message's, the same on every attempt.
	MessageID string
	// Attempt is the attempt's number, from 1.
	Attempt int
	// Replay is the replay that the message came from, or empty.
	Replay string
	// Traceparent is the message's W3C Trace Context, or empty.
	Traceparent string
	// Span is that of the turn, none where its trace is not recorded. A bot that
	// asks others makes its own below it.
	Span tracing.Span

	ChannelID      string
	ConversationID string
	Input          chat.Input
	Session        Session
	// First says that the conversation's session has just begun.
	First bool
	// Counter is how many bot messages the session has had; it grows with each.
	Counter uint64
}

// Output is one bot message, or an event in place of one.
type Output struct {
	Message chat.Message
	NLP     *chat.NLP
	// Event is chat.EventOffload where the bot hands the conversation over to a
	// human, and empty else. From the next message on it runs no more, until
	// somebody resumes it.
	Event string
	// Details are what the bot says about the event: JSON, or nil.
	Details json.RawMessage
}

// Answer is what a bot made of a turn.
type Answer struct {
	Outputs []Output
	Session Session
	// Warnings are what the messages exceed of Messenger's limits.
	Warnings []string
}

// Bot answers turns. Respond must not change turn; it may be called
// concurrently. An error is temporary and retried, unless it is a
// *RefusedError; a *FailedError says more of it. A bot that keeps connections is
// an io.Closer too; turns under way go on when it is closed.
type Bot interface {
	Respond(ctx context.Context, turn *Turn) (*Answer, error)
}

// RefusedError says that the bot will never answer this input.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the bot refused the message: " + e.Reason }

// FailedError says why a bot that is asked over a network gave no answer that
// can be used.
type FailedError struct {
	Reason string
	// RetryAfter is how long the bot asked to be left alone, at least.
	RetryAfter time.Duration
	Status     int    // HTTP status; 0 where there was no answer
	Excerpt    []byte // the answer's beginning
	Kind       string // what failed, as a word from a fixed list
}

func (e *FailedError) Error() string { return e.Reason }
