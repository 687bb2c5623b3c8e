package chat_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func TestCheckHeader(t *testing.T) {
	for _, name := range []string{"X-Api-Key", "x-api-key", "Authorization", "Cookie", "Accept", strings.Repeat("x", chat.MaxHeaderName)} {
		require.NoError(t, chat.CheckHeader(name, "v 1\t2"), name)
	}
	require.NoError(t, chat.CheckHeader("X", strings.Repeat("v", chat.MaxHeaderValue)))
	for _, name := range []string{
		"", " ", "a b", "a:b", "ä", "x_y", "x\r\ny", strings.Repeat("x", chat.MaxHeaderName+1),
		"webhook-id", "Webhook-Anything", "PARLEY-REPLAY", "parley-own", "content-type", "Content-Length", "host", "Connection",
		"transfer-encoding", "traceparent", "tracestate", "User-Agent", "keep-alive", "TE", "trailer", "upgrade", "proxy-authorization",
		"Proxy-Connection", "expect", "accept-encoding", "idempotency-key", "X-Idempotency-Key", "http2-settings", "date",
	} {
		require.Error(t, chat.CheckHeader(name, "v"), name)
	}
	for _, value := range []string{"", " v", "v ", "\tv", "a\r\nb", "a\x00", "ä", "\x7f", strings.Repeat("v", chat.MaxHeaderValue+1)} {
		err := chat.CheckHeader("X-A", value)
		require.Error(t, err, "%q", value)
		if len(value) > 2 {
			require.NotContains(t, err.Error(), value)
		}
	}
}

func TestRotate(t *testing.T) {
	at := time.Unix(1000, 0)
	first := chat.Endpoint{Secrets: []chat.Secret{"whsec_1"}}
	e := first
	e.Rotate("whsec_2", "whsk_unused", at)
	require.Equal(t, chat.Endpoint{Secrets: []chat.Secret{"whsec_2"}, Retiring: []chat.Retiring{{Key: "whsec_1", Until: at}}}, e)
	e.SigningKey = "whsk_1"
	e.Rotate("whsec_3", "whsk_2", at.Add(time.Hour))
	require.Equal(t, chat.Secret("whsk_2"), e.SigningKey)
	require.Equal(t, []chat.Retiring{
		{Key: "whsec_2", Until: at.Add(time.Hour)}, {Key: "whsk_1", Until: at.Add(time.Hour)}, {Key: "whsec_1", Until: at},
	}, e.Retiring)

	pruned := e
	pruned.Prune(at)
	require.Len(t, pruned.Retiring, 2)
	require.Len(t, e.Retiring, 3, "what is shared stays as it is")
	pruned.DropRetiring(chat.PrefixSigningKey)
	require.Equal(t, []chat.Retiring{{Key: "whsec_2", Until: at.Add(time.Hour)}}, pruned.Retiring)
	e.Rotate("whsec_4", "whsk_3", time.Time{})
	require.Empty(t, e.Retiring)
	require.Equal(t, []chat.Secret{"whsec_1"}, first.Secrets)
}
