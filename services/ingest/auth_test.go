package ingest_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/services/ingest"
)

// What another process has just configured is valid here at once, in every
// form; what nobody has configured is refused as ever.
func TestConfigurationOfAMomentAgo(t *testing.T) {
	h := newHarness(t, nil)
	sealer, err := registry.NewSealer(make([]byte, 32))
	require.NoError(t, err)
	other, err := registry.Open(t.Context(), h.broker.JS, registry.Options{Sealer: sealer})
	require.NoError(t, err)
	watching, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.registry.Run(watching) }()
	defer func() {
		stop()
		require.NoError(t, <-done)
	}()
	for i := range 20 {
		id := "late-" + string(rune('a'+i))
		_, _, err := other.PutBot(t.Context(), chat.Bot{ID: id, Kind: "echo"}, registry.Absent)
		require.NoError(t, err)
		_, err = other.PutChannel(t.Context(), chat.Channel{ID: id, BotID: id}, registry.Absent)
		require.NoError(t, err)
		clear, token := registry.NewToken(id, "test", time.Now())
		_, err = other.PutToken(t.Context(), token, registry.Absent)
		require.NoError(t, err)
		c := call{path: "/v1/channels/webhook/" + id + "/messages", token: clear, body: text("c1", "hello")}
		if i%3 == 1 {
			c = call{path: "/v1/bots/" + id + "/conversations/c1/actions", token: clear, body: `{"pauseBot":true}`}
		}
		want := http.StatusAccepted
		if i%3 == 2 {
			_, _, err = other.PutEndpoint(t.Context(), chat.Endpoint{ID: id, ChannelID: id, VerifyToken: "late", URL: "https://customer.example/hook"}, registry.Absent)
			require.NoError(t, err)
			c = call{path: "/api/webhookMessage/" + id, token: "-", body: `{"text":"hello","sender":{"id":"c1"},"verifyToken":"late"}`}
			want = http.StatusOK
		}
		a := h.do(t, c)
		require.Equal(t, want, a.status, a.body)
	}
	require.Equal(t, http.StatusUnauthorized, h.do(t, call{token: "pat_nobody", body: text("c1", "hello")}).status)
}

// While the leader can't be asked, a request that the snapshot would refuse is
// not refused for good.
func TestRefusalThatCannotBeConfirmed(t *testing.T) {
	h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) {
		d.CatchUp = func(ctx context.Context) (ingest.Config, error) { return nil, context.DeadlineExceeded }
	})
	a := h.do(t, call{token: "pat_unknown", body: text("c1", "hello")})
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Equal(t, http.StatusUnauthorized, h.do(t, call{token: "-", body: text("c1", "hello")}).status, "what has no token needs no confirmation")
	require.Equal(t, http.StatusAccepted, h.do(t, call{body: text("c1", "hello")}).status, "what is known is let in")
}
