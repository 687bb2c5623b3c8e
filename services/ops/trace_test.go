package ops_test

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
	"github.com/parleyhq/parley/services/ops"
)

// accepted is when the test's message was accepted; what is in the streams is
// stored now.
var accepted = time.UnixMilli(1_700_000_000_000).UTC()

// turnOf is a turn of a conversation in the channel "shop": a user message, and
// what the bot answers after a run of a second.
func turnOf(conversation string, at time.Time, n uint64, answers ...string) *chat.Turn {
	key := chat.KeyOf("shop", conversation)
	in := chat.UserMessage{
		ID: chat.NewMessageID(at, key, n), ChannelID: "shop", ConversationID: conversation, AcceptedAt: at,
		Input: chat.Input{Kind: chat.InputText, Body: json.RawMessage(`{"text":"Hi ` + strconv.FormatUint(n, 10) + `"}`)},
	}
	t := &chat.Turn{At: at.Add(3 * time.Second), Input: in, BotID: "pizza", Duration: time.Second, Outcome: chat.OutcomeProcessed}
	for i, text := range answers {
		t.Output = append(t.Output, chat.BotMessage{
			ID: chat.BotMessageID(at, key, in.ID, i), ChannelID: "shop", ConversationID: conversation, BotID: "pizza", InputID: in.ID,
			Ordinal:   chat.Ordinal{Epoch: 1, Counter: n*10 + uint64(i), InputAt: at.UnixMilli()},
			CreatedAt: at.Add(4 * time.Second), Event: chat.EventMessage, Message: json.RawMessage(`{"text":"` + text + `"}`),
		})
	}
	return t
}

// attemptAt is an attempt at a bot message, so many seconds after the turn.
func attemptAt(m *chat.BotMessage, endpoint string, number, status int, after time.Duration) *chat.Delivery {
	d := &chat.Delivery{
		At: m.CreatedAt.Add(after), ChannelID: m.ChannelID, ConversationID: m.ConversationID, MessageID: m.ID, EndpointID: endpoint,
		Ordinal: m.Ordinal, AttemptNumber: number, Outcome: chat.OutcomeDelivered,
		Attempt: &chat.Attempt{At: m.CreatedAt.Add(after), Duration: 20 * time.Millisecond, Status: status, Excerpt: []byte("answer")},
	}
	if status != 200 {
		d.Outcome, d.Attempt.Error = chat.OutcomeRetry, "status "+strconv.Itoa(status)
	}
	return d
}

// journal records as workers do.
func (a *api) journal(o journal.Options, entries ...any) {
	a.t.Helper()
	w, err := journal.NewWriter(a.conn, o, prometheus.NewRegistry())
	require.NoError(a.t, err)
	for _, e := range entries {
		switch e := e.(type) {
		case *chat.Turn:
			w.Turn(e)
		case *chat.Delivery:
			w.Delivery(e)
		}
	}
	ctx, cancel := context.WithCancel(a.t.Context())
	cancel()
	require.NoError(a.t, w.Run(ctx), "what is queued is written")
}

// hot puts a message into its work queue.
func (a *api) hot(stage chat.Stage, key chat.ConversationKey, data []byte, err error) {
	a.t.Helper()
	require.NoError(a.t, err)
	_, err = a.conn.Publish(a.t.Context(), broker.Message{
		Subject: topology.HotSubject(stage, key.Partition(brokertest.Layout.Partitions), "shop", key), Data: data,
	})
	require.NoError(a.t, err)
}

