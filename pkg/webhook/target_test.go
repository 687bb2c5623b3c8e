package webhook_test

import (
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// settings are an endpoint's at a URL.
func settings(url string, change func(*chat.Endpoint)) *chat.Endpoint {
	e := &chat.Endpoint{ID: "crm", URL: url}
	if change != nil {
		change(e)
	}
	return e
}

func target(t *testing.T, e *chat.Endpoint, former *webhook.Target) *webhook.Target {
	t.Helper()
	made, err := webhook.NewTarget(e, loopback(), former)
	require.NoError(t, err)
	t.Cleanup(made.Close)
	return made
}

// post makes an attempt at a target.
func post(t *testing.T, c *webhook.Client, to *webhook.Target) webhook.Result {
	t.Helper()
	r := to.Request()
	r.Body, r.MessageID, r.Attempt, r.Timeout = []byte(`{}`), "m", 1, 10*time.Second
	return c.Do(t.Context(), r)
}

func delivered(t *testing.T, c *webhook.Client, to *webhook.Target) {
	t.Helper()
	result := post(t, c, to)
	require.NoError(t, result.Err)
	require.Equal(t, 200, result.Status)
}

func TestTargetSendsHeadersAndCredentials(t *testing.T) {
	r := webhooktest.New(t)
	c := newClient(t, nil)
	for _, auth := range []*chat.Auth{
		nil,
		{Kind: chat.AuthBasic, Username: "me", Password: "pass:word"},
		{Kind: chat.AuthBearer, Token: "abc"},
	} {
		delivered(t, c, target(t, settings(r.URL(), func(e *chat.Endpoint) {
			e.Auth, e.Headers = auth, map[string]chat.Secret{"x-api-key": "k1", "X-Team": "crm"}
		}), nil))
	}
	for i, want := range []string{"", "Basic " + base64.StdEncoding.EncodeToString([]byte("me:pass:word")), "Bearer abc"} {
		got := r.All()[i].Header
		require.Equal(t, want, got.Get("Authorization"))
		require.Equal(t, []string{"k1", "crm"}, []string{got.Get("X-Api-Key"), got.Get("X-Team")})
		require.Equal(t, "application/json", got.Get("Content-Type"))
	}
}

func TestTargetRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*chat.Endpoint)
		says   string
	}{
		"url":    {func(e *chat.Endpoint) { e.URL = "ftp://x" }, "the endpoint's URL: "},
		"secret": {func(e *chat.Endpoint) { e.Secrets = []chat.Secret{"the-secret"} }, "signing secrets"},
		"header": {func(e *chat.Endpoint) { e.Headers = map[string]chat.Secret{"Webhook-Id": "the-secret"} }, "headers"},
		"auth":   {func(e *chat.Endpoint) { e.Auth = &chat.Auth{Kind: "magic", Token: "the-secret"} }, "magic"},
		"token URL": {func(e *chat.Endpoint) {
			e.Auth = &chat.Auth{Kind: chat.AuthOAuth2, TokenURL: "http://10.0.0.1/the-secret"}
		}, "private"},
		"tls": {func(e *chat.Endpoint) { e.TLS = &chat.TLS{ClientCert: "x", ClientKey: "the-secret"} }, "client certificate"},
		"ca":  {func(e *chat.Endpoint) { e.TLS = &chat.TLS{CA: "the-secret"} }, "CA"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := webhook.NewTarget(settings("https://example.com", c.change), loopback(), nil)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "the-secret")
		})
	}
}

