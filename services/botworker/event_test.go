package botworker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/event"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/ledger"
	"github.com/parleyhq/parley/pkg/registry"
)

// asks stores an endpoint of the channel that asks for these events.
func (r *rig) asks(events ...string) {
	r.t.Helper()
	_, _, err := r.registry.PutEndpoint(r.t.Context(), chat.Endpoint{
		ID: "desk", ChannelID: channel, URL: "https://example.com/desk", Events: events, VerifyToken: "t",
		Sending: chat.Sending{Secrets: []chat.Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}},
	}, registry.Any)
	require.NoError(r.t, err)
}

func events(messages []*chat.BotMessage) []string {
	var out []string
	for _, m := range messages {
		out = append(out, m.Event)
	}
	return out
}

func TestUserMessageStandsBeforeItsAnswers(t *testing.T) {
	r := newRig(t)
	hello := r.said("c1", "hello", func(um *chat.UserMessage) { um.User, um.Locale = []byte(`{"firstName":"Ann"}`), "nl" })
	um := r.task(hello).Content.(*chat.UserMessage)
	require.Equal(t, "done", r.handle(hello))
	_, unasked := r.faults.take(t)
	require.Equal(t, []string{chat.EventMessage, chat.EventMessage}, events(unasked), "nobody asks for it: nothing more is published")

	r.asks(chat.EventUserMessage)
	more := r.said("c1", "more")
	require.Equal(t, "done", r.handle(more))
	_, got := r.faults.take(t)
	require.Equal(t, []string{chat.EventUserMessage, chat.EventMessage, chat.EventMessage}, events(got))
	var counters []uint64
	for _, m := range got {
		counters = append(counters, m.Ordinal.Counter)
		require.Equal(t, more.Time.UnixMilli(), m.Ordinal.InputAt)
		require.Equal(t, r.registry.Snapshot().Revision(), m.ConfigRevision)
	}
	require.Equal(t, []uint64{2, 3, 4}, counters, "it takes no number")
	asked := r.task(more).Content.(*chat.UserMessage)
	require.Equal(t, chat.BotMessageID(asked.AcceptedAt, asked.Key(), asked.ID, 0), got[1].ID, "the bot's ids are what they are without it")
	require.NotContains(t, []string{got[1].ID, got[2].ID}, got[0].ID)

	r.asks(chat.EventMessage, chat.EventUserMessage)
	again := *hello
	again.Replay, again.Seq = &lane.Replay{ID: "replay1"}, more.Seq+1
	require.Equal(t, "done", r.handle(&again))
	_, got = r.faults.take(t)
	require.JSONEq(t, `{"conversationId":"c1","messageId":"`+um.ID+`","acceptedAt":"`+um.AcceptedAt.UTC().Format(time.RFC3339Nano)+`",
		"message":{"textMessage":{"text":"hello"}},"user":{"firstName":"Ann"},"locale":"nl"}`, string(got[0].Message))
	require.Empty(t, got[0].NLP)
}

func TestUserMessageOfASilentBot(t *testing.T) {
	r := newRig(t)
	r.asks(chat.EventUserMessage)
	r.bot.script = func(_ context.Context, turn *bot.Turn) (*bot.Answer, error) { return says(turn), nil }
	require.Equal(t, "done", r.handle(r.said("c1", "anybody?")))
	_, got := r.faults.take(t)
	require.Equal(t, []string{chat.EventUserMessage}, events(got))
	require.Zero(t, got[0].Ordinal.Counter)
	require.NotContains(t, string(got[0].Message), "botPaused")

	require.Equal(t, "done", r.handle(r.ordered("c1", `{"pauseBot":true,"sendMessages":[{"text":"a person here"}]}`)))
	_, got = r.faults.take(t)
	require.Equal(t, []string{chat.EventMessage}, events(got), "an order from outside is no user's message")
	require.EqualValues(t, 1, got[0].Ordinal.Counter)

	require.Equal(t, "done", r.handle(r.said("c1", "thanks")))
	_, got = r.faults.take(t)
	require.Equal(t, []string{chat.EventUserMessage}, events(got))
	require.Contains(t, string(got[0].Message), `"botPaused":true`)
}

