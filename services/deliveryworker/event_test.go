package deliveryworker

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// userMessage is the user's message of a conversation's n-th turn, as the work
// queue has it: with the counter of the message before it.
func (r *rig) userMessage(conversation string, n uint64) *lane.Message {
	r.t.Helper()
	return r.message(conversation, n, func(m *chat.BotMessage) {
		m.ID = chat.EventID(time.UnixMilli(int64(n)), m.Key(), chat.EventUserMessage, conversation+fmt.Sprint(n))
		m.Event, m.Ordinal.Counter = chat.EventUserMessage, n-1
		m.Message = fmt.Appendf(nil, `{"conversationId":%q,"n":%d}`, conversation, n)
	})
}

// received is what an endpoint got, in order: "message 1", "user_message 1".
func received(t *testing.T, posts []*webhooktest.Received) map[string][]string {
	t.Helper()
	out := map[string][]string{} // by conversation
	for _, p := range posts {
		if p.Header.Get(webhook.HeaderEvent) == "" {
			out[p.Body.SenderID] = append(out[p.Body.SenderID], fmt.Sprint("message ", p.Body.MessageCounter))
			continue
		}
		var body struct {
			Type string `json:"type"`
			Data struct {
				ConversationID string `json:"conversationId"`
				N              int    `json:"n"`
			} `json:"data"`
		}
		require.NoError(t, json.Unmarshal(p.Raw, &body))
		require.Equal(t, p.Header.Get(webhook.HeaderEvent), body.Type)
		out[body.Data.ConversationID] = append(out[body.Data.ConversationID], fmt.Sprint(body.Type, " ", body.Data.N))
	}
	return out
}

func TestEventsBody(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t)
	e := r.endpoint("desk", customer.URL(), func(e *chat.Endpoint) { e.Events = []string{chat.EventUserMessage} })
	m := r.userMessage("c1", 3)
	require.Equal(t, "done", r.h.Handle(t.Context(), r.task(m, "desk", 1)).String())
	require.Zero(t, r.task(m, "desk", 1).Counter, "a dead letter of it has no counter")
	keys, err := webhook.ParseSecrets(e.Secrets)
	require.NoError(t, err)
	got := customer.All()[0]
	require.Equal(t, "user_message", got.Header.Get("Parley-Event"))
	at := r.task(m, "desk", 1).Created.UTC().Format("2006-01-02T15:04:05.000Z")
	require.Equal(t, `{"type":"user_message","timestamp":"`+at+`","channelId":"shop","verifyToken":"verify-me","data":{"conversationId":"c1","n":3}}`, string(got.Raw))
	require.NoError(t, webhook.Verify(keys, got.Header, got.Raw, got.At, 0))
}

func TestEventsAreNoJumps(t *testing.T) {
	r := newRig(t)
	jumps := func(m *lane.Message) int {
		r.route(m)
		return int(testutil.ToFloat64(r.h.metrics.jumps))
	}
	require.Zero(t, jumps(r.userMessage("c1", 1)))
	require.Zero(t, jumps(r.message("c1", 1)))
	require.Zero(t, jumps(r.userMessage("c1", 2)))
	require.Zero(t, jumps(r.message("c1", 2)))
	require.Zero(t, jumps(r.userMessage("c2", 7)), "the first that is seen of it")
	require.Zero(t, jumps(r.message("c2", 7)))
	require.Equal(t, 1, jumps(r.userMessage("c1", 4))+jumps(r.message("c1", 4)), "3 is left out")
}

