package botworker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/tracing"
)

// turn is what came of a user message.
type turn struct {
	outputs []bot.Output
	state   bot.Session
	paused  bool
	ran     bool // the bot did
	// fellBack says that the bot did not, and its fallback was said.
	fellBack bool
	// offloaded says that the bot has handed the conversation over.
	offloaded bool
	// warnings are the bot's about its messages.
	warnings []string
	// messages, variables and user are what of that is stored, as JSON.
	messages        []encoded
	variables, user json.RawMessage
}

// encoded is a bot's message, or an event, as it is stored.
type encoded struct {
	event        string
	message, nlp json.RawMessage
}

// turn applies what the message sets from outside, then runs the bot where it
// is to run, or falls back where the message is given up.
func (h *handler) turn(ctx context.Context, config *chat.Bot, task *lane.Task, rec *chat.Session, span tracing.Span) (*turn, error) {
	um := inputOf(task)
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
	switch {
	case !runs:
	case task.GivenUp != "":
		err = t.fallBack(config)
	default:
		err = h.respond(ctx, config, task, rec, t, span)
	}
	if err != nil {
		return nil, err
	}
	return t, t.encode(um)
}

// respond runs the bot.
func (h *handler) respond(ctx context.Context, config *chat.Bot, task *lane.Task, rec *chat.Session, t *turn, span tracing.Span) error {
	b, err := h.bots.get(config)
	if err != nil {
		return fmt.Errorf("bot %s can't be used: %w", config.ID, err)
	}
	um := inputOf(task)
	asked := &bot.Turn{
		MessageID: um.ID, Attempt: task.Number, Replay: task.Message.ReplayID(), Traceparent: span.Traceparent(task.Traceparent), Span: span,
		ChannelID: um.ChannelID, ConversationID: um.ConversationID, Input: um.Input, Session: t.state, First: rec == nil,
	}
	if rec != nil {
		asked.Counter = rec.Counter
	}
	limit := h.Timeout
	if own := config.Timeout.Std(); own > 0 {
		limit = max(limit, own+time.Second) // the bot's own, which it keeps itself, ends first
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, silentError(limit))
	defer cancel()
	answer, err := b.Respond(limited, asked)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && limited.Err() != nil {
		return context.Cause(limited)
	}
	if err != nil {
		return fmt.Errorf("the bot failed: %w", err)
	}
	t.outputs = append(t.outputs, answer.Outputs...)
	t.state, t.warnings, t.ran = answer.Session, answer.Warnings, true
	return nil
}

// fallBack says what the bot's configuration has for a bot that fails.
func (t *turn) fallBack(config *chat.Bot) error {
	if config.Fallback == "" {
		return fmt.Errorf("bot %s has no fallback any more", config.ID)
	}
	t.outputs = append(t.outputs, bot.Output{Message: chat.Message{Text: config.Fallback}})
	t.fellBack = true
	return nil
}

// silentError says that the bot did not answer in that time.
type silentError time.Duration

func (e silentError) Error() string {
	return "the bot did not answer within " + time.Duration(e).String()
}

// errInvalid means that a message will never be of use, which ingest should
// have found.
var errInvalid = errors.New("the message can't be used")

// errEvent means that a bot made an event that is not a bot's to make.
var errEvent = errors.New("the bot made an event that it can't: a bot has " + chat.EventOffload)