func TestUserMessageIsRepublishedAsItWas(t *testing.T) {
	r := newRig(t)
	r.asks(chat.EventUserMessage)
	m := r.said("c1", "hello")
	require.Equal(t, "done", r.handle(m))
	before, _ := r.faults.take(t)
	require.Len(t, before, 3)
	r.asks(chat.EventMessage) // what left the outbox once leaves it the same
	for _, cold := range []bool{false, true} {
		if cold {
			r.restart()
		}
		require.Equal(t, "done", r.handle(m))
		data, _ := r.faults.take(t)
		require.Equal(t, before, data)
	}
	require.Equal(t, 1, r.bot.runs())
}

// TestTurnsOfOneMillisecond: each turn's event has a place of its own, also when
// the session was loaded anew in between, or nobody asked for a while.
func TestTurnsOfOneMillisecond(t *testing.T) {
	r := newRig(t)
	r.bot.script = func(_ context.Context, turn *bot.Turn) (*bot.Answer, error) { return says(turn), nil }
	at := time.UnixMilli(1_700_000_000_000)
	var mark chat.Ordinal
	for i, asked := range []bool{true, true, false, true, true} {
		if asked {
			r.asks(chat.EventUserMessage)
		} else {
			r.asks(chat.EventMessage)
		}
		r.restart()
		m := r.said("c1", "hi")
		m.Time = at
		require.Equal(t, "done", r.handle(m))
		_, got := r.faults.take(t)
		if !asked {
			require.Empty(t, got)
			continue
		}
		require.Len(t, got, 1)
		require.False(t, mark.Covers(got[0].Ordinal), "the event of turn %d", i)
		mark = ledger.Advance(mark, got[0].Ordinal)
	}
	require.EqualValues(t, at.UnixMilli(), r.session("c1").LastInputAt, "the fence knows real times only")
	require.EqualValues(t, at.UnixMilli()+3, r.session("c1").LastPlaceAt)
	late := r.said("c1", "hi")
	late.Time = at.Add(time.Second)
	require.Equal(t, "done", r.handle(late))
	_, got := r.faults.take(t)
	require.Equal(t, late.Time.UnixMilli(), got[0].Ordinal.InputAt)
	require.Zero(t, r.session("c1").LastPlaceAt)
}

// TestPlacesOnlyRise: whatever comes of whichever turns, a lane's mark covers
// what was before, and nothing that comes; and messages count 1, 2, 3.
func TestPlacesOnlyRise(t *testing.T) {
	key := chat.KeyOf(channel, "c1")
	rapid.Check(t, func(t *rapid.T) {
		var rec *chat.Session
		var mark chat.Ordinal
		var before []chat.Ordinal
		at, counter := int64(1_700_000_000_000), uint64(0)
		for seq := range uint64(rapid.IntRange(1, 12).Draw(t, "turns")) {
			at += int64(rapid.IntRange(-2, 2).Draw(t, "later")) // the clock may go back
			um := &chat.UserMessage{ID: chat.NewMessageID(time.UnixMilli(at), key, seq), ChannelID: channel, ConversationID: "c1"}
			var output []encoded
			for range rapid.IntRange(0, 4).Draw(t, "outputs") {
				output = append(output, encoded{event: rapid.SampledFrom([]string{chat.EventMessage, chat.EventUserMessage}).Draw(t, "event")})
			}
			next := (&turn{}).session(chat.Ordinal{Counter: seq + 1, InputAt: at}, um, rec, time.UnixMilli(at))
			stamp(next, key, um, um.Traceparent, 1, output, time.UnixMilli(at))
			for _, m := range next.LastOutput {
				if m.Event == chat.EventMessage {
					counter++
				}
				if m.Ordinal.Counter != counter || mark.Covers(m.Ordinal) {
					t.Fatalf("%s at %+v, with the mark at %+v and %d messages", m.Event, m.Ordinal, mark, counter)
				}
				mark = ledger.Advance(mark, m.Ordinal)
				before = append(before, m.Ordinal)
			}
			for _, o := range before {
				if !mark.Covers(o) {
					t.Fatalf("%+v does not cover %+v", mark, o)
				}
			}
			rec = next
		}
	})
}

