package ingest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/services/ingest"
)

// withQuotas starts a service whose channels and endpoints may have so many
// messages waiting.
func withQuotas(t *testing.T, channel, endpoint uint64) *harness {
	t.Helper()
	var backlog *ingest.Backlog
	h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) {
		backlog = ingest.NewBacklog(ingest.BacklogOptions{
			Read: func(ctx context.Context) (*topology.Backlog, error) {
				return topology.ReadBacklog(ctx, d.Publisher.(*broker.Conn).JS, brokertest.Layout) //nolint:forcetypeassert // the harness made it
			},
			Channel: ingest.Quota{Messages: channel}, Endpoint: ingest.Quota{Messages: endpoint},
			Config: d.Config, Log: zap.NewNop(),
		})
		d.Backlog = backlog
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- backlog.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return h
}

// until posts c until it is answered as wanted.
func (h *harness) until(t *testing.T, status int, c call) answer {
	t.Helper()
	var a answer
	require.Eventually(t, func() bool {
		a = h.do(t, c)
		return a.status == status
	}, 20*time.Second, 50*time.Millisecond)
	return a
}

func (h *harness) purge(t *testing.T, name string) {
	t.Helper()
	stream, err := h.broker.JS.Stream(t.Context(), name)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(t.Context()))
}

func TestChannelOverItsQuotaIsRefusedAlone(t *testing.T) {
	h := withQuotas(t, 10, 0)
	hello := text("c1", "hello")
	for range 10 {
		require.Equal(t, http.StatusAccepted, h.do(t, call{body: hello}).status, "an empty channel takes its quota at once")
	}
	a := h.until(t, http.StatusServiceUnavailable, call{body: hello})
	require.Equal(t, http.StatusServiceUnavailable, h.do(t, call{body: hello, key: "k"}).status)
	require.Contains(t, a.body, "channel-backlog-full")
	require.Contains(t, a.body, "the channel has ")
	require.Contains(t, a.body, "its quota is 10 messages")
	require.Equal(t, "5", a.header.Get("Retry-After"))

	other := call{path: "/v1/channels/webhook/app/messages", token: h.app, body: hello}
	require.Equal(t, http.StatusAccepted, h.do(t, other).status, "the others go on")
	batch := h.do(t, call{content: ndjson, body: hello + "\n" + text("c2", "hello")})
	require.Equal(t, http.StatusOK, batch.status)
	require.Equal(t, 2, strings.Count(batch.body, "channel-backlog-full"), batch.body)
	legacy := call{path: "/api/webhookMessage/pizza", token: "-", body: `{"text":"hello","sender":{"id":"c1"},"verifyToken":"` + verifyShop + `"}`}
	require.Equal(t, http.StatusServiceUnavailable, h.do(t, legacy).status)
	actions := call{path: "/v1/bots/pizza/conversations/c1/actions", body: `{"pauseBot":true,"channel":"shop"}`}
	require.Equal(t, http.StatusServiceUnavailable, h.do(t, actions).status)

	for p := range brokertest.Layout.Partitions {
		h.purge(t, topology.HotStream(chat.StageUser, p))
	}
	h.until(t, http.StatusAccepted, call{body: hello, key: "k"})
}

func TestEndpointOverItsQuotaRefusesItsChannelAlone(t *testing.T) {
	h := withQuotas(t, 0, 20)
	key := chat.KeyOf("shop", "c1")
	subject, _ := topology.LaneSubjects(chat.StageBot, 0, "e1", key)
	for range 20 {
		_, err := h.broker.Publish(t.Context(), broker.Message{Subject: subject, Data: []byte("waits")})
		require.NoError(t, err)
	}
	hello := text("c1", "hello")
	a := h.until(t, http.StatusServiceUnavailable, call{body: hello})
	require.Contains(t, a.body, "the channel's endpoint e1 has 20 messages")
	other := call{path: "/v1/channels/webhook/app/messages", token: h.app, body: hello}
	require.Equal(t, http.StatusAccepted, h.do(t, other).status)

	h.purge(t, topology.ParkedStream(chat.StageBot))
	h.until(t, http.StatusAccepted, call{body: hello})
}

// While the backlog can't be read, what is known of it stands.
func TestBacklogThatCannotBeRead(t *testing.T) {
	h := withQuotas(t, 10, 0)
	hello := text("c1", "hello")
	for range 10 {
		h.do(t, call{body: hello})
	}
	h.until(t, http.StatusServiceUnavailable, call{body: hello})
	h.stop()
	require.Contains(t, h.do(t, call{body: hello}).body, "channel-backlog-full")
}
