package ops

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/wire"
)

// tracer puts together what is known of one message.
type tracer struct {
	id    string
	snap  *registry.Snapshot
	trace Trace
	// isAnswer says that the id is a bot message's; answers are the ids of bot
	// messages that may be the way's, known those that are.
	isAnswer bool
	answers  map[string]bool
	known    []string

	seen     map[happening]bool
	runs     int // of the bot
	outcomes map[place]*TraceOutcome
	waiting  []*lane.Found
}

// happening tells one event from others, where several sources know of it.
type happening struct {
	what        Happening
	message     string
	destination string
	ms          int64
}

// place is a message at a destination.
type place struct {
	stage                chat.Stage
	message, destination string
}

func newTracer(id string, snap *registry.Snapshot) *tracer {
	return &tracer{
		id: id, snap: snap, known: []string{id}, answers: map[string]bool{}, seen: map[happening]bool{}, outcomes: map[place]*TraceOutcome{},
		trace: Trace{MessageID: id, Events: []TraceEvent{}, Waiting: []TraceWaiting{}, Outcomes: []TraceOutcome{}, Notes: []string{}},
	}
}

func (t *tracer) note(text string) { t.trace.Notes = append(t.trace.Notes, text) }

// guess makes the ids that the answers to the message have, if it was accepted
// then: where its turn is not recorded nothing else tells them.
func (t *tracer) guess(at time.Time, key chat.ConversationKey) {
	if at.IsZero() {
		return
	}
	for i := range maxAnswers {
		t.answers[chat.BotMessageID(at, key, t.id, i)] = true
	}
	for _, event := range []string{chat.EventUserMessage, chat.EventOffload} {
		t.answers[chat.EventID(at, key, event, t.id)] = true
	}
}

// wants is for what waits.
func (t *tracer) wants(user *chat.UserMessage, bot *chat.BotMessage) bool {
	if user != nil {
		return user.ID == t.id
	}
	return bot.ID == t.id || bot.InputID == t.id || t.answers[bot.ID]
}

// messages are the ids of the messages that are known to be on the way.
func (t *tracer) messages() []string { return t.known[:min(len(t.known), maxAnswers+1)] }

// entry adds what the journal has.
func (t *tracer) entry(e *journal.Entry) {
	switch {
	case e.Turn != nil:
		t.turn(e.Turn)
	case e.Delivery != nil:
		t.delivery(e.Delivery)
	case e.Unreadable != nil:
		t.note("an entry of the journal can't be read, and may be missing here")
	}
}

func (t *tracer) turn(turn *chat.Turn) {
	t.trace.NoBodies = t.trace.NoBodies || turn.NoBodies
	t.accepted(&turn.Input)
	if turn.Input.ID != t.id {
		t.isAnswer, t.trace.InputID = true, turn.Input.ID
	}
	e := TraceEvent{
		At: turn.At, What: HappenedBot, MessageID: turn.Input.ID, Destination: turn.BotID, Outcome: turn.Outcome,
		DurationMS: new(turn.Duration.Milliseconds()),
	}
	if a := turn.Attempt; a != nil {
		e.Status, e.Error, e.Excerpt = a.Status, a.Error, textOf(a.Excerpt)
	} else if turn.Outcome != chat.OutcomeProcessed && turn.Outcome != chat.OutcomeFailed {
		e.What, e.DurationMS = HappenedEnd, nil
	}
	if e.What == HappenedBot {
		if t.runs++; t.runs == 1 {
			e.WaitedMS = new(max(0, turn.At.Sub(turn.Input.AcceptedAt).Milliseconds()))
		}
	}
	t.add(e)
	t.became(place{chat.StageUser, turn.Input.ID, turn.BotID}, turn.Outcome, turn.At.Add(turn.Duration))
	for i := range turn.Output {
		t.said(&turn.Output[i])
	}
}

func (t *tracer) accepted(m *chat.UserMessage) {
	t.trace.ChannelID, t.trace.ConversationID = m.ChannelID, m.ConversationID
	e := TraceEvent{At: m.AcceptedAt, What: HappenedAccepted, MessageID: m.ID}
	if len(m.Input.Body) > 0 {
		e.Message = inputOf(m)
	}
	t.add(e)
}

