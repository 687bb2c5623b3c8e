package ingest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
)

// read gets a path, and holds request and answer against the description.
func (h *harness) read(t *testing.T, path, token string) answer {
	t.Helper()
	c := call{method: http.MethodGet, path: path, token: token, content: "-"}
	a := h.do(t, c)
	h.contract.requireAnswer(t, h.request(t, c), a)
	return a
}

// record records turns n..m-1 of the conversation "anna", of two messages each,
// and one of another channel.
func (h *harness) record(t *testing.T, o journal.Options, n, m int) {
	t.Helper()
	w, err := journal.NewWriter(h.broker, o, prometheus.NewRegistry())
	require.NoError(t, err)
	at := time.UnixMilli(1_700_000_000_000)
	of := func(channel string, i int) *chat.Turn {
		in := chat.UserMessage{
			ID: fmt.Sprintf("in%d", i), ChannelID: channel, ConversationID: "anna", AcceptedAt: at.Add(time.Duration(i) * time.Minute),
			Input: chat.Input{Kind: chat.InputText, Body: fmt.Appendf(nil, `{"text":"hi %d"}`, i)},
		}
		out := chat.BotMessage{
			ID: fmt.Sprintf("out%d", i), ChannelID: channel, ConversationID: "anna", BotID: "pizza", InputID: in.ID, Event: chat.EventMessage,
			Ordinal: chat.Ordinal{Epoch: 1, Counter: uint64(i + 1)}, CreatedAt: in.AcceptedAt.Add(time.Second), Message: fmt.Appendf(nil, `{"text":"hello %d"}`, i),
		}
		event := out
		event.ID, event.Event = "event", chat.EventUserMessage
		return &chat.Turn{At: in.AcceptedAt, Input: in, Output: []chat.BotMessage{event, out}, BotID: "pizza", Outcome: chat.OutcomeProcessed}
	}
	for i := n; i < m; i++ {
		failed := *of("shop", i)
		failed.Output, failed.Outcome = nil, chat.OutcomeRetry
		w.Turn(&failed)
		w.Turn(of("shop", i))
		w.Delivery(&chat.Delivery{ChannelID: "shop", ConversationID: "anna", MessageID: fmt.Sprintf("out%d", i), EndpointID: "e1", Outcome: chat.OutcomeDelivered})
	}
	actions := of("shop", m)
	actions.Input.Input = chat.Input{Kind: chat.InputActions, Body: json.RawMessage(`{"pauseBot":true}`)}
	actions.Output = nil
	w.Turn(actions)
	w.Turn(of("app", 77))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, w.Run(ctx), "what is queued is written")
}

type historyAnswer struct {
	Rows []struct {
		ID, BotID, SenderID, From string
		Message                   json.RawMessage
		MessageCounter            int
		Timestamp                 time.Time
	}
	Count, Offset, Limit int
}

