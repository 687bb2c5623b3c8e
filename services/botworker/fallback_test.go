package botworker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/retry"
)

// configure makes the rig's bot an http bot, by its configuration; it answers
// as the rig's script says all the same.
func (r *rig) configure(change func(*chat.Bot)) {
	r.t.Helper()
	b := chat.Bot{ID: botID, Kind: registry.BotHTTP, URL: "https://example.com/turn"}
	change(&b)
	_, _, err := r.registry.PutBot(r.t.Context(), b, registry.Present)
	require.NoError(r.t, err)
}

// giveUp has a message handled for the last time.
func (r *rig) giveUp(m *lane.Message) string {
	r.t.Helper()
	task := r.task(m)
	task.GivenUp = lane.ReasonExhausted
	return r.h.Handle(r.t.Context(), task).String()
}

func broken(context.Context, *bot.Turn) (*bot.Answer, error) { return nil, errors.New("boom") }

func TestFallbackInPlaceOfTheBot(t *testing.T) {
	r := newRig(t)
	r.configure(func(b *chat.Bot) { b.Fallback = "Sorry, not now." })
	require.Equal(t, "done", r.handle(r.said("c1", "hello")))
	r.faults.take(t)
	r.bot.script = broken
	second := r.said("c1", "and?", func(um *chat.UserMessage) { um.SessionData = []byte(`{"from":"web"}`) })
	require.Contains(t, r.handle(second), "retry")
	runs := r.bot.runs()

	require.Equal(t, "done", r.giveUp(second))
	data, got := r.faults.take(t)
	require.Equal(t, []string{"Sorry, not now."}, texts(t, got))
	require.EqualValues(t, 3, got[0].Ordinal.Counter, "numbered as what the bot says")
	require.Equal(t, runs, r.bot.runs(), "the bot isn't asked again")
	last := r.journal.turns[len(r.journal.turns)-1]
	require.Equal(t, chat.OutcomeFailed, last.Outcome)
	require.Len(t, last.Output, 1)
	require.EqualValues(t, 1, testutil.ToFloat64(r.h.metrics.fallbacks))

	r.restart() // it was cut off before it was settled
	require.Equal(t, "done", r.giveUp(second))
	again, _ := r.faults.take(t)
	require.Equal(t, data, again)
	require.Zero(t, testutil.ToFloat64(r.h.metrics.fallbacks), "said once, whoever asks")

	r.bot.script = nil
	require.Equal(t, "done", r.handle(r.said("c1", "better?")))
	require.Equal(t, map[string]any{"from": "web"}, r.bot.last().Session.Variables, "what the message set is kept")
	require.EqualValues(t, 3, r.bot.last().Counter)
}

func TestFallbackForActions(t *testing.T) {
	r := newRig(t)
	r.configure(func(b *chat.Bot) { b.Fallback = "Sorry." })
	require.Equal(t, "done", r.giveUp(r.ordered("c1", `{"sendMessages":[{"text":"From us"}],"nextDialogstate":"menu"}`)))
	_, got := r.faults.take(t)
	require.Equal(t, []string{"From us", "Sorry."}, texts(t, got))
}

// What has no fallback (any more) becomes a dead letter, and so the verdict is
// not done.
func TestNoFallback(t *testing.T) {
	r := newRig(t)
	require.False(t, r.h.Policy(botID).LastWord)
	require.Contains(t, r.giveUp(r.said("c1", "hello")), "has no fallback any more")
	data, _ := r.faults.take(t)
	require.Empty(t, data)
	require.Zero(t, r.bot.runs())
}

// A bot that can't even be made has its fallback too.
func TestFallbackOfABotThatCanNotBeMade(t *testing.T) {
	r := newRig(t)
	r.configure(func(b *chat.Bot) { b.Fallback = "Sorry." })
	r.h.bots.build = func(*chat.Bot, bot.Bot) (bot.Bot, error) { return nil, errors.New("its address is not allowed") }
	m := r.said("c1", "hello")
	require.Contains(t, r.handle(m), "its address is not allowed")
	require.Equal(t, "done", r.giveUp(m))
}