// TestFanOutByEvents runs the stage with endpoints that ask for different
// events, one of which is down: each gets its own, in order, once, and waits for
// nobody.
func TestFanOutByEvents(t *testing.T) {
	const conversations, turns = 5, 6
	r := newRig(t)
	customers := map[string]*webhooktest.Receiver{}
	add := func(id string, script webhooktest.Script, events ...string) {
		customers[id] = webhooktest.New(t, webhooktest.WithScript(script))
		r.endpoint(id, customers[id].URL(), func(e *chat.Endpoint) {
			e.Events, e.Retry = events, []chat.Duration{chat.Duration(time.Hour)}
		})
	}
	fine := webhooktest.Status(http.StatusOK)
	add("plain", fine)
	add("desk", fine, chat.EventUserMessage)
	add("both", fine, chat.EventUserMessage, chat.EventMessage)
	add("down", webhooktest.Status(http.StatusInternalServerError), chat.EventMessage, chat.EventUserMessage)

	queue := map[string][]*lane.Message{}
	want := map[string][]string{}
	for c := range conversations {
		name := fmt.Sprint("c", c)
		for n := range uint64(turns) {
			queue[name] = append(queue[name], r.userMessage(name, n+1), r.message(name, n+1))
			want["plain"] = append(want["plain"][:n:n], fmt.Sprint("message ", n+1))
			want["desk"] = append(want["desk"][:n:n], fmt.Sprint("user_message ", n+1))
			want["both"] = append(want["both"][:2*n:2*n], want["desk"][n], want["plain"][n])
		}
	}
	publish := func() {
		for i := range 2 * turns {
			for name := range queue {
				r.publish(name, queue[name][i])
			}
		}
	}
	publish()
	stop := r.start()
	r.journal.await(t, chat.OutcomeDelivered, 4*conversations*turns)
	r.journal.await(t, chat.OutcomeRetry, conversations)
	stop()
	check := func() {
		for _, id := range []string{"plain", "desk", "both"} {
			got := received(t, customers[id].All())
			require.Len(t, got, conversations, id)
			for name, list := range got {
				require.Equal(t, want[id], list, "%s of %s", name, id)
			}
		}
		for name, list := range received(t, customers["down"].All()) {
			require.Equal(t, want["desk"][:1], list, "%s, of which nothing follows what failed", name)
		}
	}
	check()

	// All of it once more, as after a crash: the marks cover it.
	publish()
	for name := range queue {
		r.publish(name, r.message(name, turns+1))
	}
	stop = r.start()
	r.journal.await(t, chat.OutcomeDelivered, 4*conversations*turns+2*conversations)
	stop()
	last := fmt.Sprint("message ", turns+1)
	want["plain"], want["both"] = append(want["plain"], last), append(want["both"], last)
	check()
}

// TestEndpointThatHangsHoldsNobody: who answers late has lanes of its own.
func TestEndpointThatHangsHoldsNobody(t *testing.T) {
	r := newRig(t)
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let)
	slow := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		return webhooktest.Reply{Until: release}
	}))
	quick := webhooktest.New(t)
	r.endpoint("slow", slow.URL(), func(e *chat.Endpoint) { e.Timeout = chat.Duration(time.Minute) })
	r.endpoint("quick", quick.URL(), func(e *chat.Endpoint) { e.Events = chat.Events() })
	r.start()
	for n := range uint64(20) {
		r.publish("c1", r.userMessage("c1", n+1))
		r.publish("c1", r.message("c1", n+1))
	}
	for _, d := range r.journal.await(t, chat.OutcomeDelivered, 40) {
		require.Equal(t, "quick", d.EndpointID)
	}
	let()
	r.journal.await(t, chat.OutcomeDelivered, 60)
	require.Len(t, received(t, slow.All())["c1"], 20)
}

// told is an operational event as an endpoint got it.
type told struct {
	Type      string               `json:"type"`
	ChannelID string               `json:"channelId"`
	Data      chat.OperationalData `json:"data"`
}

func toldOf(t *testing.T, posts []*webhooktest.Received) (out []told) {
	t.Helper()
	for _, p := range posts {
		var e told
		require.NoError(t, json.Unmarshal(p.Raw, &e))
		require.Equal(t, p.Header.Get(webhook.HeaderEvent), e.Type)
		out = append(out, e)
	}
	return out
}