// said adds a bot message, unless another one was asked for.
func (t *tracer) said(m *chat.BotMessage) {
	if t.isAnswer && m.ID != t.id {
		return
	}
	t.answers[m.ID] = true
	t.trace.ChannelID, t.trace.ConversationID = m.ChannelID, m.ConversationID
	if m.ID == t.id {
		t.isAnswer, t.trace.InputID = true, m.InputID
	}
	t.knows(m.ID)
	e := TraceEvent{At: m.CreatedAt, What: HappenedMessage, MessageID: m.ID, Destination: m.BotID, Message: valid(m.Message)}
	if m.Event == chat.EventMessage {
		e.MessageCounter = m.Ordinal.Counter
	} else {
		e.Event = m.Event
	}
	t.add(e)
}

func (t *tracer) knows(id string) {
	if !slices.Contains(t.known, id) {
		t.known = append(t.known, id)
	}
}

func (t *tracer) delivery(d *chat.Delivery) {
	t.trace.ChannelID, t.trace.ConversationID = d.ChannelID, d.ConversationID
	t.trace.NoBodies = t.trace.NoBodies || d.NoBodies
	t.isAnswer = t.isAnswer || d.MessageID == t.id
	t.knows(d.MessageID)
	if d.Attempt != nil {
		t.attempt(&TraceEvent{
			What: HappenedAttempt, MessageID: d.MessageID, Destination: d.EndpointID, Number: d.AttemptNumber,
			Outcome: d.Outcome, Reason: d.Reason, Replay: d.Replay,
		}, d.Attempt)
	} else {
		t.add(TraceEvent{At: d.At, What: HappenedEnd, MessageID: d.MessageID, Destination: d.EndpointID, Outcome: d.Outcome, Reason: d.Reason, Replay: d.Replay})
	}
	t.became(place{chat.StageBot, d.MessageID, d.EndpointID}, d.Outcome, d.At)
}

// attempt adds what came of an attempt.
func (t *tracer) attempt(e *TraceEvent, a *chat.Attempt) {
	e.At, e.DurationMS, e.Status, e.Error, e.Excerpt = a.At, new(a.Duration.Milliseconds()), a.Status, a.Error, textOf(a.Excerpt)
	t.add(*e)
}

// add adds an event unless it is known.
func (t *tracer) add(e TraceEvent) {
	e.At = e.At.UTC()
	h := happening{e.What, e.MessageID, e.Destination, e.At.UnixMilli()}
	if e.What == HappenedAccepted || e.What == HappenedMessage {
		h.destination, h.ms = "", 0
	}
	if !t.seen[h] {
		t.seen[h] = true
		t.trace.Events = append(t.trace.Events, e)
	}
}

// became notes what became of a message; the latest counts, which a replay may
// have made.
func (t *tracer) became(p place, outcome chat.Outcome, at time.Time) {
	if outcome == chat.OutcomeRetry {
		return
	}
	if former := t.outcomes[p]; former == nil || !at.Before(former.At) {
		t.outcomes[p] = &TraceOutcome{MessageID: p.message, Stage: p.stage, Destination: p.destination, Outcome: outcome, At: at.UTC()}
	}
}

// found adds what waits.
func (t *tracer) found(f *lane.Found) {
	t.waiting = append(t.waiting, f)
	message, what := "", HappenedAttempt
	if f.User != nil {
		t.accepted(f.User)
		message, what = f.User.ID, HappenedBot
	} else {
		t.said(f.Bot)
		message = f.Bot.ID
	}
	if f.State != nil {
		t.attempts(what, message, t.laneOf(f, f.Group).Destination, f.State.Attempts, f.State.AttemptCount)
	}
}

// attempts adds the latest of so many.
func (t *tracer) attempts(what Happening, message, destination string, latest []chat.Attempt, count int) {
	for i := range latest {
		t.attempt(&TraceEvent{
			What: what, MessageID: message, Destination: destination, Number: max(count-len(latest), 0) + i + 1, Outcome: chat.OutcomeRetry,
		}, &latest[i])
	}
}

func (t *tracer) laneOf(f *lane.Found, group string) Lane {
	p := lane.Parked{Stage: f.Stage, ID: lane.ID{Group: group}, State: f.State}
	if f.User != nil {
		p.ID.Key = f.User.Key()
	} else {
		p.ID.Key = f.Bot.Key()
	}
	return laneOf(&p, t.snap)
}