// encode fails where the bot made something that JSON can't hold.
func (t *turn) encode(um *chat.UserMessage) (err error) {
	if t.variables, err = object(t.state.Variables); err != nil {
		return fmt.Errorf("the session's variables: %w", err)
	}
	if t.user, err = object(t.state.User); err != nil {
		return fmt.Errorf("the session's user: %w", err)
	}
	t.messages = make([]encoded, 0, len(t.outputs))
	for i := range t.outputs {
		switch out := &t.outputs[i]; {
		case out.Event == "":
			err = t.say(out)
		case out.Event != chat.EventOffload:
			err = fmt.Errorf("%w, not %q", errEvent, out.Event)
		case !t.offloaded:
			err = t.offload(um, out.Details)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *turn) say(out *bot.Output) (err error) {
	e := encoded{event: chat.EventMessage}
	if e.message, err = json.Marshal(out.Message); err != nil {
		return fmt.Errorf("the bot's message: %w", err)
	}
	if out.NLP != nil {
		if e.nlp, err = json.Marshal(out.NLP); err != nil {
			return fmt.Errorf("the bot's nlp: %w", err)
		}
	}
	t.messages = append(t.messages, e)
	return nil
}

// offload hands the conversation over to a human, once a turn.
func (t *turn) offload(um *chat.UserMessage, details json.RawMessage) error {
	data, err := json.Marshal(chat.OffloadData{ConversationID: um.ConversationID, MessageID: um.ID, Details: details})
	if err != nil {
		return fmt.Errorf("the offload's details: %w", err)
	}
	t.messages = append(t.messages, encoded{event: chat.EventOffload, message: data})
	t.offloaded, t.paused = true, true
	return nil
}

// output is what leaves the turn: what the bot said, behind the user's message;
// of events those that an endpoint asks for.
func (t *turn) output(um *chat.UserMessage, wants func(event string) bool) ([]encoded, error) {
	out := slices.DeleteFunc(t.messages, func(e encoded) bool { return e.event != chat.EventMessage && !wants(e.event) })
	if um.Input.Kind == chat.InputActions || !wants(chat.EventUserMessage) {
		return out, nil
	}
	data, err := json.Marshal(chat.DataOf(um, !t.ran))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	return slices.Insert(out, 0, encoded{event: chat.EventUserMessage, message: data}), nil
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
// lost; that of one that was erased is known. The input's time never falls.
func (t *turn) session(place chat.Ordinal, um *chat.UserMessage, rec *chat.Session, now time.Time) *chat.Session {
	next := &chat.Session{
		ChannelID: um.ChannelID, ConversationID: um.ConversationID,
		Epoch: uint64(max(now.UnixMilli(), place.InputAt)),
	}
	if rec != nil {
		if rec.Erased() {
			next.Epoch = max(next.Epoch, rec.Epoch+1)
		} else {
			next.Epoch, next.Counter = rec.Epoch, rec.Counter
		}
		next.LastInputAt = rec.LastInputAt
		next.LastPlaceAt = max(rec.LastPlaceAt, rec.LastInputAt)
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

// stamp numbers the turn's messages, gives its events a time of their own in
// place of a number, and puts all into the outbox.
func stamp(next *chat.Session, key chat.ConversationKey, um *chat.UserMessage, traceparent string, revision uint64, output []encoded, now time.Time) {
	if len(output) > 0 {
		next.LastOutput = make([]chat.BotMessage, 0, len(output))
	}
	messages := 0
	for i := range output {
		m := chat.BotMessage{
			ChannelID: um.ChannelID, ConversationID: um.ConversationID, BotID: next.BotID,
			InputID: um.ID, CreatedAt: time.UnixMilli(now.UnixMilli()), ExpiresAt: um.ExpiresAt, Supersede: um.Supersede, ConfigRevision: revision,
			Event: output[i].event, Message: output[i].message, NLP: output[i].nlp, Traceparent: traceparent,
		}
		if m.Event == chat.EventMessage {
			m.ID = chat.BotMessageID(um.AcceptedAt, key, um.ID, messages)
			messages++
			next.Counter++
		} else {
			m.ID = chat.EventID(um.AcceptedAt, key, m.Event, um.ID)
			next.LastPlaceAt++
		}
		next.LastPlaceAt = max(next.LastPlaceAt, next.LastInputAt)
		m.Ordinal = chat.Ordinal{Epoch: next.Epoch, Counter: next.Counter, InputAt: next.LastPlaceAt}
		next.LastOutput = append(next.LastOutput, m)
	}
	if next.LastPlaceAt <= next.LastInputAt {
		next.LastPlaceAt = 0 // the usual; it takes no room
	}
}