func TestTargetWithACertificateAndCAOfItsOwn(t *testing.T) {
	servers, clients := webhooktest.NewAuthority(t), webhooktest.NewAuthority(t)
	cert, key := clients.Issue("parley")
	r := webhooktest.New(t, webhooktest.WithTLSConfig(servers.ServerConfig(clients)))
	c := newClient(t, nil)
	both := &chat.TLS{ClientCert: cert, ClientKey: chat.Secret(key), CA: servers.PEM()}

	result := post(t, c, target(t, settings(r.URL(), nil), nil))
	require.Equal(t, webhook.KindTLS, webhook.KindOf(result.Err))
	require.ErrorContains(t, result.Err, "unknown authority")
	result = post(t, c, target(t, settings(r.URL(), func(e *chat.Endpoint) { e.TLS = &chat.TLS{CA: servers.PEM()} }), nil))
	requireNotLetIn(t, result)
	strange, strangeKey := servers.Issue("stranger")
	result = post(t, c, target(t, settings(r.URL(), func(e *chat.Endpoint) {
		e.TLS = &chat.TLS{ClientCert: strange, ClientKey: chat.Secret(strangeKey), CA: servers.PEM()}
	}), nil))
	requireNotLetIn(t, result)
	require.Empty(t, r.All())

	good := target(t, settings(r.URL(), func(e *chat.Endpoint) { e.TLS = both }), nil)
	delivered(t, c, good)
	delivered(t, c, good)
	all := r.All()
	require.Equal(t, "HTTP/2.0", all[0].Proto)
	require.Equal(t, all[0].Remote, all[1].Remote)
}

// requireNotLetIn: with TLS 1.3 a server judges the client's certificate when
// the client is done, so its alert may be lost when it closes.
func requireNotLetIn(t *testing.T, result webhook.Result) {
	t.Helper()
	require.Contains(t, []webhook.Kind{webhook.KindTLS, webhook.KindReset}, webhook.KindOf(result.Err), "%v", result.Err)
	require.Zero(t, result.Status)
}

// TestProfileIsBehindTheGuard: settings of its own change nothing of what may
// be dialled.
func TestProfileIsBehindTheGuard(t *testing.T) {
	authority := webhooktest.NewAuthority(t)
	r := webhooktest.New(t, webhooktest.WithTLSConfig(authority.ServerConfig(nil)))
	made := target(t, settings(r.URL(), func(e *chat.Endpoint) { e.TLS = &chat.TLS{CA: authority.PEM()} }), nil)
	c := newClient(t, func(o *webhook.Options) { o.Guard = &webhook.Guard{AnyPort: true} })
	require.Equal(t, webhook.KindGuard, webhook.KindOf(post(t, c, made).Err))
	require.Empty(t, r.All())
}

// TestTargetKeepsWhatHasNotChanged: a change of something else costs neither
// connections nor a token; a change of theirs drops them.
func TestTargetKeepsWhatHasNotChanged(t *testing.T) {
	authority := webhooktest.NewAuthority(t)
	r := webhooktest.New(t, webhooktest.WithTLSConfig(authority.ServerConfig(nil)))
	logins := tokenServer(t, nil)
	c := newClient(t, nil)
	first := settings(r.URL(), func(e *chat.Endpoint) {
		e.TLS = &chat.TLS{CA: authority.PEM() + webhooktest.NewAuthority(t).PEM() + string(logins.pem)}
		e.Auth = &chat.Auth{Kind: chat.AuthOAuth2, TokenURL: logins.URL, ClientID: "id", ClientSecret: "s"}
	})
	one := target(t, first, nil)
	delivered(t, c, one)

	moved := *first
	moved.Timeout = chat.Duration(time.Second)
	moved.Auth = &chat.Auth{Kind: chat.AuthOAuth2, TokenURL: logins.URL, ClientID: "id", ClientSecret: "s"}
	two := target(t, &moved, one)
	delivered(t, c, two)
	require.Len(t, logins.seen(), 1)

	other := moved
	other.Auth = &chat.Auth{Kind: chat.AuthOAuth2, TokenURL: logins.URL, ClientID: "other", ClientSecret: "s"}
	other.TLS = &chat.TLS{CA: authority.PEM() + string(logins.pem)}
	three := target(t, &other, two)
	delivered(t, c, three)
	require.Len(t, logins.seen(), 2)
	all := r.All()
	require.Equal(t, all[0].Remote, all[1].Remote)
	require.NotEqual(t, all[1].Remote, all[2].Remote)
}