// dead adds a dead letter.
func (t *tracer) dead(d *chat.DeadLetter) {
	if t.trace.ChannelID == "" {
		t.trace.ChannelID, t.trace.ConversationID = d.ChannelID, d.ConversationID
	}
	what := HappenedAttempt
	if d.Stage == chat.StageUser {
		what = HappenedBot
		if m, err := wire.DecodeUserMessage(d.Data); err == nil && m.ID == t.id {
			t.accepted(m)
		}
	} else if m, err := wire.DecodeBotMessage(d.Data); err == nil {
		t.said(m)
	}
	t.attempts(what, d.MessageID, d.Destination, d.Attempts, d.AttemptCount)
	t.add(TraceEvent{At: d.DiedAt, What: HappenedDeadLetter, MessageID: d.MessageID, Destination: d.Destination, Reason: d.Reason, Error: d.Error})
	p := place{d.Stage, d.MessageID, d.Destination}
	if t.outcomes[p] == nil {
		t.became(p, chat.OutcomeDead, d.DiedAt)
	}
}

// done returns the trace; nil where nothing is known.
func (t *tracer) done() *Trace {
	for _, f := range t.waiting {
		t.waits(f)
	}
	if len(t.trace.Events) == 0 && len(t.trace.Waiting) == 0 {
		return nil
	}
	if t.trace.NoBodies {
		t.note("what was said was not recorded (--journal-bodies=false)")
	}
	slices.SortStableFunc(t.trace.Events, func(a, b TraceEvent) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(rank[a.What], rank[b.What]))
	})
	for _, o := range t.outcomes {
		t.trace.Outcomes = append(t.trace.Outcomes, *o)
	}
	slices.SortFunc(t.trace.Outcomes, func(a, b TraceOutcome) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.MessageID, b.MessageID), strings.Compare(a.Destination, b.Destination))
	})
	return &t.trace
}

// rank is the order of what happened within a millisecond.
var rank = map[Happening]int{HappenedBot: 1, HappenedMessage: 2, HappenedAttempt: 3, HappenedEnd: 4, HappenedDeadLetter: 5}

// waits adds a message that waits, at each destination for which it does.
func (t *tracer) waits(f *lane.Found) {
	if f.User != nil {
		t.waitsFor(f, cmp.Or(f.Group, f.User.ChannelID), f.User.ID)
		return
	}
	if f.Group != "" {
		t.waitsFor(f, f.Group, f.Bot.ID)
		return
	}
	for _, e := range t.snap.EndpointsOf(f.Bot.ChannelID) {
		if e.Wants(f.Bot.Event) && !t.parkedAt(f.Bot.ID, e.ID) {
			t.waitsFor(f, e.ID, f.Bot.ID)
		}
	}
}

func (t *tracer) parkedAt(message, endpoint string) bool {
	return slices.ContainsFunc(t.waiting, func(f *lane.Found) bool {
		return f.Group == endpoint && f.Bot != nil && f.Bot.ID == message
	})
}

// waitsFor leaves out what has come to its end since: a message is removed from
// its stream a moment later.
func (t *tracer) waitsFor(f *lane.Found, group, message string) {
	l := t.laneOf(f, group)
	if o := t.outcomes[place{f.Stage, message, l.Destination}]; o != nil && !o.At.Before(f.At) {
		return
	}
	w := TraceWaiting{
		MessageID: message, Stage: f.Stage, Destination: l.Destination, Since: f.At.UTC(), Ahead: f.Ahead,
		AttemptCount: l.AttemptCount, DueAt: l.DueAt, Held: l.Held, Closed: l.Closed, LastError: l.LastError,
	}
	if f.Group != "" {
		w.Lane = l.ID
	}
	t.trace.Waiting = append(t.trace.Waiting, w)
}

// inputOf shows a user message as the contract spells it; nil for one that
// can't be shown.
func inputOf(m *chat.UserMessage) json.RawMessage {
	if !json.Valid(m.Input.Body) {
		return nil
	}
	body, err := json.Marshal(map[chat.InputKind]json.RawMessage{m.Input.Kind: m.Input.Body})
	if err != nil {
		return nil
	}
	return body
}

func valid(body json.RawMessage) json.RawMessage {
	if !json.Valid(body) {
		return nil
	}
	return body
}

func textOf(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }
