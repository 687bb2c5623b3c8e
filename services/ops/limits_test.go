package ops_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/services/ops"
)

// Rates are stored, shown as they were written, kept by who puts back what it
// read, and taken away.
func TestRates(t *testing.T) {
	a := newAPI(t)
	ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"pizza","kind":"echo"}`})
	ch, got := ok[ops.Channel](a, 201, request{method: "POST", path: "/channels", body: `{"id":"shop","botId":"pizza","limit":"100/s:200","conversationLimit":"off"}`})
	require.Equal(t, "100/s:200", ch.Limit)
	require.Equal(t, "off", ch.ConversationLimit)
	stored, _ := a.registry.Snapshot().Channel("shop")
	require.Equal(t, &chat.Rate{Count: 100, Per: time.Second, Burst: 200}, stored.Limit)
	require.Equal(t, &chat.Rate{}, stored.ConversationLimit)
	same, _ := ok[ops.Channel](a, 200, request{method: "PUT", path: "/channels/shop", body: string(got.body)})
	require.Equal(t, "100/s:200", same.Limit)
	none, _ := ok[ops.Channel](a, 200, request{method: "PUT", path: "/channels/shop", body: `{"botId":"pizza"}`})
	require.Empty(t, none.Limit)

	token, _ := ok[ops.Token](a, 201, request{method: "POST", path: "/tokens", body: `{"channelId":"shop","limit":"30/m"}`})
	require.Equal(t, "30/m", token.Limit)

	e, _ := ok[ops.Endpoint](a, 201, request{method: "POST", path: "/channels/shop/endpoints", body: `{"id":"crm","url":"https://example.com/hook","rateLimit":"10/s:20"}`})
	require.Equal(t, "10/s:20", e.RateLimit)
	_, got = ok[ops.Endpoint](a, 200, request{method: "GET", path: "/endpoints/crm"})
	e, _ = ok[ops.Endpoint](a, 200, request{method: "PUT", path: "/endpoints/crm", body: string(got.body)})
	require.Equal(t, "10/s:20", e.RateLimit)

	for path, body := range map[string]string{
		"/channels": `{"id":"other","botId":"pizza","limit":"fast","conversationLimit":"0/s"}`,
		"/tokens":   `{"channelId":"shop","limit":"1/h"}`,
	} {
		p := a.refused(http.StatusUnprocessableEntity, "invalid", request{method: "POST", path: path, body: body, offContract: true})
		require.Equal(t, "/limit", p.Errors[0].Pointer)
	}
	a.refused(http.StatusUnprocessableEntity, "invalid", request{method: "POST", path: "/tokens", body: `{"ops":true,"limit":"1/s"}`})
}