// TestFailuresAreTold: of each message that an endpoint won't get those who ask
// for it are told, once; of an event that isn't delivered nobody is.
func TestFailuresAreTold(t *testing.T) {
	const messages = 20
	r := newRig(t)
	desk, deaf := webhooktest.New(t), webhooktest.New(t, webhooktest.WithScript(webhooktest.Status(http.StatusTeapot)))
	down := webhooktest.New(t, webhooktest.WithScript(webhooktest.Status(http.StatusInternalServerError)))
	short := []chat.Duration{chat.Duration(time.Millisecond)}
	failures := []string{chat.EventDeliveryFailed, chat.EventDeadLetterCreated}
	r.endpoint("desk", desk.URL(), func(e *chat.Endpoint) { e.Events = failures })
	r.endpoint("deaf", deaf.URL(), func(e *chat.Endpoint) { e.Events, e.Retry = failures, short })
	r.endpoint("down", down.URL(), func(e *chat.Endpoint) { e.Retry = short })
	stop := r.start()
	ids := map[string]string{}
	for c := range messages {
		conversation := fmt.Sprint("c", c)
		m := r.message(conversation, 1)
		ids[r.task(m, "down", 1).MessageID] = conversation
		r.publish(conversation, m)
	}
	// Down's messages, and at deaf two events of each.
	r.journal.await(t, chat.OutcomeDead, 3*messages)
	r.journal.await(t, chat.OutcomeDelivered, 2*messages)
	r.publish("late", r.message("late", 1, func(m *chat.BotMessage) { m.ExpiresAt = time.Now().Add(-time.Minute) }))
	r.journal.await(t, chat.OutcomeDelivered, 2*messages+1)
	r.journal.await(t, chat.OutcomeDead, 3*messages+1)
	stop()

	counts := map[string]int{}
	for _, e := range toldOf(t, desk.All()) {
		require.Equal(t, channel, e.ChannelID)
		require.Equal(t, "down", e.Data.EndpointID, "of the events that deaf did not take nothing is told")
		if e.Data.ConversationID == "late" {
			require.Equal(t, chat.EventDeliveryFailed, e.Type)
			require.Equal(t, "expired", e.Data.Reason)
			continue
		}
		require.Equal(t, ids[e.Data.MessageID], e.Data.ConversationID)
		require.Equal(t, lane.ReasonExhausted, e.Data.Reason)
		require.Equal(t, "HTTP 500 Internal Server Error", e.Data.Error)
		counts[e.Type+e.Data.MessageID]++
	}
	require.Len(t, counts, 2*messages)
	for event, n := range counts {
		require.Equal(t, 1, n, event)
	}
	posts := len(desk.All())

	// All is settled: nothing is told once more after a restart.
	r.start()
	r.publish("last", r.message("last", 1))
	r.journal.await(t, chat.OutcomeDelivered, 2*messages+3)
	require.Len(t, desk.All(), posts+2)
}

// TestDisabledEndpointIsTold: who asks for it is told that another endpoint has
// answered 410, and whoever is disabled itself when it is enabled again.
func TestDisabledEndpointIsTold(t *testing.T) {
	r := newRig(t)
	desk := webhooktest.New(t)
	gone := webhooktest.New(t, webhooktest.WithScript(func(n int, _ *webhooktest.Received) webhooktest.Reply {
		if n == 1 {
			return webhooktest.Reply{Status: http.StatusGone}
		}
		return webhooktest.Reply{}
	}))
	r.endpoint("desk", desk.URL(), func(e *chat.Endpoint) { e.Events = []string{chat.EventEndpointDisabled} })
	r.endpoint("gone", gone.URL(), func(e *chat.Endpoint) {
		e.Events = []string{chat.EventMessage, chat.EventEndpointDisabled}
		e.Retry = []chat.Duration{chat.Duration(time.Millisecond), chat.Duration(time.Hour)}
	})
	r.start()
	r.publish("c1", r.message("c1", 1))
	r.journal.await(t, chat.OutcomeDelivered, 1)
	want := told{chat.EventEndpointDisabled, channel, chat.OperationalData{EndpointID: "gone", Reason: answeredGone}}
	require.Equal(t, []told{want}, toldOf(t, desk.All()))
	require.Len(t, gone.All(), 1)
	r.endpoint("gone", "", func(e *chat.Endpoint) { e.Disabled = "" })
	r.journal.await(t, chat.OutcomeDelivered, 3)
	for _, p := range gone.All()[1:] {
		if p.Header.Get(webhook.HeaderEvent) != "" {
			require.Equal(t, []told{want}, toldOf(t, []*webhooktest.Received{p}))
		}
	}
	require.Len(t, gone.All(), 3)
}

// TestEventsPlace: an operational event has its place by its time in the queue,
// whoever raised it.
func TestEventsPlace(t *testing.T) {
	r := newRig(t)
	m := r.message("c1", 1, func(m *chat.BotMessage) {
		m.Event, m.Ordinal, m.ConversationID = chat.EventDeliveryFailed, chat.Ordinal{}, chat.EventConversation("a")
	})
	m.Seq, m.Time = 7, time.UnixMilli(9_000)
	task := r.task(m, "desk", 1)
	require.Equal(t, chat.Ordinal{Counter: 7, InputAt: 9_000}, task.Place)
	require.Zero(t, task.Counter)
	require.Equal(t, chat.KeyOf(channel, chat.EventConversation("a")), task.Lane.Key)
}