// What is given up has had its attempts: a pause since then keeps it from nothing
// but further ones. One that expires has none.
func TestFallbackAndThePause(t *testing.T) {
	for name, pause := range map[string]func(r *rig) error{
		"bot": func(r *rig) error {
			r.configure(func(b *chat.Bot) { b.Fallback, b.Paused = "Sorry.", "moving" })
			return nil
		},
		"channel": func(r *rig) error {
			r.configure(func(b *chat.Bot) { b.Fallback = "Sorry." })
			_, err := r.registry.PutChannel(t.Context(), chat.Channel{ID: channel, BotID: botID, Paused: "moving"}, registry.Present)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			require.NoError(t, pause(r))
			m := r.said("c1", "hello")
			require.Contains(t, r.handle(m), "paused")
			require.Equal(t, "expired", r.h.Expire(t.Context(), r.task(r.said("c2", "hello"))).String())
			data, _ := r.faults.take(t)
			require.Empty(t, data)
			require.Equal(t, "done", r.giveUp(m))
			_, got := r.faults.take(t)
			require.Equal(t, []string{"Sorry."}, texts(t, got))
			require.Zero(t, r.bot.runs())
		})
	}
}

func TestPolicyIsTheBots(t *testing.T) {
	r := newRig(t)
	require.Equal(t, lane.Policy{Schedule: r.h.Schedule}, r.h.Policy(botID))
	require.Equal(t, lane.Policy{Schedule: r.h.Schedule}, r.h.Policy("nobody"))
	r.configure(func(b *chat.Bot) {
		b.Retry, b.MaxInFlight, b.Fallback = []chat.Duration{chat.Duration(time.Second), chat.Duration(time.Minute)}, 7, "Sorry."
		b.Paused = "moving"
	})
	require.Equal(t, lane.Policy{Schedule: retry.Schedule{time.Second, time.Minute}, MaxInFlight: 7, LastWord: true, Closed: "moving"}, r.h.Policy(botID))
}

func TestBotIsToldOfTheAttempt(t *testing.T) {
	r := newRig(t)
	require.Equal(t, "done", r.handle(r.said("c1", "hello")))
	first := r.bot.last()
	require.Equal(t, 1, first.Attempt)
	require.Zero(t, first.Counter)
	require.Empty(t, first.Replay)

	task := r.task(r.said("c1", "again"))
	task.Number, task.Message.Replay = 3, &lane.Replay{ID: "rpl_1"}
	require.Equal(t, "done", r.h.Handle(t.Context(), task).String())
	got, um := r.bot.last(), inputOf(task)
	require.Equal(t, []any{um.ID, 3, "rpl_1", um.Traceparent, uint64(2)}, []any{got.MessageID, got.Attempt, got.Replay, got.Traceparent, got.Counter})
}

// How a bot failed stands in the attempt's record, and it is left alone for as
// long as it asks to be.
func TestFailureOfARemoteBot(t *testing.T) {
	r := newRig(t)
	failed := &bot.FailedError{Reason: "HTTP 503 Service Unavailable", Status: 503, RetryAfter: time.Minute, Excerpt: []byte("later")}
	r.bot.script = func(context.Context, *bot.Turn) (*bot.Answer, error) { return nil, failed }
	got := r.h.Handle(t.Context(), r.task(r.said("c1", "hello")))
	want := lane.Retry(time.Minute, fmt.Errorf("the bot failed: %w", failed)).With(lane.Detail{Status: 503, Excerpt: []byte("later")})
	require.Equal(t, want, got)
}

// A bot with a longer time-out of its own than the stage has gets it, and ends
// first.
func TestBotsOwnTimeout(t *testing.T) {
	r := newRig(t)
	r.h.Timeout = time.Second
	r.configure(func(b *chat.Bot) { b.Timeout = chat.Duration(40 * time.Second) })
	r.bot.script = func(ctx context.Context, turn *bot.Turn) (*bot.Answer, error) {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.Greater(t, time.Until(deadline), 40*time.Second)
		return says(turn, "hi"), nil
	}
	require.Equal(t, "done", r.handle(r.said("c1", "hello")))
}
