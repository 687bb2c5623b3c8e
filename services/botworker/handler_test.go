package botworker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestTurnPublishesNumberedMessages(t *testing.T) {
	r := newRig(t)
	hello := r.said("c1", "hello")
	require.Equal(t, "done", r.handle(hello))
	_, got := r.faults.take(t)
	require.Equal(t, []string{"1: hello", "2: hello"}, texts(t, got))
	um := r.task(hello).Content.(*chat.UserMessage)
	rec := r.session("c1")
	for i, m := range got {
		require.Equal(t, chat.Ordinal{Epoch: rec.Epoch, Counter: uint64(i + 1), InputAt: hello.Time.UnixMilli()}, m.Ordinal)
		require.Equal(t, chat.BotMessageID(um.AcceptedAt, um.Key(), um.ID, i), m.ID)
		require.Equal(t, um.ID, m.InputID)
		require.Equal(t, botID, m.BotID)
		require.Equal(t, um.Traceparent, m.Traceparent)
		require.Equal(t, chat.EventMessage, m.Event)
		require.Equal(t, r.registry.Snapshot().Revision(), m.ConfigRevision)
	}
	require.NotEqual(t, got[0].ID, got[1].ID)
	require.NotZero(t, rec.Epoch)

	require.Equal(t, "done", r.handle(r.said("c1", "again")))
	_, got = r.faults.take(t)
	require.EqualValues(t, 3, got[0].Ordinal.Counter)
	require.EqualValues(t, 4, got[1].Ordinal.Counter)
	require.Equal(t, rec.Epoch, got[0].Ordinal.Epoch)
	require.True(t, r.bot.turns[0].First)
	require.False(t, r.bot.turns[1].First)

	require.Len(t, r.journal.turns, 2)
	require.Equal(t, chat.OutcomeProcessed, r.journal.turns[1].Outcome)
	require.Len(t, r.journal.turns[1].Output, 2)
	require.Equal(t, botID, r.journal.turns[1].BotID)
}

func TestRedeliveryRunsNoBot(t *testing.T) {
	r := newRig(t)
	first, second := r.said("c1", "first"), r.said("c1", "second")
	require.Equal(t, "done", r.handle(first))
	require.Equal(t, "done", r.handle(second))
	before, _ := r.faults.take(t)
	for _, cold := range []bool{false, true} {
		if cold {
			r.restart()
		}
		require.Equal(t, "done", r.handle(first))
		data, _ := r.faults.take(t)
		require.Empty(t, data, "an older input has left long ago")
		require.Equal(t, "done", r.handle(second))
		data, _ = r.faults.take(t)
		require.Equal(t, before[2:], data, "the last input's messages go out once more, byte for byte")
		require.Equal(t, 2, r.bot.runs())
	}
	require.Len(t, r.journal.turns, 2)
}

// TestExpired: a message whose time is up runs no bot, but what it was answered
// before leaves the outbox.
func TestExpired(t *testing.T) {
	r := newRig(t)
	until := time.UnixMilli(1_800_000_000_000).UTC()
	late := func(um *chat.UserMessage) { um.ExpiresAt, um.Supersede = until, true }
	m := r.said("c1", "hello", late)
	require.Equal(t, until, r.task(m).Expires.UTC())
	require.Equal(t, "expired", r.h.Expire(t.Context(), r.task(m)).String())
	require.Zero(t, r.bot.runs())
	require.Nil(t, r.session("c1"))

	require.Equal(t, "done", r.handle(m))
	before, messages := r.faults.take(t)
	require.Equal(t, until, messages[0].ExpiresAt, "what is answered is of no use either")
	require.True(t, messages[0].Supersede, "nor after a later message, where that is asked for")
	for _, cold := range []bool{false, true} {
		if cold {
			r.restart()
		}
		require.Equal(t, "done", r.h.Expire(t.Context(), r.task(m)).String())
		data, _ := r.faults.take(t)
		require.Equal(t, before, data)
	}
	r.faults.publish = func(int) error { return broker.ErrUnavailable }
	require.Contains(t, r.h.Expire(t.Context(), r.task(m)).String(), "stall")
	require.Equal(t, 1, r.bot.runs())
}

func TestRepeatStoredBehindItselfRunsNoBot(t *testing.T) {
	r := newRig(t)
	m := r.said("c1", "hello")
	require.Equal(t, "done", r.handle(m))
	before, _ := r.faults.take(t)
	repeat := *m
	repeat.Seq, repeat.Time = m.Seq+100, m.Time.Add(time.Second)
	require.Equal(t, "done", r.handle(&repeat))
	data, _ := r.faults.take(t)
	require.Equal(t, before, data)
	require.Equal(t, 1, r.bot.runs())

	repeat.Replay = &lane.Replay{ID: "replay1"}
	require.Equal(t, "done", r.handle(&repeat))
	require.Equal(t, 2, r.bot.runs(), "an operator's replay is meant")
}