// TestTargetThatCanNotBeMadeDropsTheFormer: its connections too, also those
// that come free later.
func TestTargetThatCanNotBeMadeDropsTheFormer(t *testing.T) {
	authority := webhooktest.NewAuthority(t)
	closed := make(chan struct{}, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = authority.ServerConfig(nil)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	c := newClient(t, nil)
	e := settings(server.URL, func(e *chat.Endpoint) { e.TLS = &chat.TLS{CA: authority.PEM()} })
	former := target(t, e, nil)
	delivered(t, c, former)
	require.Empty(t, closed)
	bad := *e
	bad.URL = "ftp://x"
	_, err := webhook.NewTarget(&bad, loopback(), former)
	require.Error(t, err)
	select {
	case <-closed:
	case <-time.After(10 * time.Second): // less than an unused one is kept anyway
		require.Fail(t, "the connection is still there")
	}
}

func TestOAuthOverTheNetwork(t *testing.T) {
	token := make(chan string, 1)
	token <- "t1"
	r := webhooktest.New(t, webhooktest.WithScript(func(_ int, m *webhooktest.Received) webhooktest.Reply {
		want := <-token
		token <- want
		if m.Header.Get("Authorization") != "Bearer "+want {
			return webhooktest.Reply{Status: http.StatusUnauthorized}
		}
		return webhooktest.Reply{}
	}))
	logins := tokenServer(t, nil)
	c := newClient(t, trust(t, logins.Server))
	made := target(t, settings(r.URL(), func(e *chat.Endpoint) {
		e.Auth = &chat.Auth{
			Kind: chat.AuthOAuth2, TokenURL: logins.URL, ClientID: "id", ClientSecret: "p&ss",
			Scopes: []string{"a", "b"}, Audience: "crm",
		}
	}), nil)
	delivered(t, c, made)
	delivered(t, c, made)
	<-token
	token <- "t2" // t1 is revoked
	require.Equal(t, 401, post(t, c, made).Status, "one call is one POST")
	delivered(t, c, made)
	require.Len(t, r.All(), 4)

	asked := logins.seen()
	require.Len(t, asked, 2)
	user, password, _ := asked[0].BasicAuth()
	require.Equal(t, []string{"id", "p%26ss"}, []string{user, password})
	require.Equal(t, []string{"client_credentials", "a b", "crm"}, []string{asked[0].Form.Get("grant_type"), asked[0].Form.Get("scope"), asked[0].Form.Get("audience")})

	inBody := target(t, settings(r.URL(), func(e *chat.Endpoint) {
		e.Auth = &chat.Auth{Kind: chat.AuthOAuth2, TokenURL: logins.URL, ClientID: "id", ClientSecret: "p&ss", InBody: true}
	}), nil)
	post(t, c, inBody)
	last := logins.seen()[2]
	require.Empty(t, last.Header.Get("Authorization"))
	require.Equal(t, []string{"id", "p&ss"}, []string{last.Form.Get("client_id"), last.Form.Get("client_secret")})
}

func TestTokenServerIsBehindTheGuardAndNotFollowed(t *testing.T) {
	r := webhooktest.New(t)
	elsewhere := tokenServer(t, nil)
	redirects := tokenServer(t, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	by := func(url string) *webhook.Target {
		return target(t, settings(r.URL(), func(e *chat.Endpoint) {
			e.Auth = &chat.Auth{Kind: chat.AuthOAuth2, TokenURL: url, ClientID: "id", ClientSecret: "s"}
		}), nil)
	}
	result := post(t, newClient(t, trust(t, redirects.Server)), by(redirects.URL))
	require.EqualError(t, result.Err, "auth: the token server answered 307 Temporary Redirect")
	require.Zero(t, result.Status)
	require.Empty(t, elsewhere.seen())

	// The endpoint's name may lead where it did not when it was checked.
	closed := newClient(t, func(o *webhook.Options) {
		trust(t, elsewhere.Server)(o)
		o.Guard = &webhook.Guard{AnyPort: true}
	})
	result = post(t, closed, by(elsewhere.URL))
	require.Equal(t, webhook.KindAuth, webhook.KindOf(result.Err))
	require.ErrorContains(t, result.Err, "loopback")

	result = post(t, newClient(t, nil), by(closedPort(t)+"/the-secret"))
	require.ErrorContains(t, result.Err, "auth: no answer from the token server: refused")
	require.NotContains(t, result.Err.Error(), "the-secret")
	require.Empty(t, r.All())
	require.Empty(t, elsewhere.seen())
}
