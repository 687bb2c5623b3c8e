package main

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/services/ops"
)

// recordedAt is when the recorded turn began.
var recordedAt = time.UnixMilli(1_700_000_000_000)

// recordedTurn is a turn of a conversation whose id is awkward.
func recordedTurn() *chat.Turn {
	const conversation = "eve\x1b[2J"
	key := chat.KeyOf("shop", conversation)
	in := chat.UserMessage{
		ID: chat.NewMessageID(recordedAt, key, 1), ChannelID: "shop", ConversationID: conversation, AcceptedAt: recordedAt,
		Input: chat.Input{Kind: chat.InputText, Body: json.RawMessage(`{"text":"a pizza\u001b[2J"}`)},
	}
	t := &chat.Turn{At: recordedAt.Add(1500 * time.Millisecond), Input: in, BotID: "pizza", Duration: 40 * time.Millisecond, Outcome: chat.OutcomeProcessed}
	for i, text := range []string{"Which one?", "Take your time"} {
		t.Output = append(t.Output, chat.BotMessage{
			ID: chat.BotMessageID(recordedAt, key, in.ID, i), ChannelID: "shop", ConversationID: conversation, BotID: "pizza", InputID: in.ID,
			Ordinal: chat.Ordinal{Epoch: 1, Counter: uint64(i + 4)}, CreatedAt: recordedAt.Add(1540 * time.Millisecond), Event: chat.EventMessage,
			Message: json.RawMessage(`{"text":"` + text + `"}`),
		})
	}
	return t
}

// recordTurns records a turn; its first message is delivered at the second
// attempt, the other one expires.
func recordTurns(t *testing.T, conn *broker.Conn) {
	t.Helper()
	w, err := journal.NewWriter(conn, journal.Options{}, prometheus.NewRegistry())
	require.NoError(t, err)
	turn := recordedTurn()
	w.Turn(turn)
	first, second := &turn.Output[0], &turn.Output[1]
	for i, d := range []*chat.Delivery{
		{MessageID: first.ID, Ordinal: first.Ordinal, Outcome: chat.OutcomeRetry, Attempt: &chat.Attempt{Status: 503, Error: "status 503"}},
		{MessageID: first.ID, Ordinal: first.Ordinal, Outcome: chat.OutcomeDelivered, Attempt: &chat.Attempt{Status: 200}},
		{MessageID: second.ID, Ordinal: second.Ordinal, Outcome: chat.OutcomeExpired, Reason: chat.ExpiredByTime},
	} {
		d.ChannelID, d.ConversationID, d.EndpointID = "shop", turn.Input.ConversationID, "crm"
		d.At = first.CreatedAt.Add(time.Duration(i) * time.Minute)
		if d.Attempt != nil {
			d.AttemptNumber, d.Attempt.At, d.Attempt.Duration = i+1, d.At, 20*time.Millisecond
		}
		w.Delivery(d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, w.Run(ctx), "what is queued is written")
}

func TestTraceCommand(t *testing.T) {
	env, letter := opsServer(t)
	turn := recordedTurn()
	out := good(t, env, "trace", turn.Input.ID)
	require.NotContains(t, out, "\x1b", "a terminal's commands are not passed on")
	require.Regexp(t, `(?m)^conversation +eve\?\[2J$`, out)
	require.Regexp(t, `(?ms)^\S+ \S+\.000 +\+0s +accepted +a pizza\?\[2J$`+
		`.*^\S+ \S+\.500 +\+1\.5s +bot +pizza, waited 1\.5s, took 40ms, processed$`+
		`.*^\S+ \S+\.540 +\+1\.54s +message +#4 Which one\?$`+
		`.* message +#5 Take your time$`+
		`.* attempt 1 +#4 at crm, took 20ms, status 503, retry: status 503$`+
		`.* \+1m2s +attempt 2 +#4 at crm, took 20ms, status 200, delivered$`+
		`.* end +#5 at crm, expired, time$`+
		`.*^now +- +ended +1 processed, 1 delivered, 1 expired$`, out)
	require.Regexp(t, `(?m)^answers +`+turn.Input.ID+`$`, good(t, env, "trace", turn.Output[0].ID))
	require.Len(t, goodJSON[ops.Trace](t, env, "trace", turn.Input.ID).Events, 7)
	require.Regexp(t, `dead letter +\S+ at crm, exhausted: status 500`, good(t, env, "trace", letter.MessageID))

	parked := chat.BotMessageID(recordedAt, chat.KeyOf("shop", "ben\x1b[2J"), "msg_x", 0)
	require.Regexp(t, `(?m)^now +- +waits +#?\S+ for crm, \S+, first in lane bot\.crm\.\S+, 11 attempts, held: status 500$`, good(t, env, "trace", parked))
	unknown := parley(t, env, "", "trace", chat.NewMessageID(recordedAt, chat.KeyOf("a", "b"), 7))
	require.Equal(t, exitFailed, unknown.code)
	require.Contains(t, unknown.stderr, "--journal is all here")
}

func TestAttemptsCommand(t *testing.T) {
	env, _ := opsServer(t)
	first := recordedTurn().Output[0].ID
	out := good(t, env, "attempts", "--endpoint", "crm", "--since", "1h")
	require.Regexp(t, `(?m)^\S+ \S+ +crm +eve\?\[2J +5 +0 +- +- +expired +time +msg_\S+\n\S+ \S+ +crm +eve\?\[2J +4 +2 +200 +20ms +delivered +- +`+first+`\n.* 503 +20ms +retry +status 503 +`+first+`$`, out)
	require.Contains(t, good(t, env, "attempts", "--limit", "1"), "more: --before ")
	require.Len(t, goodJSON[ops.DeliveryPage](t, env, "attempts", "--message", first).Items, 2)
	require.Len(t, goodJSON[ops.DeliveryPage](t, env, "attempts", "--status", "503", "--channel", "shop", "--conversation", "eve\x1b[2J").Items, 1)
	require.Empty(t, goodJSON[ops.DeliveryPage](t, env, "attempts", "--until", "1h").Items)
	for flag, want := range map[string]string{"since": "this is no time", "outcome": "no outcome"} {
		r := parley(t, env, "", "attempts", "--"+flag, "soon")
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.stderr, want)
	}
}

