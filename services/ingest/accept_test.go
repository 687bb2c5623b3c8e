package ingest_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/services/ingest"
)

func TestEveryKindOfMessageIsStored(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) { d.Now = func() time.Time { return now } })
	for kind, body := range map[chat.InputKind]string{
		chat.InputText:     `{"text":"A large one, please"}`,
		chat.InputPostback: `{"title":"Large","payload":"{}","nextDialogstateId":"toppings","sessionDataToSet":[{"key":"size","value":"large"}]}`,
		chat.InputIntro:    `{}`,
		chat.InputFile:     `{"urls":["https://files.example/a.png"]}`,
		chat.InputLocation: `{"lat":52.1,"long":-4.3}`,
	} {
		t.Run(string(kind), func(t *testing.T) {
			id, conversation := h.good(t, call{
				body: fmt.Sprintf(`{"user":{"id":"c/%[1]s","firstName":"Ada"},"message":{"%[1]s":%[2]s},"sessionData":{"a":1},"locale":"nl-BE","expireAfter":60,"supersede":true}`, kind, body),
				header: [2]string{
					"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
				},
			})
			require.Equal(t, "c/"+string(kind), conversation)
			at, key, err := chat.ParseMessageID(id)
			require.NoError(t, err)
			require.Equal(t, now.UnixMilli(), at.UnixMilli())
			require.Equal(t, chat.KeyOf("shop", conversation), key)

			m := find(t, h.stored(t), id)
			require.NotZero(t, m.ConfigRevision)
			require.Equal(t, &chat.UserMessage{
				ID: id, ChannelID: "shop", ConversationID: conversation, AcceptedAt: now.Truncate(time.Millisecond),
				ExpiresAt:      now.Truncate(time.Millisecond).Add(time.Minute),
				Supersede:      true,
				ConfigRevision: m.ConfigRevision, Input: chat.Input{Kind: kind, Body: []byte(body)},
				SessionData: []byte(`{"a":1}`), User: []byte(`{"id":"c/` + string(kind) + `","firstName":"Ada"}`),
				Locale: "nl-BE", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			}, m)
		})
	}
}

func find(t *testing.T, messages []*chat.UserMessage, id string) *chat.UserMessage {
	t.Helper()
	for _, m := range messages {
		if m.ID == id {
			return m
		}
	}
	require.Failf(t, "not stored", "%s", id)
	return nil
}

func TestTheSameMessageTwiceIsTwoMessages(t *testing.T) {
	h := newHarness(t, nil)
	first, _ := h.good(t, call{body: text("c1", "hi")})
	second, _ := h.good(t, call{body: text("c1", "hi"), content: "application/json; charset=utf-8"})
	require.NotEqual(t, first, second)
	stored := h.stored(t)
	require.Len(t, stored, 2)
	require.NotEqual(t, stored[0].Traceparent, stored[1].Traceparent)
}

