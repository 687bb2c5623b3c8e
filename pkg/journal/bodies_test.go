package journal_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/topology"
)

// What was said is in no byte of what is stored; all else is, and the caller's
// own is as it was.
func TestNoBodies(t *testing.T) {
	const said = "my secret"
	body := json.RawMessage(`{"text":"` + said + `"}`)
	attempt := &chat.Attempt{At: time.UnixMilli(1785240000000).UTC(), Duration: time.Second, Status: 500, Error: "status 500", Excerpt: []byte(said)}
	e := turn("1", "msg_1")
	e.Outcome, e.Attempt = chat.OutcomeFailed, attempt
	e.Input.Input = chat.Input{Kind: chat.InputText, Body: body}
	e.Input.SessionData, e.Input.User, e.Input.Locale = body, body, "nl"
	e.Output = []chat.BotMessage{{
		ID: "msg_2", ChannelID: "shop", ConversationID: "1", InputID: "msg_1", Event: chat.EventMessage,
		Ordinal: chat.Ordinal{Epoch: 1, Counter: 2}, Message: body, NLP: body,
	}}
	d := delivery("1", 3, chat.OutcomeRetry)
	d.Attempt = attempt

	conn := brokertest.New(t)
	w, _, stop := start(t, conn, journal.Options{NoBodies: true})
	w.Turn(e)
	w.Delivery(d)
	stop()
	require.Equal(t, body, e.Output[0].Message)
	require.Equal(t, []byte(said), attempt.Excerpt)

	stream, err := conn.JS.Stream(t.Context(), topology.StreamJournal)
	require.NoError(t, err)
	for seq := range uint64(2) {
		m, err := stream.GetMsg(t.Context(), seq+1, jetstream.WithGetMsgSubject(topology.JournalSubject("shop", chat.KeyOf("shop", "1"))))
		require.NoError(t, err)
		require.NotContains(t, string(m.Data), said)
	}
	got, err := journal.NewReader(conn).Conversation(t.Context(), "shop", chat.KeyOf("shop", "1"), 9)
	require.NoError(t, err)
	wantTurn, wantDelivery, short := *e, *d, *attempt
	short.Excerpt = nil
	wantTurn.NoBodies, wantDelivery.NoBodies = true, true
	wantTurn.Attempt, wantDelivery.Attempt = &short, &short
	wantTurn.Input.Input.Body, wantTurn.Input.SessionData, wantTurn.Input.User = nil, nil, nil
	wantTurn.Output = []chat.BotMessage{e.Output[0]}
	wantTurn.Output[0].Message, wantTurn.Output[0].NLP = nil, nil
	require.Equal(t, []journal.Entry{{Turn: &wantTurn}, {Delivery: &wantDelivery}}, contents(t, got))
}