func TestLegacyHistory(t *testing.T) {
	h := newHarness(t, nil)
	const path = "/api/bots/pizza/history/anna"
	read := func(query string) (got historyAnswer, ids []string) {
		a := h.read(t, path+query, "")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.NoError(t, json.Unmarshal([]byte(a.body), &got))
		for _, row := range got.Rows {
			ids = append(ids, row.ID)
		}
		return got, ids
	}
	got, ids := read("")
	require.Empty(t, ids)
	require.NotNil(t, got.Rows)
	h.record(t, journal.Options{}, 0, 3)
	got, ids = read("")
	require.Equal(t, []string{"out2", "in2", "out1", "in1", "out0", "in0"}, ids)
	require.Equal(t, []int{6, 0, 50}, []int{got.Count, got.Offset, got.Limit})
	require.Equal(t, "bot", got.Rows[0].From)
	require.Equal(t, "user", got.Rows[1].From)
	require.Equal(t, 3, got.Rows[0].MessageCounter)
	require.Equal(t, "anna", got.Rows[0].SenderID)
	require.Equal(t, "pizza", got.Rows[1].BotID)
	require.JSONEq(t, `{"text":"hello 2"}`, string(got.Rows[0].Message))
	require.JSONEq(t, `{"textMessage":{"text":"hi 2"}}`, string(got.Rows[1].Message))
	require.Equal(t, time.UnixMilli(1_700_000_120_000).UTC(), got.Rows[1].Timestamp)
	got, ids = read("?offset=1&limit=2")
	require.Equal(t, []string{"in2", "out1"}, ids)
	require.Equal(t, []int{6, 1, 2}, []int{got.Count, got.Offset, got.Limit})
	_, ids = read("?offset=5&limit=2")
	require.Equal(t, []string{"in0"}, ids)
	got, ids = read("?offset=6")
	require.Empty(t, ids)
	require.Equal(t, 6, got.Count)

	h.record(t, journal.Options{NoBodies: true}, 3, 4)
	got, _ = read("?limit=2")
	require.Equal(t, "null", string(got.Rows[0].Message))
	require.Equal(t, "null", string(got.Rows[1].Message))

	for _, query := range []string{"?offset=-1", "?offset=x", "?limit=0", "?limit=501"} {
		require.Equal(t, http.StatusUnprocessableEntity, h.read(t, path+query, "").status, query)
	}
	h.stop()
	require.Equal(t, http.StatusServiceUnavailable, h.read(t, path, "").status)
}

func TestLegacySessionData(t *testing.T) {
	h := newHarness(t, nil)
	const path = "/api/sessionData/pizza/anna/"
	require.Equal(t, "unknown-conversation", h.read(t, path+"default", "").problem(t).Slug())
	key := chat.KeyOf("shop", "anna")
	revision, err := h.sessions.Save(t.Context(), key, &chat.Session{ChannelID: "shop", ConversationID: "anna", Epoch: 1}, 0)
	require.NoError(t, err)
	require.JSONEq(t, `{}`, h.read(t, path+"default", "").body)
	revision, err = h.sessions.Save(t.Context(), key, &chat.Session{
		ChannelID: "shop", ConversationID: "anna", Epoch: 1, Variables: json.RawMessage(`{"size":"large","order":{"pizzas":2},"none":null}`),
	}, revision)
	require.NoError(t, err)
	for namespace, want := range map[string]string{
		"default": `{"size":"large","order":{"pizzas":2},"none":null}`, "order": `{"pizzas":2}`, "size": `{}`, "none": `{}`, "other": `{}`,
	} {
		a := h.read(t, path+namespace, "")
		require.Equal(t, http.StatusOK, a.status)
		require.JSONEq(t, want, a.body, namespace)
	}
	_, err = h.sessions.Save(t.Context(), key, (&chat.Session{Epoch: 1}).Erase(chat.Ordinal{}), revision)
	require.NoError(t, err)
	require.Equal(t, "unknown-conversation", h.read(t, path+"default", "").problem(t).Slug(), "it was erased")
	h.stop()
	require.Equal(t, http.StatusServiceUnavailable, h.read(t, path+"default", "").status)
}

// A token reads its own channel's conversations, of the bot that serves it.
func TestLegacyReadsAreAuthorized(t *testing.T) {
	h := newHarness(t, nil)
	h.record(t, journal.Options{}, 0, 1)
	for _, path := range []string{"/api/bots/%s/history/%s", "/api/sessionData/%s/%s/default"} {
		for _, c := range []struct {
			bot, sender, token string
			status             int
		}{
			{"pizza", "anna", "-", 401},
			{"pizza", "anna", "pat_wrong", 401},
			{"pizza", "anna", h.one, 403},
			{"pizza", "anna", h.ops, 403},
			{"solo", "anna", h.shop, 403},
			{"none", "anna", h.shop, 404},
			{"pizza", "%0A", h.shop, 422},
		} {
			require.Equal(t, c.status, h.read(t, fmt.Sprintf(path, c.bot, c.sender), c.token).status, "%+v", c)
		}
	}
	a := h.read(t, "/api/bots/pizza/history/anna", h.app)
	require.Contains(t, a.body, `"in77"`)
	require.NotContains(t, a.body, `"in0"`)
}
