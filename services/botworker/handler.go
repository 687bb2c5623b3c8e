package botworker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/event"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/tracing"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/wire"
)

// Reasons for which the bot stage gives a user message up at once.
const (
	reasonChannelRemoved = "channel_removed"
	reasonBotRemoved     = "bot_removed"
	reasonRefused        = "refused"
	reasonInvalid        = "invalid"
	reasonSessionFull    = "session_too_large"
)

// Kinds of failure of an attempt, beside the reasons above and those of an http bot.
const (
	kindBot    = "bot"    // the bot itself failed
	kindBroker = "broker" // what came of it could not be stored
)

var errPaused = errors.New("the channel or its bot is paused")

// handler is the bot stage's lane.Handler. A lane's group is the channel, its
// destination the channel's bot.
type handler struct {
	Options
	bots     bots
	policies policies
	sessions *cache
	metrics  *metrics
	attempts lane.Attempts
}

func newHandler(o Options) *handler {
	return &handler{
		Options: o, bots: bots{build: o.NewBot}, policies: policies{schedule: o.Schedule, circuit: o.Circuits, made: map[string]madePolicy{}},
		sessions: newCache(o.Sessions), metrics: newMetrics(o.Metrics),
		attempts: lane.Attempts{
			Tracer: o.Tracer, Log: o.Attempts, Stage: chat.StageUser, Destination: "bot",
			Kind: trace.SpanKindConsumer, Span: "process " + string(chat.StageUser),
		},
	}
}

// open opens a partition's store. What is remembered of its sessions may be
// from before another worker had it.
func (h *handler) open(ctx context.Context, partition int) (lane.Store, error) {
	h.sessions.forget(func(key chat.ConversationKey) bool { return key.Partition(h.Partitions) == partition })
	return h.Open(ctx, partition)
}

// Route implements lane.Handler.
func (h *handler) Route(ctx context.Context, m *lane.Message) ([]lane.Target, error) {
	um, err := wire.DecodeUserMessage(m.Data)
	if err != nil {
		return nil, err
	}
	if err := h.Directory.Reach(ctx, um.ConfigRevision); err != nil {
		return nil, err
	}
	return []lane.Target{target(m, um)}, nil
}

// Restore implements lane.Handler.
func (h *handler) Restore(m *lane.Message, _ string) (lane.Target, error) {
	um, err := wire.DecodeUserMessage(m.Data)
	if err != nil {
		return lane.Target{}, err
	}
	return target(m, um), nil
}

func target(m *lane.Message, um *chat.UserMessage) lane.Target {
	return lane.Target{
		Lane:      lane.ID{Group: um.ChannelID, Key: um.Key()},
		Place:     chat.Ordinal{Counter: m.Seq, InputAt: m.Time.UnixMilli()},
		ChannelID: um.ChannelID, ConversationID: um.ConversationID, MessageID: um.ID,
		Created: um.AcceptedAt, Expires: um.ExpiresAt,
		Traceparent: cmp.Or(m.Traceparent, um.Traceparent), Content: um,
	}
}

func inputOf(t *lane.Task) *chat.UserMessage { return t.Content.(*chat.UserMessage) } // made by target

// Destination implements lane.Handler.
func (h *handler) Destination(channelID string) string {
	if c, ok := h.Directory.Snapshot().Channel(channelID); ok {
		return c.BotID
	}
	return ""
}

// Policy implements lane.Handler.
func (h *handler) Policy(botID string) lane.Policy {
	b, ok := h.Directory.Snapshot().Bot(botID)
	if !ok {
		return lane.Policy{Schedule: h.Schedule} // Handle says what to do
	}
	return h.policies.of(b)
}

// Paused implements lane.Handler.
func (h *handler) Paused(channelID string) string {
	if c, ok := h.Directory.Snapshot().Channel(channelID); ok {
		return c.Paused
	}
	return ""
}

// Ended implements lane.Handler: it journals what failed. A turn that was
// saved is journalled then, with what was said.
func (h *handler) Ended(t *lane.Task, a *chat.Attempt, outcome chat.Outcome) {
	if outcome == chat.OutcomeProcessed || outcome == chat.OutcomeFailed || outcome == chat.OutcomeDiscarded {
		return
	}
	turn := &chat.Turn{At: time.Now(), Input: *inputOf(t), BotID: t.Destination, Outcome: outcome}
	if a != nil {
		turn.At, turn.Duration, turn.Attempt = a.At, a.Duration, a
	}
	h.Journal.Turn(turn)
	if outcome == chat.OutcomeDead {
		um := inputOf(t)
		h.Events.Raise(event.Event{
			Kind: chat.EventDeadLetterCreated, ChannelID: um.ChannelID, MessageID: um.ID, ConversationID: um.ConversationID,
			Reason: t.GivenUp, Replay: t.Message.ReplayID(), At: time.Now(),
		})
	}
}

