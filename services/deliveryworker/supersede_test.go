package deliveryworker

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// processed has the bot stage's record say that a conversation has come as far as
// an input, with so many messages.
func (r *rig) processed(conversation, input string, at int64, counter uint64) {
	r.t.Helper()
	key := chat.KeyOf(channel, conversation)
	_, revision, err := r.sessions.Load(r.t.Context(), key)
	require.NoError(r.t, err)
	_, err = r.sessions.Save(r.t.Context(), key, &chat.Session{
		ChannelID: channel, ConversationID: conversation, Epoch: 1, Counter: counter, LastInputAt: at, LastInputID: input,
	}, revision)
	require.NoError(r.t, err)
}

func TestSupersededByTheSession(t *testing.T) {
	r := newRig(t)
	r.endpoint("a", "https://example.com/a")
	first := r.task(r.message("c1", 1), "a", 1)
	require.False(t, r.h.Superseded(t.Context(), first), "there is no session")
	r.processed("c1", "in", 1, 1)
	require.False(t, r.h.Superseded(t.Context(), first), "its own turn")
	r.processed("c1", "next", 1, 1)
	require.True(t, r.h.Superseded(t.Context(), first), "a silent turn in the same millisecond")
	require.Zero(t, testutil.ToFloat64(r.h.metrics.unknown))

	_, err := r.conn.Publish(t.Context(), broker.Message{
		Subject: topology.SessionSubject(first.Lane.Key.Partition(2), first.Lane.Key), Data: []byte("{}"),
	})
	require.NoError(t, err)
	require.False(t, r.h.Superseded(t.Context(), first), "what can't be read drops nothing")
	require.EqualValues(t, 1, testutil.ToFloat64(r.h.metrics.unknown))
}

// unread is a store that can't be read.
type unread struct{ asked chan struct{} }

func (u unread) Load(context.Context, chat.ConversationKey) (*chat.Session, uint64, error) {
	u.asked <- struct{}{}
	return nil, 0, errors.New("the leader is away")
}

// TestSupersede: what failed, and what waits for a closed endpoint, ends when its
// conversation has gone on; nothing else does. Each end says why.
func TestSupersede(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t, webhooktest.WithScript(func(_ int, p *webhooktest.Received) webhooktest.Reply {
		if p.Header.Get("Parley-Attempt") == "1" {
			return webhooktest.Reply{Status: http.StatusInternalServerError}
		}
		return webhooktest.Reply{}
	}))
	retries := func(e *chat.Endpoint) {
		e.Retry = []chat.Duration{chat.Duration(300 * time.Millisecond), chat.Duration(time.Hour)}
	}
	r.endpoint("closed", customer.URL(), func(e *chat.Endpoint) { e.Paused, e.Supersede = "moving", true })
	r.endpoint("open", customer.URL(), retries)
	r.start()
	yields := func(m *chat.BotMessage) { m.Supersede = true }
	r.publish("c1", r.message("c1", 1, yields)) // superseded
	r.publish("c2", r.message("c2", 1, yields)) // the last of its conversation
	r.publish("c3", r.message("c3", 1))         // nobody asked for it: at the closed one the endpoint did
	r.journal.await(t, chat.OutcomeRetry, 3)
	for _, conversation := range []string{"c1", "c3"} {
		r.processed(conversation, "next", 2, 1)
	}
	for _, d := range r.journal.await(t, chat.OutcomeDelivered, 2) {
		require.NotEqual(t, "c1", d.ConversationID)
	}
	expired := r.journal.await(t, chat.OutcomeExpired, 1)
	require.Equal(t, "open", expired[0].EndpointID)
	require.Equal(t, "c1", expired[0].ConversationID)
	require.Equal(t, chat.ExpiredSuperseded, expired[0].Reason)
	require.Nil(t, expired[0].Attempt)

	r.endpoint("closed", "", func(e *chat.Endpoint) { e.Paused = "still moving" }) // its lanes are looked at
	ended := map[string]string{}
	for _, d := range r.journal.await(t, chat.OutcomeExpired, 3)[1:] {
		require.Equal(t, "closed", d.EndpointID)
		ended[d.ConversationID] = d.Reason
	}
	require.Equal(t, map[string]string{"c1": chat.ExpiredSuperseded, "c3": chat.ExpiredSuperseded}, ended)
	require.Len(t, r.journal.with(chat.OutcomeExpired), 3)
	require.NoError(t, testutil.GatherAndCompare(r.metrics, strings.NewReader(`
# HELP parley_delivery_expired_total Bot messages that expired, by reason: their time was up, or a later user message superseded them.
# TYPE parley_delivery_expired_total counter
parley_delivery_expired_total{reason="superseded"} 3
parley_delivery_expired_total{reason="time"} 0
`), "parley_delivery_expired_total"))
}

// TestUnreadableSessionSends: what can't be found out is an attempt.
func TestUnreadableSessionSends(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t, webhooktest.WithSteps(webhooktest.Step{Reply: webhooktest.Reply{Status: http.StatusInternalServerError}}))
	r.endpoint("a", customer.URL(), func(e *chat.Endpoint) {
		e.Supersede = true
		e.Retry = []chat.Duration{chat.Duration(time.Millisecond), chat.Duration(time.Hour)}
	})
	asked := make(chan struct{}, 10)
	r.lost = unread{asked}
	r.start()
	r.publish("c1", r.message("c1", 1))
	r.journal.await(t, chat.OutcomeDelivered, 1)
	require.Len(t, asked, 1, "before the second attempt, not before the first")
	require.Empty(t, r.journal.with(chat.OutcomeExpired))
}