func TestBadInput(t *testing.T) {
	h := newHarness(t, nil)
	const legacy, actions = "/api/webhookMessage/pizza", "/v1/bots/solo/conversations/c1/actions"
	hi := text("c1", "hi")
	legacyBody := func(token string) string {
		return `{"text":"hi","sender":{"id":"c1"},"verifyToken":"` + token + `"}`
	}
	for name, tc := range map[string]struct {
		call
		status    int
		slug      string
		pointer   string // of the first error; "-" where there are none
		challenge string
		described bool // the request is what the API's description allows
	}{
		"not JSON":               {call{body: `{"conversationId":`}, 400, "not-json", "", "", false},
		"not JSON, bare text":    {call{body: `hello`}, 400, "not-json", "", "", false},
		"empty body":             {call{body: ``}, 400, "not-json", "", "", false},
		"not UTF-8":              {call{body: "{\"conversationId\":\"\xff\"}"}, 400, "not-json", "", "", false},
		"an array":               {call{body: `[]`}, 422, "invalid", "", "", false},
		"wrong type of id":       {call{body: `{"conversationId":7,"message":{"introMessage":{}}}`}, 422, "invalid", "/conversationId", "", false},
		"wrong type of text":     {call{body: `{"conversationId":"c","message":{"textMessage":{"text":7}}}`}, 422, "invalid", "/message/textMessage/text", "", false},
		"two kinds":              {call{body: `{"conversationId":"c","message":{"introMessage":{},"textMessage":{"text":"a"}}}`}, 422, "invalid", "/message/textMessage", "", false},
		"no kind":                {call{body: `{"conversationId":"c","message":{}}`}, 422, "invalid", "/message", "", false},
		"no message":             {call{body: `{"conversationId":"c"}`}, 422, "invalid", "/message", "", false},
		"no id":                  {call{body: `{"message":{"introMessage":{}}}`}, 422, "invalid", "/conversationId", "", false},
		"id of 257":              {call{body: text(strings.Repeat("x", 257), "hi")}, 422, "invalid", "/conversationId", "", false},
		"user id of 257":         {call{body: `{"user":{"id":"` + strings.Repeat("x", 257) + `"},"message":{"introMessage":{}}}`}, 422, "invalid", "/user/id", "", false},
		"session data too large": {call{body: `{"conversationId":"c","message":{"introMessage":{}},"sessionData":{"a":"` + strings.Repeat("x", chat.MaxSessionData) + `"}}`}, 422, "invalid", "/sessionData", "", true},
		"body over the limit":    {call{body: text("c", strings.Repeat("x", 64<<10))}, 413, "too-large", "-", "", false},
		"content type":           {call{body: hi, content: "text/plain"}, 415, "unsupported-media-type", "-", "", false},
		"charset":                {call{body: hi, content: "application/json; charset=latin1"}, 415, "unsupported-media-type", "-", "", true},
		"content encoding":       {call{body: hi, header: [2]string{"Content-Encoding", "gzip"}}, 415, "unsupported-media-type", "-", "", true},
		"empty key":              {call{body: hi, header: [2]string{"Idempotency-Key", ""}}, 400, "invalid-idempotency-key", "-", "", true},
		"key of 256":             {call{body: hi, key: strings.Repeat("k", 256)}, 400, "invalid-idempotency-key", "-", "", false},
		"key not ASCII":          {call{body: hi, key: "clé"}, 400, "invalid-idempotency-key", "-", "", false},

		"no token":                         {call{body: hi, token: "-"}, 401, "unauthorized", "-", `Bearer realm="parley"`, false},
		"basic instead of bearer":          {call{body: hi, token: "-", header: [2]string{"Authorization", "Basic eDp5"}}, 401, "unauthorized", "-", `Bearer realm="parley"`, false},
		"wrong token":                      {call{body: hi, token: h.shop + "x"}, 401, "unauthorized", "-", `Bearer realm="parley", error="invalid_token"`, true},
		"no token, unknown channel":        {call{body: hi, token: "-", path: "/v1/channels/webhook/none/messages"}, 401, "unauthorized", "-", `Bearer realm="parley"`, false},
		"wrong token, unknown channel":     {call{body: hi, token: "pat_a_b", path: "/v1/channels/webhook/none/messages"}, 401, "unauthorized", "-", `Bearer realm="parley", error="invalid_token"`, true},
		"unknown channel":                  {call{body: hi, path: "/v1/channels/webhook/none/messages"}, 404, "unknown-channel", "-", "", true},
		"token of another channel":         {call{body: hi, token: h.app}, 403, "forbidden", "-", "", true},
		"ops token":                        {call{body: hi, token: h.ops}, 403, "forbidden", "-", "", true},
		"unauthorized before body is read": {call{body: `x`, token: "-", content: "text/plain"}, 401, "unauthorized", "-", `Bearer realm="parley"`, false},

		"legacy: wrong verify token":         {call{path: legacy, body: legacyBody("x")}, 403, "forbidden", "-", "", true},
		"legacy: verify token of other bot":  {call{path: "/api/webhookMessage/solo", body: legacyBody(verifyShop)}, 403, "forbidden", "-", "", true},
		"legacy: endpoint without a token":   {call{path: "/api/webhookMessage/solo", body: legacyBody("")}, 403, "forbidden", "-", "", false},
		"legacy: unknown bot":                {call{path: "/api/webhookMessage/none", body: legacyBody(verifyShop)}, 403, "forbidden", "-", "", true},
		"legacy: no token, and wrong":        {call{path: legacy, body: `{}`}, 403, "forbidden", "-", "", false},
		"legacy: wrong token, and wrong":     {call{path: legacy, body: `{"verifyToken":"x","text":7}`}, 403, "forbidden", "-", "", false},
		"legacy: right token, and wrong":     {call{path: legacy, body: `{"verifyToken":"` + verifyShop + `","sender":{"id":"c"},"text":7}`}, 422, "invalid", "/text", "", false},
		"legacy: verify token of 2 channels": {call{path: legacy, body: legacyBody(verifyBoth)}, 422, "ambiguous-channel", "-", "", true},
		"legacy: not JSON":                   {call{path: legacy, body: `{`}, 400, "not-json", "", "", false},
		"legacy: content type":               {call{path: legacy, body: legacyBody(verifyShop), content: "text/plain"}, 415, "unsupported-media-type", "-", "", false},
		"legacy: over the limit":             {call{path: legacy, body: strings.Repeat(" ", 64<<10+1)}, 413, "too-large", "-", "", false},

		"actions: no token":             {call{path: actions, token: "-", body: `{"pauseBot":true}`}, 401, "unauthorized", "-", `Bearer realm="parley"`, false},
		"actions: unknown bot":          {call{path: "/v1/bots/none/conversations/c1/actions", body: `{"pauseBot":true}`}, 404, "unknown-bot", "-", "", true},
		"actions: token of another bot": {call{path: actions, body: `{"pauseBot":true}`}, 403, "forbidden", "-", "", true},
		"actions: not JSON":             {call{path: actions, token: h.one, body: `pause`}, 400, "not-json", "", "", false},
		"actions: nothing":              {call{path: actions, token: h.one, body: `{}`}, 422, "invalid", "", "", false},
		"actions: both":                 {call{path: actions, token: h.one, body: `{"pauseBot":true,"resumeBot":true}`}, 422, "invalid", "/resumeBot", "", false},
		"actions: bad message":          {call{path: actions, token: h.one, body: `{"sendMessages":[{"text":"a"},{"attachment":{"type":"image","payload":{}}}]}`}, 422, "invalid", "/sendMessages/1/attachment/payload/url", "", false},
		"actions: channel required":     {call{path: "/v1/bots/pizza/conversations/c1/actions", body: `{"pauseBot":true}`}, 422, "channel-required", "/channel", "", true},
		"actions: other channel":        {call{path: "/v1/bots/pizza/conversations/c1/actions", body: `{"pauseBot":true,"channel":"app"}`}, 403, "forbidden", "-", "", true},
		"actions: unknown channel":      {call{path: actions, token: h.one, body: `{"pauseBot":true,"channel":"none"}`}, 403, "forbidden", "-", "", true},
		"actions: id of 257":            {call{path: "/v1/bots/solo/conversations/" + strings.Repeat("x", 257) + "/actions", token: h.one, body: `{"pauseBot":true}`}, 422, "invalid", "", "", false},
		"actions: control character":    {call{path: "/v1/bots/solo/conversations/a%00b/actions", token: h.one, body: `{"pauseBot":true}`}, 422, "invalid", "", "", true},

		"no such path":   {call{path: "/nowhere"}, 404, "not-found", "-", "", false},
		"no such method": {call{method: http.MethodGet}, 405, "method-not-allowed", "-", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.described {
				require.Empty(t, h.contract.request(h.request(t, tc.call)))
			} else {
				require.NotEmpty(t, h.contract.request(h.request(t, tc.call)))
			}
			a := h.do(t, tc.call)
			p := a.problem(t)
			require.Equal(t, tc.status, a.status, a.body)
			require.Equal(t, tc.status, p.Status)
			require.Equal(t, tc.slug, p.Slug())
			require.NotEmpty(t, p.Title)
			require.NotEmpty(t, p.Detail)
			require.Equal(t, tc.challenge, a.header.Get("WWW-Authenticate"))
			if tc.pointer == "-" {
				require.Empty(t, p.Errors)
				return
			}
			require.NotEmpty(t, p.Errors)
			require.Equal(t, tc.pointer, p.Errors[0].Pointer, a.body)
			require.NotEmpty(t, p.Errors[0].Detail)
		})
	}
	require.Empty(t, h.stored(t), "nothing of it was stored")
}