// before is what comes before a turn: the session, and what is still to leave
// its outbox. The turn is not to be made where over is true: the verdict says why.
func (h *handler) before(ctx context.Context, t *lane.Task) (last known, v lane.Verdict, over bool) {
	last, err := h.sessions.load(ctx, t.Lane.Key)
	if err != nil {
		return last, lane.Stall(err), true
	}
	handled := last.handled(t)
	if last.outstanding || handled && last.rec.LastInputID == t.MessageID {
		// Also the outbox of a turn before: it leaves before this turn's replaces it.
		if err := h.republish(ctx, t.Lane.Key, last.rec); err != nil {
			return last, lane.Stall(err), true
		}
	}
	return last, lane.Done().Saying(health.Interrupted), handled
}

// Expire implements lane.Handler.
func (h *handler) Expire(ctx context.Context, t *lane.Task) lane.Verdict {
	if _, v, over := h.before(ctx, t); over {
		return v
	}
	return lane.Expired()
}

// Superseded implements lane.Handler: every input has its turn.
func (h *handler) Superseded(context.Context, *lane.Task) bool { return false }

// Handle implements lane.Handler: one turn, or the fallback of one that is given
// up.
func (h *handler) Handle(ctx context.Context, t *lane.Task) lane.Verdict {
	last, v, over := h.before(ctx, t)
	if over {
		return v
	}
	config, v := h.botOf(ctx, t)
	if config == nil {
		return v
	}
	attempt := h.attempts.Begin(ctx, t)
	h.describe(attempt.Span, t, config)
	v = lane.Panicked()
	defer func() { attempt.End(ctx, &v) }()
	v = h.take(ctx, t, last, config, attempt.Span)
	return v
}

// take makes the turn, and stores and publishes what came of it.
func (h *handler) take(ctx context.Context, t *lane.Task, last known, config *chat.Bot, span tracing.Span) lane.Verdict {
	um, key := inputOf(t), t.Lane.Key
	started := time.Now()
	turn, err := h.turn(ctx, config, t, last.session(), span)
	took := time.Since(started)
	if err != nil {
		return h.failed(ctx, err, took)
	}
	snapshot := h.Directory.Snapshot()
	output, err := turn.output(um, func(event string) bool { return snapshot.Wants(um.ChannelID, event) })
	if err != nil {
		return h.failed(ctx, err, took)
	}
	next := turn.session(t.Place, um, last.rec, started)
	next.BotID = config.ID
	stamp(next, key, um, span.Traceparent(t.Traceparent), snapshot.Revision(), output, started)
	encoded, err := encodeAll(next.LastOutput)
	if err != nil {
		return h.failed(ctx, err, took)
	}
	if err := h.sessions.save(ctx, key, next, last.revision); err != nil {
		return h.unsaved(ctx, err, took)
	}
	h.saved(t, next, turn, last.unreadable, started, took)
	if err := h.publish(ctx, key, next.LastOutput, encoded); err != nil {
		return stalled(err)
	}
	if !turn.ran {
		return lane.Done().Saying(health.Interrupted)
	}
	return lane.Done()
}

// describe says what a turn's span is of.
func (h *handler) describe(span tracing.Span, t *lane.Task, config *chat.Bot) {
	if !span.On() {
		return
	}
	partition := t.Lane.Key.Partition(h.Partitions)
	span.Set(semconv.MessagingSystemKey.String("nats"), semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"),
		semconv.MessagingDestinationName(topology.HotStream(chat.StageUser, partition)), semconv.MessagingDestinationPartitionID(strconv.Itoa(partition)),
		tracing.Bot.String(config.ID), tracing.BotKind.String(config.Kind))
}

// handled reports whether the session has the message behind it: at its place
// or below, or stored a second time right behind itself, as a sender's repeat
// may be.
func (k known) handled(t *lane.Task) bool {
	if k.rec == nil {
		return false
	}
	return k.rec.LastInputID == t.MessageID && t.Message.Replay == nil ||
		(chat.Ordinal{Counter: k.rec.LastInputSeq, InputAt: k.rec.LastInputAt}).Covers(t.Place)
}

// session is what a turn begins with; nil where there is none, or it was erased.
func (k known) session() *chat.Session {
	if k.rec == nil || k.rec.Erased() {
		return nil
	}
	return k.rec
}

