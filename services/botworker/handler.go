package botworker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Reasons for which the bot stage gives a user message up at once.
const (
	reasonChannelRemoved = "channel_removed"
	reasonBotRemoved     = "bot_removed"
	reasonRefused        = "refused"
	reasonSessionFull    = "session_too_large"
)

// handler is the bot stage's lane.Handler. A lane's group is the channel, its
// destination the channel's bot.
type handler struct {
	Options
	schedule retry.Schedule
	bots     bots
	sessions *cache
	turns    *prometheus.HistogramVec
}

func newHandler(o Options) *handler {
	h := &handler{
		Options: o, schedule: retry.Default(), bots: bots{build: o.NewBot},
		sessions: newCache(o.Sessions),
		turns: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parley_bot_turn_seconds", Help: "Time that a bot took for a turn, by result.",
			Buckets: []float64{.0001, .001, .005, .025, .1, .5, 1, 5, 30},
		}, []string{"result"}),
	}
	o.Metrics.MustRegister(h.turns)
	for _, result := range []string{"answered", "failed", "refused"} {
		h.turns.WithLabelValues(result)
	}
	return h
}

// Route implements lane.Handler.
func (h *handler) Route(ctx context.Context, m *lane.Message) ([]lane.Target, error) {
	t, err := h.target(m)
	if err != nil {
		return nil, err
	}
	if err := h.Directory.WaitRevision(ctx, t.Content.(*chat.UserMessage).ConfigRevision); err != nil { //nolint:errcheck,forcetypeassert // made by target
		return nil, fmt.Errorf("waiting for the configuration: %w", err)
	}
	return []lane.Target{t}, nil
}

// Restore implements lane.Handler.
func (h *handler) Restore(m *lane.Message, _ string) (lane.Target, error) { return h.target(m) }

func (h *handler) target(m *lane.Message) (lane.Target, error) {
	um, err := wire.DecodeUserMessage(m.Data)
	if err != nil {
		return lane.Target{}, err
	}
	return lane.Target{
		Lane:      lane.ID{Group: um.ChannelID, Key: um.Key()},
		Place:     chat.Ordinal{Counter: m.Seq, InputAt: m.Time.UnixMilli()},
		ChannelID: um.ChannelID, ConversationID: um.ConversationID, MessageID: um.ID,
		Content: um,
	}, nil
}

// Destination implements lane.Handler.
func (h *handler) Destination(channelID string) string {
	if c, ok := h.Directory.Snapshot().Channel(channelID); ok {
		return c.BotID
	}
	return ""
}

// Policy implements lane.Handler.
func (h *handler) Policy(string) lane.Policy { return lane.Policy{Schedule: h.schedule} }

// Ended implements lane.Handler; turns are journalled where they happen.
func (h *handler) Ended(t *lane.Task, _ *chat.Attempt, outcome chat.Outcome) {
	if outcome != chat.OutcomeDead {
		return
	}
	um := t.Content.(*chat.UserMessage) //nolint:errcheck,forcetypeassert // made by target
	h.Journal.Turn(&chat.Turn{At: time.Now(), Input: *um, BotID: t.Destination, Outcome: outcome})
}

// Handle implements lane.Handler: one turn.
func (h *handler) Handle(ctx context.Context, t *lane.Task) lane.Verdict {
	um := t.Content.(*chat.UserMessage) //nolint:errcheck,forcetypeassert // made by target
	rec, revision, err := h.sessions.load(ctx, t.Lane.Key)
	if err != nil {
		return lane.Stall(err)
	}
	if rec != nil && (chat.Ordinal{Counter: rec.LastInputSeq, InputAt: rec.LastInputAt}).Covers(t.Place) {
		return h.again(ctx, t, rec)
	}
	b, verdict, ok := h.botOf(um)
	if !ok {
		return verdict
	}
	started := time.Now()
	turn, err := h.respond(ctx, b, um, rec)
	took := time.Since(started)
	if err != nil {
		return h.failed(ctx, err, took)
	}
	h.turns.WithLabelValues("answered").Observe(took.Seconds())
	next := turn.session(t.Place, um, rec, started)
	next.BotID = t.Destination
	stamp(next, um, t.Destination, h.Directory.Snapshot().Revision(), turn.messages, started)
	if err := h.sessions.save(ctx, t.Lane.Key, next, revision); err != nil {
		if errors.Is(err, session.ErrTooLarge) {
			return lane.Dead(reasonSessionFull, err)
		}
		return lane.Stall(err)
	}
	if err := h.publish(ctx, t.Lane.Key, next.LastOutput); err != nil {
		return lane.Stall(err)
	}
	h.Journal.Turn(&chat.Turn{
		At: started, Input: *um, Output: next.LastOutput, BotID: t.Destination, Duration: took,
		Outcome: chat.OutcomeProcessed,
	})
	return lane.Done()
}

// again settles a message that the session knows: the last one's output may
// not have been published yet.
func (h *handler) again(ctx context.Context, t *lane.Task, rec *chat.Session) lane.Verdict {
	if rec.LastInputID != t.MessageID {
		return lane.Done()
	}
	if err := h.publish(ctx, t.Lane.Key, rec.LastOutput); err != nil {
		return lane.Stall(err)
	}
	return lane.Done()
}

// botOf finds the message's bot; where ok is false the verdict says why not.
func (h *handler) botOf(um *chat.UserMessage) (b bot.Bot, v lane.Verdict, ok bool) {
	snapshot := h.Directory.Snapshot()
	channel, ok := snapshot.Channel(um.ChannelID)
	if !ok {
		return nil, lane.Dead(reasonChannelRemoved, fmt.Errorf("channel %s does not exist any more", um.ChannelID)), false
	}
	config, ok := snapshot.Bot(channel.BotID)
	if !ok {
		return nil, lane.Dead(reasonBotRemoved, fmt.Errorf("bot %s does not exist any more", channel.BotID)), false
	}
	b, err := h.bots.get(config)
	if err != nil {
		return nil, lane.Retry(0, fmt.Errorf("bot %s can't be used: %w", config.ID, err)), false
	}
	return b, lane.Verdict{}, true
}

func (h *handler) failed(ctx context.Context, err error, took time.Duration) lane.Verdict {
	if ctx.Err() != nil { // cut off, not failed
		return lane.Stall(err)
	}
	if refused, ok := errors.AsType[*bot.RefusedError](err); ok {
		h.turns.WithLabelValues("refused").Observe(took.Seconds())
		return lane.Dead(reasonRefused, refused)
	}
	h.turns.WithLabelValues("failed").Observe(took.Seconds())
	return lane.Retry(0, err)
}

// publish publishes a turn's messages, each after the broker has the one before.
func (h *handler) publish(ctx context.Context, key chat.ConversationKey, output []chat.BotMessage) error {
	for i := range output {
		m := &output[i]
		data, err := wire.EncodeBotMessage(m)
		if err != nil {
			return fmt.Errorf("encoding bot message %s: %w", m.ID, err)
		}
		subject := topology.HotSubject(chat.StageBot, key.Partition(h.Partitions), m.ChannelID, key)
		if _, err := h.Publisher.Publish(ctx, broker.Message{Subject: subject, Data: data}); err != nil {
			return err
		}
	}
	return nil
}