func TestABodyOfUnknownLengthIsBounded(t *testing.T) {
	h := newHarness(t, nil)
	r := h.request(t, call{body: text("c", strings.Repeat("x", 64<<10))})
	r.ContentLength = -1
	a, err := h.send(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestEntityTooLarge, a.status)
	require.Equal(t, "too-large", a.problem(t).Slug())

	r = h.request(t, call{body: text("c", "hi")})
	r.ContentLength = -1
	a, err = h.send(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusAccepted, a.status)
}

func TestBrokerStopped(t *testing.T) {
	h := newHarness(t, nil)
	h.good(t, call{body: text("c1", "before")})
	h.stop()
	for name, c := range map[string]call{
		"message":          {body: text("c1", "hi")},
		"message with key": {body: text("c1", "hi"), key: "k"},
		"legacy":           {path: "/api/webhookMessage/pizza", body: `{"text":"hi","sender":{"id":"c1"},"verifyToken":"` + verifyShop + `"}`},
		"actions":          {path: "/v1/bots/solo/conversations/c1/actions", token: h.one, body: `{"pauseBot":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				a := h.do(t, c)
				require.Equal(t, http.StatusServiceUnavailable, a.status)
				require.Equal(t, "1", a.header.Get("Retry-After"))
				require.Equal(t, "broker-unavailable", a.problem(t).Slug())
			}
		})
	}
	a := h.do(t, call{content: ndjson, body: text("c1", "1") + "\n" + text("c2", "2") + "\n" + text("c1", "3")})
	require.Equal(t, http.StatusOK, a.status)
	require.Equal(t, "1", a.header.Get("Retry-After"))
	require.NotContains(t, a.body, "202")
	requireSlugs(t, a, "broker-unavailable", "broker-unavailable", "conversation-blocked")
	require.Equal(t, 1, h.logs.FilterMessageSnippet("answered 503").Len(), "logged, and not for every message")
}

func TestPublishFails(t *testing.T) {
	for name, tc := range map[string]struct {
		publish    publisher
		status     int
		slug, wait string
	}{
		"full": {func(context.Context, broker.Message) (uint64, error) {
			return 0, fmt.Errorf("publishing: %w", broker.ErrFull)
		}, 503, "store-full", "5"},
		"unavailable": {func(context.Context, broker.Message) (uint64, error) {
			return 0, fmt.Errorf("publishing: %w", broker.ErrUnavailable)
		}, 503, "broker-unavailable", "1"},
		"never confirmed": {func(ctx context.Context, _ broker.Message) (uint64, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}, 503, "broker-unavailable", "1"},
		"panic": {func(context.Context, broker.Message) (uint64, error) { panic("oh") }, 500, "internal", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(o *ingest.Options, d *ingest.Deps) {
				o.PublishTimeout, d.Publisher = 20*time.Millisecond, tc.publish
			})
			a := h.do(t, call{body: text("c1", "hi")})
			require.Equal(t, tc.status, a.status)
			require.Equal(t, tc.slug, a.problem(t).Slug())
			require.Equal(t, tc.wait, a.header.Get("Retry-After"))

			require.Equal(t, 1.0, h.refused(t, "message", tc.slug))

			a = h.do(t, call{content: ndjson, body: text("c1", "hi")})
			requireSlugs(t, a, tc.slug)
			require.Equal(t, 1.0, h.refused(t, "batch", tc.slug))
		})
	}
}

func TestTooManyRequests(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	h := newHarness(t, func(o *ingest.Options, d *ingest.Deps) {
		o.MaxRequests = 1
		d.Publisher = publisher(func(context.Context, broker.Message) (uint64, error) {
			entered <- struct{}{}
			<-release
			return 1, nil
		})
	})
	first := h.later(h.request(t, call{body: text("c1", "hi")}))
	<-entered
	a := h.do(t, call{body: text("c1", "hi")})
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Equal(t, "overloaded", a.problem(t).Slug())
	require.Equal(t, "1", a.header.Get("Retry-After"))
	close(release)
	require.Equal(t, http.StatusAccepted, (<-first).status)
}

// later sends a request without waiting; a failure's answer has status 0.
func (h *harness) later(r *http.Request) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		a, err := h.send(r)
		if err != nil {
			a.body = err.Error()
		}
		out <- a
	}()
	return out
}

func TestMetrics(t *testing.T) {
	h := newHarness(t, nil)
	problems, err := testutil.GatherAndLint(h.metrics)
	require.NoError(t, err)
	require.Empty(t, problems)
	n, err := testutil.GatherAndCount(h.metrics, "parley_ingest_refused_total")
	require.NoError(t, err)
	require.Equal(t, 6*24, n, "every reason of every form is there before the first refusal")

	h.good(t, call{body: text("c1", "hi")})
	h.do(t, call{body: `x`})
	h.do(t, call{content: ndjson, body: text("c1", "hi") + "\nx"})
	for _, c := range []struct{ form, reason string }{{"message", "not-json"}, {"batch", "not-json"}} {
		require.Equal(t, 1.0, h.refused(t, c.form, c.reason), c)
	}
	require.NoError(t, testutil.GatherAndCompare(h.metrics, strings.NewReader(`
# HELP parley_ingest_accepted_total Messages that the broker has confirmed.
# TYPE parley_ingest_accepted_total counter
parley_ingest_accepted_total{form="actions"} 0
parley_ingest_accepted_total{form="batch"} 1
parley_ingest_accepted_total{form="legacy"} 0
parley_ingest_accepted_total{form="message"} 1
# HELP parley_ingest_requests_in_flight Requests under way.
# TYPE parley_ingest_requests_in_flight gauge
parley_ingest_requests_in_flight 0
`), "parley_ingest_accepted_total", "parley_ingest_requests_in_flight"))
}

// refused reads a counter of parley_ingest_refused_total.
func (h *harness) refused(t *testing.T, form, reason string) float64 {
	t.Helper()
	families, err := h.metrics.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if family.GetName() == "parley_ingest_refused_total" && labels["form"] == form && labels["reason"] == reason {
				return m.GetCounter().GetValue()
			}
		}
	}
	require.Failf(t, "no such counter", "%s %s", form, reason)
	return 0
}