// botOf finds the message's bot; where it is nil the verdict says why. The
// configuration is what was confirmed before the turn began, and so before the
// message was accepted: the bot messages are stamped with it.
func (h *handler) botOf(ctx context.Context, t *lane.Task) (*chat.Bot, lane.Verdict) {
	um := inputOf(t)
	snapshot, err := h.Directory.CatchUp(ctx)
	if err != nil {
		return nil, lane.Stall(fmt.Errorf("asking for the newest configuration: %w", err))
	}
	channel, ok := snapshot.Channel(um.ChannelID)
	if !ok {
		return nil, lane.Dead(reasonChannelRemoved, fmt.Errorf("channel %s does not exist any more", um.ChannelID))
	}
	config, ok := snapshot.Bot(channel.BotID) // a snapshot that has the channel has its bot, or never will
	if !ok {
		h.bots.remove(channel.BotID)
		return nil, lane.Dead(reasonBotRemoved, fmt.Errorf("bot %s does not exist any more", channel.BotID))
	}
	// Since the lane was last looked at. What is given up has had its attempts: it
	// ends as it would with a dead letter, paused or not.
	if t.GivenUp == "" && (channel.Paused != "" || config.Paused != "") {
		return nil, lane.Stall(errPaused)
	}
	return config, lane.Verdict{}
}

func (h *handler) failed(ctx context.Context, err error, took time.Duration) lane.Verdict {
	if ctx.Err() != nil { // cut off, not failed
		return lane.Stall(err).With(lane.Detail{Kind: string(webhook.KindInterrupted)})
	}
	if refused, ok := errors.AsType[*bot.RefusedError](err); ok {
		h.metrics.took(resultRefused, took)
		return lane.Dead(reasonRefused, refused).With(lane.Detail{Kind: reasonRefused})
	}
	if errors.Is(err, errInvalid) {
		return lane.Dead(reasonInvalid, err).With(lane.Detail{Kind: reasonInvalid})
	}
	h.metrics.took(resultFailed, took)
	if failed, ok := errors.AsType[*bot.FailedError](err); ok {
		return lane.Retry(failed.RetryAfter, err).With(lane.Detail{Status: failed.Status, Excerpt: failed.Excerpt, Kind: failed.Kind})
	}
	kind := kindBot
	if _, silent := errors.AsType[silentError](err); silent {
		kind = string(webhook.KindTimeout)
	}
	return lane.Retry(0, err).With(lane.Detail{Kind: kind})
}

// stalled is a turn of which the broker did not take what came.
func stalled(err error) lane.Verdict {
	return lane.Stall(err).With(lane.Detail{Kind: kindBroker})
}

// unsaved judges a session that was not saved: the broker's refusals stall,
// and so does the fence, behind which the session is read anew. What is left
// is a session that can't be stored, which is the bot's failure.
func (h *handler) unsaved(ctx context.Context, err error, took time.Duration) lane.Verdict {
	switch {
	case errors.Is(err, session.ErrTooLarge):
		return lane.Dead(reasonSessionFull, err).With(lane.Detail{Kind: reasonSessionFull})
	case errors.Is(err, broker.ErrConflict), errors.Is(err, broker.ErrFull), errors.Is(err, broker.ErrUnavailable):
		return stalled(err)
	}
	return h.failed(ctx, err, took)
}

// saved records a turn that has become durable.
func (h *handler) saved(t *lane.Task, next *chat.Session, turn *turn, unreadable error, started time.Time, took time.Duration) {
	um := inputOf(t)
	if unreadable != nil {
		h.metrics.unreadable.Inc()
		h.Log.Error("a session could not be read and was begun anew", zap.String("channel", um.ChannelID),
			zap.Stringer("conversation", t.Lane.Key), zap.String("message", um.ID), lane.TraceID(t.Traceparent), zap.Error(unreadable))
	}
	for _, warning := range turn.warnings {
		h.metrics.warnings.Inc()
		h.Log.Debug("a bot's message", zap.String("bot", next.BotID), zap.String("input", um.ID), lane.TraceID(t.Traceparent), zap.String("warning", warning))
	}
	outcome := chat.OutcomeProcessed
	switch {
	case turn.fellBack:
		outcome = chat.OutcomeFailed
		h.metrics.fallbacks.Inc()
	case turn.ran:
		h.metrics.took(resultAnswered, took)
	}
	h.Journal.Turn(&chat.Turn{
		At: started, Input: *um, Output: next.LastOutput, BotID: next.BotID, Duration: took,
		Outcome: outcome,
	})
}