func TestSaveConflictDecidesAgain(t *testing.T) {
	r := newRig(t)
	require.Equal(t, "done", r.handle(r.said("c1", "one")))
	// Another worker has the conversation meanwhile.
	key := chat.KeyOf(channel, "c1")
	rec, revision, err := r.sessions.Load(t.Context(), key)
	require.NoError(t, err)
	rec.Counter, rec.Variables = 10, []byte(`{"there":true}`)
	_, err = r.sessions.Save(t.Context(), key, rec, revision)
	require.NoError(t, err)
	r.faults.take(t)

	two := r.said("c1", "two")
	require.Contains(t, r.handle(two), "stall: ")
	data, _ := r.faults.take(t)
	require.Empty(t, data, "nothing leaves that is not saved")
	require.Equal(t, "done", r.handle(two))
	_, got := r.faults.take(t)
	require.EqualValues(t, 11, got[0].Ordinal.Counter)
	require.Equal(t, map[string]any{"there": true}, r.bot.last().Session.Variables)
}

func TestOpeningAPartitionForgetsItsSessions(t *testing.T) {
	r := newRig(t)
	require.Equal(t, "done", r.handle(r.said("c1", "one")))
	key := chat.KeyOf(channel, "c1")
	rec, revision, err := r.sessions.Load(t.Context(), key)
	require.NoError(t, err)
	rec.Counter = 10
	_, err = r.sessions.Save(t.Context(), key, rec, revision)
	require.NoError(t, err)

	p := key.Partition(r.h.Partitions)
	_, err = r.h.open(t.Context(), 1-p)
	require.NoError(t, err)
	loads := r.faults.loads
	_, err = r.h.sessions.load(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, loads, r.faults.loads, "the other partition's opening changes nothing")
	_, err = r.h.open(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, "done", r.handle(r.said("c1", "two")))
	require.Equal(t, 2, r.bot.runs(), "the bot doesn't run on a session that another owner has left behind")
}

func TestPublishFailureAfterTheSave(t *testing.T) {
	r := newRig(t)
	r.faults.publish = func(n int) error {
		if n == 1 || n == 2 { // the second message, and the first of the next try
			return broker.ErrFull
		}
		return nil
	}
	m := r.said("c1", "hello")
	require.Contains(t, r.handle(m), "stall: ")
	require.Contains(t, r.handle(m), "stall: ")
	require.Equal(t, "done", r.handle(m))
	data, got := r.faults.take(t)
	require.Equal(t, []string{"1: hello", "1: hello", "2: hello"}, texts(t, got))
	require.Equal(t, data[0], data[1])
	require.Equal(t, 1, r.bot.runs())
	require.Len(t, r.journal.turns, 1, "the turn is journalled though its first publish failed")
}

func TestOutboxLeavesBeforeTheNextTurnReplacesIt(t *testing.T) {
	r := newRig(t)
	r.faults.publish = func(n int) error {
		if n < 2 {
			return broker.ErrUnavailable
		}
		return nil
	}
	require.Contains(t, r.handle(r.said("c1", "one")), "stall: ")
	// That message was taken out of the lane, by an operator for example.
	two := r.said("c1", "two")
	require.Contains(t, r.handle(two), "stall: ")
	require.Equal(t, 1, r.bot.runs())
	require.Equal(t, "done", r.handle(two))
	_, got := r.faults.take(t)
	require.Equal(t, []string{"1: one", "2: one", "1: two", "2: two"}, texts(t, got))
	for i, m := range got {
		require.EqualValues(t, i+1, m.Ordinal.Counter)
	}
}

func TestCountersGoOnOverARestart(t *testing.T) {
	r := newRig(t)
	require.Equal(t, "done", r.handle(r.said("c1", "one")))
	epoch := r.session("c1").Epoch
	r.restart()
	require.Equal(t, "done", r.handle(r.said("c1", "two")))
	_, got := r.faults.take(t)
	require.EqualValues(t, 4, got[3].Ordinal.Counter)
	require.Equal(t, epoch, got[3].Ordinal.Epoch)
}

func TestNewSessionHasAHigherEpoch(t *testing.T) {
	r := newRig(t)
	require.Equal(t, "done", r.handle(r.said("c1", "one")))
	before := r.session("c1").Epoch
	purgeSessions(t, r.conn)
	r.restart()
	// The broker's clock is ahead of this machine's.
	later := r.said("c1", "two")
	later.Time = time.UnixMilli(int64(before) + 60_000)
	require.Equal(t, "done", r.handle(later))
	after := r.session("c1")
	require.Greater(t, after.Epoch, before)
	require.EqualValues(t, 2, after.Counter)
	require.True(t, r.bot.last().First)
}