func TestConversationCommand(t *testing.T) {
	env, _ := opsServer(t)
	out := good(t, env, "conversation", "show", "shop", "eve\x1b[2J")
	require.Regexp(t, `^       user > a pizza\?\[2J
             \S+ \S+
    #4 bot < Which one\?
             \S+ \S+, crm delivered after 2 attempts \(200\)
    #5 bot < Take your time
             \S+ \S+, crm expired
$`, out)
	require.Len(t, goodJSON[ops.Transcript](t, env, "conversation", "show", "shop", "eve\x1b[2J").Items, 3)
	require.Equal(t, "-- nothing is recorded of this conversation\n", good(t, env, "conversation", "show", "shop", "nobody"))
}

func TestWhatWasSaidInALine(t *testing.T) {
	for message, want := range map[string]string{
		`{"textMessage":{"text":"hi"}}`:                        "hi",
		`{"postbackMessage":{"title":"Order","payload":"x"}}`:  "[Order]",
		`{"introMessage":{}}`:                                  "(begins)",
		`{"fileMessage":{"urls":["https://a/b","https://c"]}}`: "[file] https://a/b https://c",
		`{"locationMessage":{"lat":1.5,"long":-2}}`:            "[location] 1.5, -2",
		`{"actions":{"pauseBot":true}}`:                        `(actions) {"pauseBot":true}`,
		`{"danceMessage":{}}`:                                  `{"danceMessage":{}}`,
		``:                                                     "(not recorded)",
	} {
		require.Equal(t, want, inputText(json.RawMessage(message)))
	}
	require.Equal(t, "Size? (S) (location)", messageText(json.RawMessage(`{"text":"Size?","quick_replies":[{"content_type":"text","title":"S"},{"content_type":"location"}]}`)))
	require.Equal(t, "(not recorded)", messageText(nil))
}

func TestWaitingInALine(t *testing.T) {
	now := recordedAt.Add(12 * time.Second)
	due := now.Add(48 * time.Second)
	w := ops.TraceWaiting{MessageID: "m", Stage: chat.StageBot, Destination: "crm", Since: recordedAt}
	names := map[string]string{"m": "#4"}
	require.Equal(t, "#4 for crm, 12s, in the queue or at work", waitingLine(w, names, now))
	w.Lane, w.Ahead, w.Closed = "bot.crm.1", 1, "paused"
	require.Equal(t, "#4 for crm, 12s, behind 1 other in lane bot.crm.1, closed: paused", waitingLine(w, names, now))
	w.Ahead, w.AttemptCount, w.Closed, w.DueAt, w.LastError = 0, 1, "", &due, "status 503"
	require.Equal(t, "#4 for crm, 12s, first in lane bot.crm.1, 1 attempt, due in 48s: status 503", waitingLine(w, names, now))
	require.Equal(t, "the message for pizza, 12s, in the queue or at work", waitingLine(ops.TraceWaiting{Stage: chat.StageUser, Destination: "pizza", Since: recordedAt}, names, now))
	require.Equal(t, "crm not delivered yet after 1 attempt (503)", deliveredText(ops.TranscriptDelivery{EndpointID: "crm", Outcome: chat.OutcomeRetry, Attempts: 1, Status: 503}))
}

func TestPrintsWhatIsNotRecorded(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, printConversation(newTranscript(&out), ops.Transcript{
		Next: "7", Notes: []string{"what was said was not recorded (--journal-bodies=false)"},
		Items: []ops.TranscriptItem{
			{At: recordedAt, Side: "user", Outcome: chat.OutcomeFailed, Error: "status 500"},
			{At: recordedAt, Side: "bot", MessageCounter: 1, Deliveries: []ops.TranscriptDelivery{{Outcome: chat.OutcomeUnrouted}}},
			{At: recordedAt, Side: "event", Event: "offload", Message: json.RawMessage(`{"a":1}`)},
		},
	}))
	at := when(recordedAt)
	require.Equal(t, "-- before: --before 7\n"+
		"       user > (not recorded)\n             "+at+", failed, the bot failed: status 500\n"+
		"    #1 bot < (not recorded)\n             "+at+", unrouted\n"+
		"     event < offload\n             {\"a\":1}\n             "+at+"\n"+
		"-- what was said was not recorded (--journal-bodies=false)\n", out.String())
}
