package ops_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/ops"
)

// withEndpoint makes a channel with the endpoint crm.
func (a *api) withEndpoint(body string) (e ops.Endpoint) {
	a.t.Helper()
	ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"pizza","kind":"echo"}`})
	ok[ops.Channel](a, 201, request{method: "POST", path: "/channels", body: `{"id":"shop","botId":"pizza"}`})
	e, _ = ok[ops.Endpoint](a, 201, request{method: "POST", path: "/channels/shop/endpoints", body: body})
	return e
}

func (a *api) stored() *chat.Endpoint {
	a.t.Helper()
	e, found := a.registry.Snapshot().Endpoint("crm")
	require.True(a.t, found)
	return e
}

// encode returns v as JSON.
func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func TestRotateSecret(t *testing.T) {
	a := newAPI(t)
	made := a.withEndpoint(`{"id":"crm","url":"https://example.com","v1a":true}`)
	require.Regexp(t, "^whpk_", made.PublicKey)
	first := a.stored()

	rotated, got := ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/crm/rotate-secret"})
	require.Len(t, rotated.Secrets, 1)
	require.Regexp(t, "^whsec_", rotated.Secrets[0], "the new one is shown")
	require.NotContains(t, string(got.body), first.Secrets[0].Reveal())
	require.NotContains(t, string(got.body), "whsk_")
	require.NotEqual(t, made.PublicKey, rotated.PublicKey)
	require.Len(t, rotated.Retiring, 2)
	require.Equal(t, []string{"v1", "v1a"}, []string{rotated.Retiring[0].Version, rotated.Retiring[1].Version})
	require.Equal(t, made.PublicKey, rotated.Retiring[1].PublicKey)
	until := time.Until(rotated.Retiring[0].Until)
	require.True(t, until > 23*time.Hour && until <= 24*time.Hour, until)
	second := a.stored()
	require.Equal(t, rotated.Secrets[0], second.Secrets[0].Reveal())
	require.Equal(t, first.Secrets[0], second.Retiring[0].Key)
	require.Equal(t, first.SigningKey, second.Retiring[1].Key)

	// What was read can be put again, and is not shown again.
	_, got = ok[ops.Endpoint](a, 200, request{method: "GET", path: "/endpoints/crm"})
	require.NotContains(t, string(got.body), "whsec_")
	ok[ops.Endpoint](a, 200, request{method: "PUT", path: "/endpoints/crm", body: string(got.body)})
	require.Equal(t, second, a.stored())

	rotated, _ = ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/crm/rotate-secret", body: `{"overlap":"0s"}`})
	require.Empty(t, rotated.Retiring)
	require.Len(t, a.stored().Secrets, 1)
	require.Empty(t, a.stored().Retiring)

	// A list of secrets is the whole list, and without v1a there is no key.
	ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/crm/rotate-secret", body: `{"overlap":"1h"}`})
	own := webhook.NewSecret().Reveal()
	ok[ops.Endpoint](a, 200, request{method: "PUT", path: "/endpoints/crm", body: `{"url":"https://example.com","v1a":true,"secrets":["` + own + `"]}`})
	require.Len(t, a.stored().Retiring, 1)
	plain, _ := ok[ops.Endpoint](a, 200, request{method: "PUT", path: "/endpoints/crm", body: `{"url":"https://example.com"}`})
	require.Empty(t, plain.PublicKey)
	require.Empty(t, a.stored().SigningKey)
	require.Empty(t, a.stored().Retiring)
	require.Equal(t, own, a.stored().Secrets[0].Reveal())

	for _, bad := range []string{"soon", "-1s", "721h"} {
		p := a.refused(422, "invalid", request{method: "POST", path: "/endpoints/crm/rotate-secret", body: `{"overlap":"` + bad + `"}`})
		require.Equal(t, "/overlap", p.Errors[0].Pointer)
	}
	a.refused(412, "changed", request{method: "POST", path: "/endpoints/crm/rotate-secret", header: map[string]string{"If-Match": `"1"`}})
	a.refused(404, "not-found", request{method: "POST", path: "/endpoints/other/rotate-secret"})
}

func TestCredentialsAreKeptAndNotShown(t *testing.T) {
	a := newAPI(t)
	authority := webhooktest.NewAuthority(t)
	cert, key := authority.Issue("parley")
	in := ops.Endpoint{
		ID: "crm", URL: "https://example.com", Headers: map[string]string{"X-Api-Key": "the-header"},
		Auth: &ops.Auth{Kind: "oauth2", TokenURL: "https://login.example.com", ClientID: "id", ClientSecret: "the-secret", Scopes: []string{"hooks"}},
		TLS:  &ops.TLS{ClientCert: cert, ClientKey: key, CA: authority.PEM()},
	}
	shown := a.withEndpoint(encode(t, in))
	require.Equal(t, ops.Redacted, shown.Headers["X-Api-Key"])
	require.Equal(t, ops.Redacted, shown.Auth.ClientSecret)
	require.Equal(t, &ops.TLS{ClientCert: cert, ClientKey: ops.Redacted, CA: authority.PEM()}, shown.TLS)
	before := a.stored()
	_, got := ok[ops.Endpoint](a, 200, request{method: "GET", path: "/endpoints/crm"})
	for _, secret := range []string{"the-", "PRIVATE KEY"} {
		require.NotContains(t, string(got.body), secret)
	}
	ok[ops.Endpoint](a, 200, request{method: "PUT", path: "/endpoints/crm", body: string(got.body)})
	require.Equal(t, before, a.stored(), "what was read can be put again")

	// Another name for the header finds its value; without their secrets all stays.
	shown.Headers = map[string]string{"x-api-key": ops.Redacted, "X-Team": "crm"}
	shown.Auth.ClientSecret, shown.TLS.ClientKey, shown.Secrets = "", "", nil
	shown.Auth.Scopes = nil
	ok[ops.Endpoint](a, 200, request{method: "PUT", path: "/endpoints/crm", body: encode(t, shown)})
	after := a.stored()
	require.Equal(t, map[string]chat.Secret{"x-api-key": "the-header", "X-Team": "crm"}, after.Headers)
	require.Equal(t, chat.Secret("the-secret"), after.Auth.ClientSecret)
	require.Empty(t, after.Auth.Scopes)
	require.Equal(t, before.TLS, after.TLS)

	for pointer, change := range map[string]func(*ops.Endpoint){
		"/auth/password":  func(e *ops.Endpoint) { e.Auth = &ops.Auth{Kind: "basic", Username: "me", Password: ops.Redacted} },
		"/headers/X-None": func(e *ops.Endpoint) { e.Headers = map[string]string{"X-None": ops.Redacted} },
		"/tls/clientCert": func(e *ops.Endpoint) { e.TLS = &ops.TLS{ClientCert: authority.PEM()} },
		"/headers/Host":   func(e *ops.Endpoint) { e.Headers = map[string]string{"Host": "x"} },
	} {
		bad := shown
		change(&bad)
		p := a.refused(422, "invalid", request{method: "PUT", path: "/endpoints/crm", body: encode(t, bad)})
		require.Len(t, p.Errors, 1)
		require.Equal(t, pointer, p.Errors[0].Pointer)
		require.Equal(t, after, a.stored())
	}
	ok[ops.Endpoint](a, 200, request{method: "PUT", path: "/endpoints/crm", body: `{"url":"https://example.com"}`})
	require.Nil(t, a.stored().Auth)
	require.Nil(t, a.stored().TLS)
	require.Nil(t, a.stored().Headers)
}

func TestTestMessage(t *testing.T) {
	a := newAPI(t)
	customer := webhooktest.New(t, webhooktest.WithScript(func(n int, _ *webhooktest.Received) webhooktest.Reply {
		switch n {
		case 1:
			return webhooktest.Reply{Body: "thanks\xff"}
		case 2:
			return webhooktest.Reply{Status: http.StatusGone}
		}
		return webhooktest.Reply{Fault: webhooktest.Reset}
	}))
	logins := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"access_token":"t1","token_type":"Bearer"}`)
	}))
	t.Cleanup(logins.Close)
	made := a.withEndpoint(encode(t, ops.Endpoint{
		ID: "crm", URL: customer.URL(), V1A: true, VerifyToken: new("verify-me"), Headers: map[string]string{"X-Team": "crm"},
		Auth:     &ops.Auth{Kind: "oauth2", TokenURL: logins.URL, ClientID: "id", ClientSecret: "s"},
		Disabled: "not yet", Events: []string{"message"},
	}))
	before := a.registry.Snapshot().Revision()
	send := func() ops.TestResult {
		r, _ := ok[ops.TestResult](a, 200, request{method: "POST", path: "/endpoints/crm/test"})
		return r
	}
	good := send()
	require.Equal(t, ops.TestResult{MessageID: good.MessageID, Delivered: true, Status: 200, Excerpt: "thanks\uFFFD", DurationMS: good.DurationMS}, good)
	got := customer.All()[0]
	require.Equal(t, good.MessageID, got.ID())
	for _, secret := range []string{made.Secrets[0], made.PublicKey} {
		keys, err := webhook.ParseSecrets([]chat.Secret{chat.Secret(secret)})
		require.NoError(t, err)
		require.NoError(t, webhook.Verify(keys, got.Header, got.Raw, got.At, 0))
	}
	require.Equal(t, []string{"endpoint.test", "crm", "Bearer t1"}, []string{got.Header.Get("Parley-Event"), got.Header.Get("X-Team"), got.Header.Get("Authorization")})
	require.Equal(t, "parley-test", got.Body.SenderID)
	require.Equal(t, "verify-me", got.Body.VerifyToken)

	gone := send()
	require.False(t, gone.Delivered)
	require.Equal(t, 410, gone.Status)
	require.NotEqual(t, good.MessageID, gone.MessageID)
	broken := send()
	require.Zero(t, broken.Status)
	require.Contains(t, broken.Error, "reset")
	require.Equal(t, before, a.registry.Snapshot().Revision(), "whatever is answered changes nothing")
	require.Equal(t, "not yet", a.stored().Disabled)
	status, _ := ok[ops.Status](a, 200, request{method: "GET", path: "/status"})
	for _, stage := range status.Stages {
		require.Zero(t, stage.Waiting, "no stream has seen it")
	}

	logins.Close()
	require.Contains(t, send().Error, "token server")
	ok[ops.Endpoint](a, 200, request{method: "PUT", path: "/endpoints/crm", body: `{"url":"http://10.1.2.3/"}`})
	require.Contains(t, send().Error, "private")
	require.Len(t, customer.All(), 3)
	a.refused(404, "not-found", request{method: "POST", path: "/endpoints/other/test"})
}