func purgeSessions(t *testing.T, conn *broker.Conn) {
	t.Helper()
	stream, err := conn.JS.Stream(t.Context(), topology.StreamSessions)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(t.Context()))
}

func TestUnreadableSessionBeginsAnew(t *testing.T) {
	r := newRig(t)
	core, logs := observer.New(zap.ErrorLevel)
	r.log = zap.New(core)
	require.Equal(t, "done", r.handle(r.said("c1", "one", func(um *chat.UserMessage) { um.SessionData = []byte(`{"a":1}`) })))
	before := r.session("c1")
	key := chat.KeyOf(channel, "c1")
	_, err := r.conn.Publish(t.Context(), broker.Message{
		Subject: topology.SessionSubject(key.Partition(r.h.Partitions), key), Data: []byte("\xff\xff"),
	})
	require.NoError(t, err)
	r.restart()
	r.faults.take(t)

	two := r.said("c1", "two")
	two.Time = time.UnixMilli(int64(before.Epoch) + 1)
	r.bot.script = func(context.Context, *bot.Turn) (*bot.Answer, error) { return nil, errors.New("not now") }
	require.Contains(t, r.handle(two), "retry")
	require.Zero(t, testutil.ToFloat64(r.h.metrics.unreadable), "it is counted when it is replaced")
	r.bot.script = nil
	require.Equal(t, "done", r.handle(two))
	_, got := r.faults.take(t)
	require.Greater(t, got[0].Ordinal.Epoch, before.Epoch)
	require.EqualValues(t, 1, got[0].Ordinal.Counter)
	require.True(t, r.bot.last().First)
	require.Empty(t, r.bot.last().Session.Variables)
	require.EqualValues(t, 1, testutil.ToFloat64(r.h.metrics.unreadable))
	require.Equal(t, 1, logs.FilterMessageSnippet("begun anew").Len())
	require.Equal(t, "done", r.handle(r.said("c1", "three")))
	require.EqualValues(t, 1, testutil.ToFloat64(r.h.metrics.unreadable))
}

func TestVerdicts(t *testing.T) {
	r := newRig(t)
	respond := func(a func(*bot.Turn) *bot.Answer, err error) func(context.Context, *bot.Turn) (*bot.Answer, error) {
		return func(_ context.Context, turn *bot.Turn) (*bot.Answer, error) {
			if err != nil {
				return nil, err
			}
			return a(turn), nil
		}
	}
	large := func(turn *bot.Turn) *bot.Answer {
		turn.Session.Variables["large"] = strings.Repeat("x", 300<<10)
		return says(turn, "saved?")
	}
	for _, tc := range []struct {
		name   string
		script func(context.Context, *bot.Turn) (*bot.Answer, error)
		save   error
		change func(*chat.UserMessage)
		want   string
	}{
		{name: "bot fails", script: respond(nil, errors.New("boom")), want: "retry after 0s: the bot failed: boom"},
		{name: "bot refuses", script: respond(nil, &bot.RefusedError{Reason: "no"}), want: "dead, refused: the bot refused the message: no"},
		{name: "bot refuses, wrapped", script: respond(nil, fmt.Errorf("x: %w", &bot.RefusedError{Reason: "no"})), want: "dead, refused: "},
		{name: "session too large", script: respond(large, nil), want: "dead, session_too_large: "},
		{name: "bot makes what JSON can't hold", script: respond(func(turn *bot.Turn) *bot.Answer {
			turn.Session.Variables["f"] = func() {}
			return says(turn)
		}, nil), want: "retry after 0s: the session's variables: "},
		{name: "bot makes what can't be stored", script: respond(func(turn *bot.Turn) *bot.Answer {
			turn.Session.Locale = "\xff"
			return says(turn, "hi")
		}, nil), want: "retry after 0s: saving the session: "},
		{name: "store is full", save: broker.ErrFull, want: "stall: "},
		{name: "store is away", save: broker.ErrUnavailable, want: "stall: "},
		{name: "fenced", save: broker.ErrConflict, want: "stall: "},
		{name: "session data no object", change: func(um *chat.UserMessage) { um.SessionData = []byte(`[1]`) }, want: "dead, invalid: the message can't be used: sessionData: "},
		{name: "user no object", change: func(um *chat.UserMessage) { um.User = []byte(`"x"`) }, want: "dead, invalid: the message can't be used: user: "},
		{name: "actions no object", change: func(um *chat.UserMessage) {
			um.Input = chat.Input{Kind: chat.InputActions, Body: []byte(`1`)}
		}, want: "dead, invalid: the message can't be used: actions: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.bot.script = tc.script
			r.faults.save = func() error { return tc.save }
			m := r.said(tc.name, "hello")
			if tc.change != nil {
				m = r.said(tc.name, "hello", tc.change)
			}
			require.Contains(t, r.handle(m), tc.want)
			data, _ := r.faults.take(t)
			require.Empty(t, data)
			require.Nil(t, r.session(tc.name))
			require.Empty(t, r.journal.turns)
		})
	}
}

