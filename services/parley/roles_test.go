package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/deploy/samples"
	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

func newBotMaker(t *testing.T, guard *webhook.Guard) botMaker {
	t.Helper()
	client, err := webhook.NewClient(webhook.Options{Guard: guard})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return botMaker{client: client, guard: guard}
}

func TestMakeBots(t *testing.T) {
	m := newBotMaker(t, &webhook.Guard{})
	for name, c := range map[string]struct {
		config chat.Bot
		want   string // of the error
	}{
		"echo":      {chat.Bot{Kind: registry.BotEcho}, ""},
		"flow":      {chat.Bot{Kind: registry.BotFlow, Flow: string(samples.Pizza())}, ""},
		"bad flow":  {chat.Bot{ID: "a", Kind: registry.BotFlow, Flow: "x"}, "the flow of bot a: "},
		"http":      {chat.Bot{Kind: registry.BotHTTP, URL: "https://example.com"}, ""},
		"forbidden": {chat.Bot{Kind: registry.BotHTTP, URL: "http://127.0.0.1/"}, "the URL: "},
		"magic":     {chat.Bot{ID: "a", Kind: "magic"}, `bot a is of kind "magic"`},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := m.make(&c.config, nil)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				require.Nil(t, made)
				return
			}
			require.NoError(t, err)
			require.NotNil(t, made)
		})
	}
}

// TestABotOfAnotherKindKeepsNoConnection: nor does one that can't be made.
func TestABotOfAnotherKindKeepsNoConnection(t *testing.T) {
	authority := webhooktest.NewAuthority(t)
	closed := make(chan struct{}, 1)
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	service.TLS = authority.ServerConfig(nil)
	service.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	service.StartTLS()
	t.Cleanup(service.Close)
	m := newBotMaker(t, &webhook.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AnyPort: true})
	for _, next := range []chat.Bot{{Kind: registry.BotEcho}, {Kind: "magic"}, {Kind: registry.BotHTTP, URL: "ftp://x"}} {
		first, err := m.make(&chat.Bot{Kind: registry.BotHTTP, URL: service.URL, Sending: chat.Sending{TLS: &chat.TLS{CA: authority.PEM()}}}, nil)
		require.NoError(t, err)
		_, err = first.Respond(t.Context(), &bot.Turn{Input: chat.Input{Kind: chat.InputIntro, Body: []byte(`{}`)}})
		require.NoError(t, err)
		require.Empty(t, closed)
		_, _ = m.make(&next, first)
		select {
		case <-closed:
		case <-time.After(10 * time.Second): // less than an unused one is kept anyway
			require.Fail(t, "the connection is still there")
		}
	}
}