// TestDeadUserMessageIsTold: by its reason, not by what Parley or the bot said.
func TestDeadUserMessageIsTold(t *testing.T) {
	r := newRig(t)
	task := r.task(r.said("c1", "hello"))
	task.GivenUp = reasonRefused
	r.h.Ended(task, &chat.Attempt{Error: "dial tcp 10.0.0.5"}, chat.OutcomeDead)
	for _, o := range []chat.Outcome{chat.OutcomeProcessed, chat.OutcomeRetry, chat.OutcomeExpired} {
		r.h.Ended(task, nil, o)
	}
	require.Len(t, r.events.events, 1)
	got := r.events.events[0]
	require.WithinDuration(t, time.Now(), got.At, time.Minute)
	got.At = time.Time{}
	require.Equal(t, event.Event{
		Kind: chat.EventDeadLetterCreated, ChannelID: channel, MessageID: task.MessageID, ConversationID: "c1", Reason: reasonRefused,
	}, got)
}

// TestOffload: the bot hands over between its messages, and says no more until it
// is resumed.
func TestOffload(t *testing.T) {
	offload := func(details string) bot.Output {
		return bot.Output{Event: chat.EventOffload, Details: []byte(details)}
	}
	r := newRig(t)
	r.bot.script = func(_ context.Context, turn *bot.Turn) (*bot.Answer, error) {
		a := says(turn, "a colleague will help you", "one moment")
		a.Outputs = []bot.Output{a.Outputs[0], offload(`{"queue":"sales"}`), a.Outputs[1], offload(`{"queue":"twice"}`)}
		return a, nil
	}
	require.Equal(t, "done", r.handle(r.said("c0", "a human, please")))
	_, got := r.faults.take(t)
	require.Equal(t, []string{chat.EventMessage, chat.EventMessage}, events(got), "nobody asks for it")
	require.True(t, r.session("c0").Paused, "handed over it is all the same")

	r.asks(chat.EventOffload, chat.EventMessage, chat.EventUserMessage)
	m := r.said("c1", "a human, please")
	require.Equal(t, "done", r.handle(m))
	before, got := r.faults.take(t)
	require.Equal(t, []string{chat.EventUserMessage, chat.EventMessage, chat.EventOffload, chat.EventMessage}, events(got))
	require.NotContains(t, string(got[0].Message), "botPaused", "the bot ran")
	require.JSONEq(t, `{"conversationId":"c1","messageId":"`+r.task(m).MessageID+`","details":{"queue":"sales"}}`, string(got[2].Message))
	at, epoch := m.Time.UnixMilli(), r.session("c1").Epoch
	for i, want := range []chat.Ordinal{{Counter: 0, InputAt: at}, {Counter: 1, InputAt: at}, {Counter: 1, InputAt: at + 1}, {Counter: 2, InputAt: at + 1}} {
		want.Epoch = epoch
		require.Equal(t, want, got[i].Ordinal, "%d", i)
	}
	require.Len(t, map[string]bool{got[0].ID: true, got[1].ID: true, got[2].ID: true, got[3].ID: true}, 4)
	r.restart()
	require.Equal(t, "done", r.handle(m))
	again, _ := r.faults.take(t)
	require.Equal(t, before, again)

	runs := r.bot.runs()
	require.Equal(t, "done", r.handle(r.said("c1", "hello?")))
	_, got = r.faults.take(t)
	require.Equal(t, []string{chat.EventUserMessage}, events(got))
	require.Equal(t, runs, r.bot.runs(), "a human answers now")
	require.Equal(t, "done", r.handle(r.ordered("c1", `{"resumeBot":true}`)))
	r.bot.script = nil
	require.Equal(t, "done", r.handle(r.said("c1", "thanks")))
	_, got = r.faults.take(t)
	require.Equal(t, []string{"1: thanks", "2: thanks"}, texts(t, got[1:]))
	require.EqualValues(t, 3, got[1].Ordinal.Counter)
}

func TestBotsEventsAreChecked(t *testing.T) {
	r := newRig(t)
	var out bot.Output
	r.bot.script = func(_ context.Context, turn *bot.Turn) (*bot.Answer, error) {
		return &bot.Answer{Session: turn.Session, Outputs: []bot.Output{out}}, nil
	}
	out = bot.Output{Event: chat.EventDeliveryFailed}
	require.Contains(t, r.handle(r.said("c1", "hi")), `a bot has offload, not "delivery.failed"`)
	out = bot.Output{Event: chat.EventOffload, Details: []byte(`{"queue":`)}
	require.Contains(t, r.handle(r.said("c1", "hi")), "the offload's details")
	require.Nil(t, r.session("c1"))
}