func TestBotThatHangsTimesOut(t *testing.T) {
	r := newRig(t)
	r.h.Timeout = time.Millisecond
	hang := func(ctx context.Context, _ *bot.Turn) (*bot.Answer, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r.bot.script = hang
	require.Equal(t, "retry after 0s: the bot did not answer within 1ms", r.handle(r.said("c1", "hello")))

	// Cut off by this side: it says nothing of the bot.
	r.h.Timeout = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	r.bot.script = func(ctx context.Context, turn *bot.Turn) (*bot.Answer, error) {
		cancel()
		return hang(ctx, turn)
	}
	require.Contains(t, r.h.Handle(ctx, r.task(r.said("c1", "hello"))).String(), "stall: ")
}

func TestRemovedChannelAndBot(t *testing.T) {
	r := newRig(t)
	m := r.said("c1", "hello")
	target, err := r.h.Restore(m, channel)
	require.NoError(t, err)
	_, err = r.registry.DeleteChannel(t.Context(), channel, registry.Present)
	require.NoError(t, err)
	require.Empty(t, r.h.Destination(channel))
	task := &lane.Task{Target: target, Message: m, Number: 1}
	require.Equal(t, "dead, channel_removed: channel shop does not exist any more", r.h.Handle(t.Context(), task).String())
	r.h.Ended(task, nil, chat.OutcomeDead)
	require.Equal(t, chat.OutcomeDead, r.journal.turns[0].Outcome)
	require.Zero(t, r.bot.runs())

	// What can't be asked is not known to be removed.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Contains(t, r.h.Handle(ctx, task).String(), "stall: ")
}

func TestBotThatCanNotBeMade(t *testing.T) {
	r := newRig(t)
	built := 0
	r.h.bots.build = func(*chat.Bot, bot.Bot) (bot.Bot, error) {
		built++
		if built == 1 {
			return nil, errors.New("line 3: no such dialog")
		}
		return r.bot, nil
	}
	m := r.said("c1", "hello")
	require.Equal(t, "retry after 0s: bot pizza can't be used: line 3: no such dialog", r.handle(m))
	require.Contains(t, r.handle(m), "retry")
	require.Equal(t, 1, built, "made once for a configuration")
	_, _, err := r.registry.PutBot(t.Context(), chat.Bot{ID: botID, Kind: registry.BotEcho, Name: "mended"}, registry.Present)
	require.NoError(t, err)
	require.Equal(t, "done", r.handle(m))
	require.Equal(t, 2, built)
	r.h.bots.remove(botID)
	require.Empty(t, r.h.bots.made)
}

func TestWarningsAreLoggedAndCounted(t *testing.T) {
	r := newRig(t)
	core, logs := observer.New(zap.DebugLevel)
	r.log = zap.New(core)
	r.restart()
	r.bot.script = func(_ context.Context, turn *bot.Turn) (*bot.Answer, error) {
		a := says(turn, "hi")
		a.Warnings = []string{"a title has 21 characters of 20", "14 quick replies of 13"}
		return a, nil
	}
	require.Equal(t, "done", r.handle(r.said("c1", "hello")))
	require.EqualValues(t, 2, testutil.ToFloat64(r.h.metrics.warnings))
	require.Equal(t, 2, logs.FilterLevelExact(zap.DebugLevel).FilterField(zap.String("bot", botID)).Len())
	problems, err := testutil.GatherAndLint(r.metrics)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestFailuresAreJournalled(t *testing.T) {
	r := newRig(t)
	task := r.task(r.said("c1", "hello"))
	at := time.UnixMilli(1)
	r.h.Ended(task, &chat.Attempt{At: at, Duration: time.Second, Error: "boom"}, chat.OutcomeRetry)
	r.h.Ended(task, nil, chat.OutcomeProcessed)
	require.Len(t, r.journal.turns, 1, "a processed turn is journalled where it is saved")
	require.Equal(t, chat.OutcomeRetry, r.journal.turns[0].Outcome)
	require.Equal(t, at, r.journal.turns[0].At)
	require.Equal(t, time.Second, r.journal.turns[0].Duration)
}

func TestUndecodableMessage(t *testing.T) {
	r := newRig(t)
	_, err := r.h.Route(t.Context(), &lane.Message{Data: []byte("\xff")})
	require.Error(t, err)
	_, err = r.h.Restore(&lane.Message{Data: []byte("\xff")}, channel)
	require.Error(t, err)
}
