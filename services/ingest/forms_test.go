package ingest_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func TestLegacy(t *testing.T) {
	h := newHarness(t, nil)
	for verify, channel := range map[string]string{verifyShop: "shop", verifyApp: "app"} {
		for _, content := range []string{"application/json", "-"} {
			a := h.do(t, call{
				path: "/api/webhookMessage/pizza", token: "-", content: content,
				body: `{"text":"hi","sender":{"id":"` + channel + content + `"},"verifyToken":"` + verify + `","locale":"nl"}`,
			})
			require.Equal(t, http.StatusOK, a.status, a.body)
			require.Equal(t, "EVENT_RECEIVED", a.body)
			require.Contains(t, a.header.Get("Content-Type"), "text/plain")
		}
	}
	stored := h.stored(t)
	require.Len(t, stored, 4)
	for _, m := range stored {
		require.Contains(t, m.ConversationID, m.ChannelID)
		require.Equal(t, "nl", m.Locale)
		require.JSONEq(t, `{"text":"hi"}`, string(m.Input.Body))
	}
}

func TestLegacyButton(t *testing.T) {
	h := newHarness(t, nil)
	c := call{path: "/api/webhookMessage/pizza", token: "-", body: `{"text":"{\"nextDialogstateId\":\"toppings\",\"caption\":\"Large\"}",
		"sender":{"id":"c1"},"verifyToken":"` + verifyShop + `"}`}
	require.Empty(t, h.contract.request(h.request(t, c)))
	require.Equal(t, http.StatusOK, h.do(t, c).status)
	stored := h.stored(t)
	require.Len(t, stored, 1)
	require.Equal(t, chat.InputPostback, stored[0].Input.Kind)
	require.JSONEq(t, `{"title":"Large","nextDialogstateId":"toppings"}`, string(stored[0].Input.Body))
}

func TestActions(t *testing.T) {
	h := newHarness(t, nil)
	for name, tc := range map[string]struct {
		path, token, body, channel, conversation string
	}{
		"the bot's only channel": {"/v1/bots/solo/conversations/c1/actions", h.one, `{"sendMessages":[{"text":"hi"}],"pauseBot":true}`, "one", "c1"},
		"channel named":          {"/v1/bots/pizza/conversations/c1/actions", h.app, `{"resumeBot":true,"channel":"app"}`, "app", "c1"},
		"id that is encoded":     {"/v1/bots/solo/conversations/a%2Fb%20c%25%C3%A9/actions", h.one, `{"nextDialogstate":"x","sessionData":{"a":[1]}}`, "one", "a/b c%é"},
		"id encoded by default":  {"/v1/bots/solo/conversations/100%25%202/actions", h.one, `{"nextDialogstate":"x"}`, "one", "100% 2"},
	} {
		t.Run(name, func(t *testing.T) {
			c := call{path: tc.path, token: tc.token, body: tc.body}
			id, conversation := h.good(t, c)
			require.Equal(t, tc.conversation, conversation)
			m := find(t, h.stored(t), id)
			require.Equal(t, tc.channel, m.ChannelID)
			require.Equal(t, tc.conversation, m.ConversationID)
			require.Equal(t, chat.InputActions, m.Input.Kind)
			want, _, err := chat.DecodeActions([]byte(tc.body))
			require.NoError(t, err)
			got, _, err := chat.DecodeActions(m.Input.Body)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}
