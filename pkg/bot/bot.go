// Package bot says what a bot is to Parley: something that answers a turn.
//
// Implementations: echo (says back what it was told) and flow (dialogs from a
// YAML file). A bot keeps nothing between turns: what it must remember is in
// the [Session] that it is given and that the bot stage stores.
package bot

import (
	"context"
	"encoding/json"

	"github.com/parleyhq/parley/pkg/chat"
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
	ChannelID      string
	ConversationID string
	Input          chat.Input
	Session        Session
	// First says that the conversation's session has just begun.
	First bool
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
// *RefusedError.
type Bot interface {
	Respond(ctx context.Context, turn *Turn) (*Answer, error)
}

// RefusedError says that the bot will never answer this input.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the bot refused the message: " + e.Reason }
