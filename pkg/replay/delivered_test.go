package replay

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// records is a turn of a conversation with two messages, and what came of them at
// two endpoints.
func (r *rig) records(conversation string, n uint64, change ...func(*chat.Turn)) (ids []string) {
	r.Helper()
	key := chat.KeyOf("shop", conversation)
	at := time.Now().UTC().Truncate(time.Millisecond)
	input := chat.UserMessage{
		ID: chat.NewMessageID(at, key, n), ChannelID: "shop", ConversationID: conversation, AcceptedAt: at,
		Input: chat.Input{Kind: chat.InputText, Body: []byte(`"hi"`)},
	}
	turn := &chat.Turn{At: at, Input: input, BotID: "bot", Outcome: chat.OutcomeProcessed}
	for i := range uint64(2) {
		m := chat.BotMessage{
			ID: chat.BotMessageID(at, key, input.ID, int(i)), ChannelID: "shop", ConversationID: conversation, BotID: "bot", InputID: input.ID, CreatedAt: at,
			Ordinal: chat.Ordinal{Epoch: 1, Counter: 2*n - 1 + i, InputAt: at.UnixMilli()}, Event: chat.EventMessage, Message: []byte(`{"text":"hi"}`),
		}
		turn.Output = append(turn.Output, m)
		ids = append(ids, m.ID)
	}
	for _, c := range change {
		c(turn)
	}
	data, err := wire.EncodeTurn(turn)
	require.NoError(r, err)
	r.journal(conversation, data)
	for _, m := range turn.Output {
		for _, d := range []chat.Delivery{
			{EndpointID: "ep", Outcome: chat.OutcomeRetry},
			{EndpointID: "ep", Outcome: chat.OutcomeDelivered},
			{EndpointID: "ep", Outcome: chat.OutcomeDelivered},
			{EndpointID: "other", Outcome: chat.OutcomeDead},
		} {
			d.At, d.ChannelID, d.ConversationID, d.MessageID, d.Ordinal = at, "shop", conversation, m.ID, m.Ordinal
			data, err := wire.EncodeDelivery(&d)
			require.NoError(r, err)
			r.journal(conversation, data)
		}
	}
	return ids
}

func (r *rig) journal(conversation string, data []byte) {
	r.Helper()
	_, err := r.conn.Publish(r.Context(), broker.Message{Subject: topology.JournalSubject("shop", chat.KeyOf("shop", conversation)), Data: data})
	require.NoError(r, err)
}

func all(endpoint string) *Delivered {
	return &Delivered{EndpointID: endpoint, Since: time.Now().Add(-time.Hour)}
}

// What an endpoint has confirmed is sent again, once each, in order, to it alone.
func TestDelivered(t *testing.T) {
	r := newRig(t)
	want := map[string][]string{}
	for n := uint64(1); n <= 5; n++ {
		for _, c := range []string{"a", "b"} {
			want[c] = append(want[c], r.records(c, n)...)
		}
	}
	runner, _ := r.process("p1")
	p, err := runner.Preview(t.Context(), Job{Action: Replay, Delivered: all("ep")})
	require.NoError(t, err)
	require.Equal(t, &Preview{Total: 20}, p)
	j := r.create(runner, Job{Action: Replay, Delivered: all("ep")})
	require.Equal(t, j.CreatedAt, j.Delivered.Until, "what is delivered from now on is not meant")
	j = r.ended(j.ID)
	require.Equal(t, Done, j.State, j.Error)
	require.Equal(t, Progress{Counted: true, Total: 20, Done: 20}, j.Progress)
	hot := r.hot(chat.StageBot)
	for c, ids := range want {
		require.Len(t, hot[c], len(ids))
		for i, s := range hot[c] {
			require.Equal(t, []string{ids[i], j.ID, "ep"}, []string{s.id, s.replay, s.to})
			require.NotEmpty(t, s.place)
		}
	}

	j = r.ended(r.create(runner, Job{Action: Replay, Delivered: &Delivered{
		EndpointID: "ep", Since: time.Now().Add(-time.Hour), ChannelID: "shop", ConversationID: "b",
	}}).ID)
	require.EqualValues(t, 10, j.Done)
	require.Len(t, r.hot(chat.StageBot)["a"], 10)
	require.Len(t, r.hot(chat.StageBot)["b"], 20)
}

// Where the journal doesn't hold what is asked for, the job says so and sends
// nothing, unless what there is will do.
func TestDeliveredIsNotAllThere(t *testing.T) {
	r := newRig(t)
	r.records("a", 1)
	r.records("a", 2, func(t *chat.Turn) { t.NoBodies = true })
	runner, _ := r.process("p1")
	j := r.ended(r.create(runner, Job{Action: Replay, Delivered: all("ep")}).ID)
	require.Equal(t, Failed, j.State)
	require.Contains(t, j.Error, "the journal holds 2 of 4 messages that were delivered: 2 are recorded without what was said (--journal-bodies=false), 0 have a turn")
	require.Empty(t, r.hot(chat.StageBot))
	p, err := runner.Preview(t.Context(), Job{Action: Replay, Delivered: all("ep")})
	require.NoError(t, err)
	require.Equal(t, &Preview{Total: 4, Left: 2, Refused: j.Error}, p)

	some := all("ep")
	some.Partial = true
	j = r.ended(r.create(runner, Job{Action: Replay, Delivered: some}).ID)
	require.Equal(t, Done, j.State)
	require.Equal(t, Progress{Counted: true, Total: 4, Done: 2, Left: 2}, j.Progress)

	for _, endpoint := range []string{"other", "none"} { // nothing was confirmed there
		j = r.ended(r.create(runner, Job{Action: Replay, Delivered: all(endpoint)}).ID)
		require.Equal(t, Failed, j.State)
		require.Contains(t, j.Error, "the journal has no delivery to this endpoint in that time")
	}

	stream, err := r.conn.JS.Stream(t.Context(), topology.StreamJournal)
	require.NoError(t, err)
	require.NoError(t, stream.DeleteMsg(t.Context(), 1)) // the first turn, by age
	j = r.ended(r.create(runner, Job{Action: Replay, Delivered: all("ep")}).ID)
	require.Equal(t, Failed, j.State)
	require.Contains(t, j.Error, "the journal begins at")
	j = r.ended(r.create(runner, Job{Action: Replay, Delivered: some}).ID)
	require.Equal(t, Progress{Counted: true, Total: 4, Left: 4}, j.Progress)
}

func TestBadDelivered(t *testing.T) {
	now := time.Now()
	for want, j := range map[string]Job{
		"use no other action": {Action: Discard, Reason: "x", Delivered: all("ep")},
		"leave filter":        {Action: Replay, Messages: []string{"m"}, Delivered: all("ep")},
		"which endpoint":      {Action: Replay, Delivered: &Delivered{Since: now}},
		"since when":          {Action: Replay, Delivered: &Delivered{EndpointID: "ep"}},
		"give its channel":    {Action: Replay, Delivered: &Delivered{EndpointID: "ep", Since: now, ConversationID: "a"}},
		"ends before":         {Action: Replay, Delivered: &Delivered{EndpointID: "ep", Since: now, Until: now}},
	} {
		require.ErrorContains(t, j.Validate(), want, fmt.Sprint(j))
	}
}