// shopWithTwoEndpoints configures what the traces are of.
func (a *api) shopWithTwoEndpoints() {
	ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"pizza","kind":"echo"}`})
	ok[ops.Channel](a, 201, request{method: "POST", path: "/channels", body: `{"id":"shop","botId":"pizza"}`})
	for _, id := range []string{"crm", "archive"} {
		ok[ops.Endpoint](a, 201, request{method: "POST", path: "/channels/shop/endpoints", body: `{"id":"` + id + `","url":"https://example.com/hook"}`})
	}
}

func (a *api) trace(id string) ops.Trace {
	a.t.Helper()
	t, _ := ok[ops.Trace](a, 200, request{method: "GET", path: "/messages/" + id + "/trace"})
	return t
}

// line is an event in short.
type line struct {
	after       time.Duration // since the message was accepted
	what        ops.Happening
	destination string
	number      int
	outcome     chat.Outcome
}

func linesOf(t ops.Trace) (lines []line) {
	for _, e := range t.Events {
		lines = append(lines, line{e.At.Sub(accepted), e.What, e.Destination, e.Number, e.Outcome})
	}
	return lines
}

func TestTrace(t *testing.T) {
	a := newAPI(t)
	a.shopWithTwoEndpoints()
	turn := turnOf("anna", accepted, 1, "Hello", "Bye")
	failed := *turn
	failed.At, failed.Output, failed.Outcome = accepted.Add(time.Second), nil, chat.OutcomeRetry
	failed.Attempt = &chat.Attempt{At: failed.At, Duration: time.Second, Status: 502, Error: "status 502"}
	first, second := &turn.Output[0], &turn.Output[1]
	unwanted := &chat.Delivery{At: second.CreatedAt, ChannelID: "shop", ConversationID: "anna", MessageID: second.ID, EndpointID: "archive", Outcome: chat.OutcomeFiltered}
	others := turnOf("anna", accepted.Add(time.Minute), 2, "Other")
	a.journal(journal.Options{},
		// Deliveries are written by another process, and may come before their turn.
		attemptAt(first, "crm", 1, 503, time.Second), &failed, turn, attemptAt(first, "crm", 2, 200, 9*time.Second), attemptAt(first, "archive", 1, 200, 2*time.Second),
		unwanted, others, attemptAt(&others.Output[0], "crm", 1, 200, time.Second))

	// The second waits behind another one at "crm", with the lane's state of that.
	store, err := lane.NewJetStream(t.Context(), a.conn, chat.StageBot, first.Key().Partition(brokertest.Layout.Partitions))
	require.NoError(t, err)
	for seq, m := range []*chat.BotMessage{&others.Output[0], second} {
		data, err := wire.EncodeBotMessage(m)
		require.NoError(t, err)
		_, err = store.Append(t.Context(), lane.ID{Group: "crm", Key: m.Key()}, &lane.Message{Seq: uint64(seq + 1), Time: accepted, Data: data})
		require.NoError(t, err)
	}

	got := a.trace(turn.Input.ID)
	require.Equal(t, "anna", got.ConversationID)
	require.Equal(t, "shop", got.ChannelID)
	require.Empty(t, got.InputID)
	require.Empty(t, got.Notes)
	require.Equal(t, []line{
		{0, ops.HappenedAccepted, "", 0, ""},
		{time.Second, ops.HappenedBot, "pizza", 0, chat.OutcomeRetry},
		{3 * time.Second, ops.HappenedBot, "pizza", 0, chat.OutcomeProcessed},
		{4 * time.Second, ops.HappenedMessage, "pizza", 0, ""},
		{4 * time.Second, ops.HappenedMessage, "pizza", 0, ""},
		{4 * time.Second, ops.HappenedEnd, "archive", 0, chat.OutcomeFiltered},
		{5 * time.Second, ops.HappenedAttempt, "crm", 1, chat.OutcomeRetry},
		{6 * time.Second, ops.HappenedAttempt, "archive", 1, chat.OutcomeDelivered},
		{13 * time.Second, ops.HappenedAttempt, "crm", 2, chat.OutcomeDelivered},
	}, linesOf(got))
	require.JSONEq(t, `{"textMessage":{"text":"Hi 1"}}`, string(got.Events[0].Message))
	require.Equal(t, "status 502", got.Events[1].Error)
	require.EqualValues(t, 1000, *got.Events[1].WaitedMS)
	require.Nil(t, got.Events[2].WaitedMS, "it has waited once")
	require.EqualValues(t, 1000, *got.Events[2].DurationMS)
	require.JSONEq(t, `{"text":"Hello"}`, string(got.Events[3].Message))
	require.EqualValues(t, 11, got.Events[4].MessageCounter)
	require.Equal(t, 503, got.Events[6].Status)
	require.Equal(t, "answer", got.Events[6].Excerpt)
	require.Equal(t, []ops.TraceWaiting{{
		MessageID: second.ID, Stage: chat.StageBot, Destination: "crm", Since: accepted, Ahead: 1,
		Lane: "bot.crm." + first.Key().String(),
	}}, got.Waiting)
	require.Len(t, got.Outcomes, 4)
	require.Equal(t, ops.TraceOutcome{MessageID: first.ID, Stage: chat.StageBot, Destination: "crm", Outcome: chat.OutcomeDelivered, At: accepted.Add(13 * time.Second)}, got.Outcomes[3])

	got = a.trace(first.ID)
	require.Equal(t, turn.Input.ID, got.InputID)
	require.Equal(t, []line{
		{0, ops.HappenedAccepted, "", 0, ""},
		{3 * time.Second, ops.HappenedBot, "pizza", 0, chat.OutcomeProcessed},
		{4 * time.Second, ops.HappenedMessage, "pizza", 0, ""},
		{5 * time.Second, ops.HappenedAttempt, "crm", 1, chat.OutcomeRetry},
		{6 * time.Second, ops.HappenedAttempt, "archive", 1, chat.OutcomeDelivered},
		{13 * time.Second, ops.HappenedAttempt, "crm", 2, chat.OutcomeDelivered},
	}, linesOf(got))
	require.Empty(t, got.Waiting)
}

// Nothing is recorded yet: what is under way is in the streams alone.
func TestTraceUnderWay(t *testing.T) {
	a := newAPI(t)
	a.shopWithTwoEndpoints()
	turn := turnOf("anna", accepted, 1, "Hello", "Bye")
	key := turn.Input.Key()
	data, err := wire.EncodeUserMessage(&turn.Input)
	a.hot(chat.StageUser, key, data, err)
	got := a.trace(turn.Input.ID)
	require.Equal(t, []line{{0, ops.HappenedAccepted, "", 0, ""}}, linesOf(got))
	require.Len(t, got.Waiting, 1)
	require.Equal(t, "pizza", got.Waiting[0].Destination)
	require.Equal(t, chat.StageUser, got.Waiting[0].Stage)
	require.Empty(t, got.Waiting[0].Lane)
	require.Empty(t, got.Outcomes)

	// It comes to its turn, which is removed from the queue a moment later.
	turn.At = time.Now()
	a.journal(journal.Options{}, turn)
	first := &turn.Output[0]
	data, err = wire.EncodeBotMessage(first)
	a.hot(chat.StageBot, key, data, err)
	got = a.trace(turn.Input.ID)
	require.Len(t, got.Waiting, 2, "for both endpoints, and not for the bot")
	for _, w := range got.Waiting {
		require.Equal(t, first.ID, w.MessageID)
		require.Equal(t, chat.StageBot, w.Stage)
	}

	// It was delivered to one and failed at the other, which is paused.
	done := attemptAt(first, "archive", 1, 200, time.Since(first.CreatedAt))
	a.journal(journal.Options{}, done)
	id := lane.ID{Group: "crm", Key: key}
	store, err := lane.NewJetStream(t.Context(), a.conn, chat.StageBot, key.Partition(brokertest.Layout.Partitions))
	require.NoError(t, err)
	_, err = store.Append(t.Context(), id, &lane.Message{Seq: 1, Time: accepted, Data: data})
	require.NoError(t, err)
	due := time.UnixMilli(1_900_000_000_000).UTC()
	require.NoError(t, store.PutState(t.Context(), id, &chat.LaneState{
		HeadSeq: 1, AttemptCount: 7, Due: due, Attempts: []chat.Attempt{{At: accepted.Add(time.Hour), Status: 500, Error: "status 500"}},
	}))
	ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/crm/pause", body: `{"reason":"moving"}`})
	for _, id := range []string{turn.Input.ID, first.ID} {
		got = a.trace(id)
		require.Equal(t, []ops.TraceWaiting{{
			MessageID: first.ID, Stage: chat.StageBot, Destination: "crm", Since: accepted, Lane: "bot." + lane.ID{Group: "crm", Key: key}.String(),
			AttemptCount: 7, DueAt: &due, Closed: "moving", LastError: "status 500",
		}}, got.Waiting)
		require.Contains(t, linesOf(got), line{time.Hour, ops.HappenedAttempt, "crm", 7, chat.OutcomeRetry})
	}
}

func TestTraceOfADeadMessage(t *testing.T) {
	a := newAPI(t)
	got := a.trace(a.dead.MessageID)
	require.Equal(t, "anna", got.ConversationID)
	require.Len(t, got.Outcomes, 2, "at both destinations")
	var dead int
	for _, e := range got.Events {
		if e.What == ops.HappenedDeadLetter {
			dead++
			require.Equal(t, "exhausted", e.Reason)
		}
	}
	require.Equal(t, 2, dead)
	require.Contains(t, linesOf(got), line{0, ops.HappenedAttempt, "crm", 11, chat.OutcomeRetry})

	// It was replayed since, and delivered.
	m, err := wire.DecodeBotMessage(a.dead.Data)
	require.NoError(t, err)
	a.journal(journal.Options{}, attemptAt(m, "crm", 1, 200, 2*time.Hour))
	got = a.trace(a.dead.MessageID)
	require.Len(t, got.Outcomes, 2)
	require.Equal(t, chat.OutcomeDelivered, got.Outcomes[1].Outcome)

	// What can't be decoded has an id that was given to it.
	store, err := deadletter.New(t.Context(), a.conn)
	require.NoError(t, err)
	require.NoError(t, store.Write(t.Context(), &chat.DeadLetter{MessageID: "seq-bot-3-17", Stage: chat.StageBot, Reason: "undecodable", DiedAt: accepted, Data: []byte("\xff")}))
	got = a.trace("seq-bot-3-17")
	require.Equal(t, []line{{0, ops.HappenedDeadLetter, "", 0, ""}}, linesOf(got))
}

// With --journal failures the turn is not recorded: what failed of its answers
// is found all the same. With --journal-bodies=false that is said.
func TestTraceOfWhatIsPartlyRecorded(t *testing.T) {
	a := newAPI(t)
	turn := turnOf("anna", accepted, 1, "Hello", "Bye")
	a.journal(journal.Options{Mode: journal.ModeFailures, NoBodies: true}, turn, attemptAt(&turn.Output[1], "crm", 1, 503, time.Second))
	got := a.trace(turn.Input.ID)
	require.Equal(t, []line{{5 * time.Second, ops.HappenedAttempt, "crm", 1, chat.OutcomeRetry}}, linesOf(got))
	require.True(t, got.NoBodies)
	require.Len(t, got.Notes, 1)
	require.Empty(t, got.Events[0].Excerpt)

	p := a.refused(404, "not-found", request{method: "GET", path: "/messages/" + turn.Output[0].ID + "/trace"})
	require.Contains(t, p.Detail, "--journal is all here")
	a.refused(404, "not-found", request{method: "GET", path: "/messages/nonsense/trace"})
	a.conn.Close()
	a.refused(503, "broker-unavailable", request{method: "GET", path: "/messages/" + turn.Input.ID + "/trace"})
}

func TestAttempts(t *testing.T) {
	a := newAPI(t)
	turn := turnOf("anna", accepted, 1, "Hello", "Bye")
	other := turnOf("ben", accepted, 2, "Hey")
	a.journal(journal.Options{}, turn, other,
		attemptAt(&turn.Output[0], "crm", 1, 503, time.Second), attemptAt(&turn.Output[0], "crm", 2, 200, time.Second),
		attemptAt(&turn.Output[1], "archive", 1, 200, time.Second), attemptAt(&other.Output[0], "crm", 1, 200, time.Second))
	list := func(query string) ops.DeliveryPage {
		page, _ := ok[ops.DeliveryPage](a, 200, request{method: "GET", path: "/attempts?" + query})
		return page
	}
	all := list("")
	require.Len(t, all.Items, 4)
	require.Equal(t, other.Output[0].ID, all.Items[0].MessageID, "the newest is first")
	require.NotNil(t, all.LookedBackTo)
	require.Empty(t, all.Next)
	require.Equal(t, "status 503", all.Items[3].Attempt.Error)
	for query, want := range map[string]int{
		"endpoint=crm": 3, "endpoint=none": 0, "channel=shop": 4, "channel=none": 0, "channel=shop&conversation=anna": 3,
		"message=" + turn.Output[0].ID: 2, "status=503": 1, "outcome=retry": 1, "outcome=delivered&endpoint=crm": 2,
		"since=" + url.QueryEscape(time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)): 4,
		"until=" + url.QueryEscape(time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)): 0,
	} {
		require.Len(t, list(query).Items, want, query)
	}
	page := list("endpoint=crm&limit=2")
	require.Len(t, page.Items, 2)
	page = list("endpoint=crm&limit=2&before=" + page.Next)
	require.Len(t, page.Items, 1)
	require.Empty(t, page.Next)
	for _, query := range []string{
		"endpoint=A.b", "channel=*", "conversation=anna", "message=x", "status=x", "status=99", "outcome=gone", "since=yesterday", "until=x",
		"limit=0", "limit=501", "before=x", "channel=shop&conversation=ben&message=" + turn.Output[0].ID,
	} {
		a.refused(400, "bad-query", request{method: "GET", path: "/attempts?" + query, offContract: true})
	}
	a.conn.Close()
	a.refused(503, "broker-unavailable", request{method: "GET", path: "/attempts"})
}

func TestConversation(t *testing.T) {
	a := newAPI(t)
	const conversation = "anna / 1?"
	path := "/conversations?" + url.Values{"channel": {"shop"}, "conversation": {conversation}}.Encode()
	empty, _ := ok[ops.Transcript](a, 200, request{method: "GET", path: path})
	require.Empty(t, empty.Items)
	first := turnOf(conversation, accepted, 1, "Hello", "Bye")
	second := turnOf(conversation, accepted.Add(time.Minute), 2, "Hey")
	failed := *second
	failed.Output, failed.Outcome, failed.Attempt = nil, chat.OutcomeRetry, &chat.Attempt{At: failed.At, Status: 502, Error: "status 502"}
	first.Output = append(first.Output, chat.BotMessage{
		ID: "event", ChannelID: "shop", ConversationID: conversation, InputID: first.Input.ID, CreatedAt: accepted, Event: chat.EventOffload, Message: json.RawMessage(`{}`),
	})
	a.journal(journal.Options{}, first, attemptAt(&first.Output[0], "crm", 1, 503, time.Second), &failed, second,
		attemptAt(&first.Output[0], "crm", 2, 200, time.Hour), attemptAt(&first.Output[0], "archive", 1, 200, time.Hour), turnOf("ben", accepted, 3))

	got, _ := ok[ops.Transcript](a, 200, request{method: "GET", path: path})
	require.Empty(t, got.Next)
	require.Empty(t, got.Notes)
	sides := ""
	for _, i := range got.Items {
		sides += i.Side + " "
	}
	require.Equal(t, "user bot bot event user bot ", sides)
	require.JSONEq(t, `{"textMessage":{"text":"Hi 1"}}`, string(got.Items[0].Message))
	require.Equal(t, chat.OutcomeProcessed, got.Items[4].Outcome)
	require.Equal(t, "status 502", got.Items[4].Error)
	require.EqualValues(t, 10, got.Items[1].MessageCounter)
	require.Equal(t, []ops.TranscriptDelivery{
		{EndpointID: "crm", Outcome: chat.OutcomeDelivered, At: accepted.Add(4*time.Second + time.Hour), Attempts: 2, Status: 200},
		{EndpointID: "archive", Outcome: chat.OutcomeDelivered, At: accepted.Add(4*time.Second + time.Hour), Attempts: 1, Status: 200},
	}, got.Items[1].Deliveries)

	last, _ := ok[ops.Transcript](a, 200, request{method: "GET", path: path + "&limit=2"})
	require.Len(t, last.Items, 2, "the latest two entries are of one turn")
	before, _ := ok[ops.Transcript](a, 200, request{method: "GET", path: path + "&limit=2&before=" + last.Next})
	require.Len(t, before.Items, 4)
	require.Empty(t, before.Next)

	a.journal(journal.Options{NoBodies: true}, turnOf(conversation, accepted.Add(time.Hour), 4, "Secret"))
	last, _ = ok[ops.Transcript](a, 200, request{method: "GET", path: path + "&limit=1"})
	require.True(t, last.NoBodies)
	require.NotEmpty(t, last.Notes)
	require.Empty(t, last.Items[0].Message)
	for _, query := range []string{"", "channel=shop", "conversation=x", "channel=*&conversation=x", "channel=shop&conversation=x&limit=0"} {
		a.refused(400, "bad-query", request{method: "GET", path: "/conversations?" + query, offContract: true})
	}
	a.conn.Close()
	a.refused(503, "broker-unavailable", request{method: "GET", path: path})
}
