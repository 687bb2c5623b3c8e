package botworker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
)

// turn is what came of a user message.
type turn struct {
	outputs []bot.Output
	state   bot.Session
	paused  bool
	ran     bool // the bot did
	// warnings are the bot's about its messages.
	warnings []string
	// messages, variables and user are what of that is stored, as JSON.
	messages        []encoded
	variables, user json.RawMessage
}

// encoded is a bot's output as it is stored.
type encoded struct{ message, nlp json.RawMessage }

// respond applies what the message sets from outside, then runs the bot where
// it is to run.
func (h *handler) respond(ctx context.Context, b bot.Bot, um *chat.UserMessage, rec *chat.Session) (*turn, error) {
	t, err := begin(um, rec)
	if err != nil {
		return nil, err
	}
	runs := !t.paused
	if um.Input.Kind == chat.InputActions {
		if runs, err = t.act(um.Input.Body); err != nil {
			return nil, err
		}
	}
	if !runs {
		return t, t.encode()
	}
	limited, cancel := context.WithTimeoutCause(ctx, h.Timeout, silentError(h.Timeout))
	defer cancel()
	answer, err := b.Respond(limited, &bot.Turn{
		ChannelID: um.ChannelID, ConversationID: um.ConversationID, Input: um.Input, Session: t.state, First: rec == nil,
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && limited.Err() != nil {
		return nil, context.Cause(limited)
	}
	if err != nil {
		return nil, fmt.Errorf("the bot failed: %w", err)
	}
	t.outputs = append(t.outputs, answer.Outputs...)
	t.state, t.warnings, t.ran = answer.Session, answer.Warnings, true
	return t, t.encode()
}

// silentError says that the bot did not answer in that time.
type silentError time.Duration

func (e silentError) Error() string {
	return "the bot did not answer within " + time.Duration(e).String()
}

// errInvalid means that a message will never be of use, which ingest should
// have found.
var errInvalid = errors.New("the message can't be used")

// encode fails where the bot made something that JSON can't hold.
func (t *turn) encode() (err error) {
	if t.variables, err = object(t.state.Variables); err != nil {
		return fmt.Errorf("the session's variables: %w", err)
	}
	if t.user, err = object(t.state.User); err != nil {
		return fmt.Errorf("the session's user: %w", err)
	}
	t.messages = make([]encoded, 0, len(t.outputs))
	for i := range t.outputs {
		var e encoded
		if e.message, err = json.Marshal(t.outputs[i].Message); err != nil {
			return fmt.Errorf("the bot's message: %w", err)
		}
		if nlp := t.outputs[i].NLP; nlp != nil {
			if e.nlp, err = json.Marshal(nlp); err != nil {
				return fmt.Errorf("the bot's nlp: %w", err)
			}
		}
		t.messages = append(t.messages, e)
	}
	return nil
}

// begin is the turn's state before the bot: the session with what the message
// sets.
func begin(um *chat.UserMessage, rec *chat.Session) (*turn, error) {
	t := &turn{state: bot.Session{Variables: map[string]any{}}}
	if rec != nil {
		t.paused = rec.Paused
		t.state.Dialog, t.state.Locale = rec.Dialog, rec.Locale
		if err := merge(&t.state.Variables, rec.Variables); err != nil {
			return nil, fmt.Errorf("the session's variables: %w", err)
		}
		if err := merge(&t.state.User, rec.User); err != nil {
			return nil, fmt.Errorf("the session's user: %w", err)
		}
	}
	if um.Locale != "" {
		t.state.Locale = um.Locale
	}
	if err := merge(&t.state.Variables, um.SessionData); err != nil {
		return nil, fmt.Errorf("%w: sessionData: %w", errInvalid, err)
	}
	if err := merge(&t.state.User, um.User); err != nil {
		return nil, fmt.Errorf("%w: user: %w", errInvalid, err)
	}
	return t, nil
}

// act carries out actions from outside; it reports whether the bot has to run:
// to go to a dialog state, which it does though it be paused, since that was
// asked for.
func (t *turn) act(body json.RawMessage) (runs bool, err error) {
	var a chat.Actions
	if err := json.Unmarshal(body, &a); err != nil {
		return false, fmt.Errorf("%w: actions: %w", errInvalid, err)
	}
	if err := merge(&t.state.Variables, a.SessionData); err != nil {
		return false, fmt.Errorf("%w: sessionData: %w", errInvalid, err)
	}
	t.paused = (t.paused || a.PauseBot) && !a.ResumeBot
	for _, m := range a.SendMessages {
		t.outputs = append(t.outputs, bot.Output{Message: m})
	}
	return a.NextDialogstate != "", nil
}

// merge sets an object's members in a map.
func merge(into *map[string]any, object json.RawMessage) error {
	if len(object) == 0 {
		return nil
	}
	var members map[string]any
	if err := json.Unmarshal(object, &members); err != nil {
		return fmt.Errorf("not a JSON object: %w", err)
	}
	if len(*into) == 0 && members != nil {
		*into = members
		return nil
	}
	if *into == nil {
		*into = map[string]any{}
	}
	maps.Copy(*into, members)
	return nil
}

// session is the record after the turn, its outbox still without messages. The
// epoch of a new one is its creation in ms, by the later of the two clocks, this
// machine's and the broker's, so that it is above the epoch of a session that is
// lost. The input's time never falls.
func (t *turn) session(place chat.Ordinal, um *chat.UserMessage, rec *chat.Session, now time.Time) *chat.Session {
	next := &chat.Session{
		ChannelID: um.ChannelID, ConversationID: um.ConversationID,
		Epoch: uint64(max(now.UnixMilli(), place.InputAt)),
	}
	if rec != nil {
		next.Epoch, next.Counter, next.LastInputAt = rec.Epoch, rec.Counter, rec.LastInputAt
	}
	next.LastInputSeq, next.LastInputID = place.Counter, um.ID
	next.LastInputAt = max(next.LastInputAt, place.InputAt)
	next.Dialog, next.Locale, next.Paused = t.state.Dialog, t.state.Locale, t.paused
	next.Variables, next.User = t.variables, t.user
	return next
}

func object(m map[string]any) (json.RawMessage, error) {
	if len(m) == 0 {
		return nil, nil
	}
	return json.Marshal(m)
}

// stamp numbers the turn's messages and puts them into the outbox.
func stamp(next *chat.Session, key chat.ConversationKey, um *chat.UserMessage, revision uint64, messages []encoded, now time.Time) {
	if len(messages) > 0 {
		next.LastOutput = make([]chat.BotMessage, 0, len(messages))
	}
	for i := range messages {
		next.Counter++
		m := chat.BotMessage{
			ID:        chat.BotMessageID(um.AcceptedAt, key, um.ID, i),
			ChannelID: um.ChannelID, ConversationID: um.ConversationID, BotID: next.BotID,
			Ordinal: chat.Ordinal{Epoch: next.Epoch, Counter: next.Counter, InputAt: next.LastInputAt},
			InputID: um.ID, CreatedAt: time.UnixMilli(now.UnixMilli()), ExpiresAt: um.ExpiresAt, ConfigRevision: revision,
			Event: chat.EventMessage, Message: messages[i].message, NLP: messages[i].nlp, Traceparent: um.Traceparent,
		}
		next.LastOutput = append(next.LastOutput, m)
	}
}
