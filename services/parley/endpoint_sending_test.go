package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/ops"
)

func newShop(t *testing.T) (env []string) {
	t.Helper()
	env, _ = opsServer(t)
	good(t, env, "bot", "create", "pizza")
	good(t, env, "channel", "create", "shop", "--bot", "pizza")
	return env
}

func TestEndpointRotateSecret(t *testing.T) {
	env := newShop(t)
	made := goodJSON[ops.Endpoint](t, env, "endpoint", "create", "crm", "--channel", "shop", "--url", "https://example.com", "--v1a")
	require.Contains(t, good(t, env, "endpoint", "show", "crm"), made.PublicKey)
	out := good(t, env, "endpoint", "rotate-secret", "crm")
	require.Regexp(t, `(?m)^signing secret +whsec_\S+  \(keep it`, out)
	require.NotContains(t, out, made.Secrets[0])
	require.Regexp(t, `(?m)^retiring +v1 until 20`, out)
	require.Regexp(t, `(?m)^retiring +v1a until .* whpk_`, out)
	require.NotContains(t, good(t, env, "endpoint", "show", "crm"), "whsec_")
	e := goodJSON[ops.Endpoint](t, env, "endpoint", "rotate-secret", "crm", "--overlap", "0")
	require.Empty(t, e.Retiring)
	require.Len(t, e.Secrets, 1)
	r := parley(t, env, "", "endpoint", "rotate-secret", "crm", "--overlap", "soon")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "/overlap")
}

func TestEndpointCredentials(t *testing.T) {
	env := newShop(t)
	authority := webhooktest.NewAuthority(t)
	cert, key := authority.Issue("parley")
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	update := func(args ...string) ops.Endpoint {
		return goodJSON[ops.Endpoint](t, env, append([]string{"endpoint", "update", "crm"}, args...)...)
	}
	e := goodJSON[ops.Endpoint](t, env, "endpoint", "create", "crm", "--channel", "shop", "--url", "https://example.com",
		"--header", "X-Api-Key: the-key", "--header", "X-Team:crm",
		"--auth", "oauth2", "--auth-token-url", "https://login.example.com", "--auth-client-id", "id", "--auth-client-secret", "the-secret",
		"--auth-scope", "a,b", "--auth-audience", "crm", "--auth-client-in-body",
		"--tls-cert", file("cert", cert), "--tls-key", file("key", key), "--tls-ca", file("ca", authority.PEM()))
	require.Equal(t, map[string]string{"X-Api-Key": ops.Redacted, "X-Team": ops.Redacted}, e.Headers)
	want := ops.Auth{
		Kind: "oauth2", TokenURL: "https://login.example.com", ClientID: "id", ClientSecret: ops.Redacted,
		Scopes: []string{"a", "b"}, Audience: "crm", InBody: true,
	}
	require.Equal(t, &want, e.Auth)
	out := good(t, env, "endpoint", "show", "crm")
	require.Regexp(t, `(?m)^header +X-Api-Key: \[redacted\]$`, out)
	require.Regexp(t, `(?m)^client certificate +CN=parley, until 20`, out)
	require.Regexp(t, `(?m)^authorities +CN=test authority, until 20`, out)
	require.Regexp(t, `(?m)^token server +https://login.example.com$`, out)
	require.NotContains(t, out, "the-")

	e = update("--header", "x-team:", "--auth-scope", "c", "--tls-ca", "")
	require.Equal(t, map[string]string{"X-Api-Key": ops.Redacted}, e.Headers)
	want.Scopes = []string{"c"}
	require.Equal(t, &want, e.Auth)
	require.Equal(t, &ops.TLS{ClientCert: cert, ClientKey: ops.Redacted}, e.TLS)
	e = update("--auth", "bearer", "--auth-token", "abc", "--tls-cert", "")
	require.Equal(t, &ops.Auth{Kind: "bearer", Token: ops.Redacted}, e.Auth)
	require.Nil(t, e.TLS)
	e = update("--auth", "none")
	require.Nil(t, e.Auth)

	for says, args := range map[string][]string{
		"--auth basic":          {"--auth-token", "abc"},
		"NAME:VALUE":            {"--header", "X-Team"},
		"--tls-ca":              {"--tls-ca", filepath.Join(dir, "none")},
		"/headers/Host":         {"--header", "Host: x"},
		"/auth/password":        {"--auth", "basic", "--auth-username", "me"},
		"/tls/clientCert":       {"--tls-cert", file("cert", cert)},
		`"magic" is no kind of`: {"--auth", "magic"},
	} {
		r := parley(t, env, "", append([]string{"endpoint", "update", "crm"}, args...)...)
		require.Equal(t, exitFailed, r.code, "%v", args)
		require.Contains(t, r.stderr, says)
	}
}

func TestEndpointTest(t *testing.T) {
	env := newShop(t)
	customer := webhooktest.New(t, webhooktest.WithScript(func(n int, _ *webhooktest.Received) webhooktest.Reply {
		if n == 1 {
			return webhooktest.Reply{Body: "thanks\x1b[2J"}
		}
		return webhooktest.Reply{Status: http.StatusTeapot, Body: "no"}
	}))
	made := goodJSON[ops.Endpoint](t, env, "endpoint", "create", "crm", "--channel", "shop", "--url", customer.URL())
	out := good(t, env, "endpoint", "test", "crm")
	require.Regexp(t, `(?m)^delivered +true$`, out)
	require.Regexp(t, `(?m)^status +200 OK$`, out)
	require.Regexp(t, `(?m)^duration +\d`, out)
	require.Regexp(t, `(?m)^answer +thanks`, out)
	require.NotContains(t, out, "\x1b")
	keys, err := webhook.ParseSecrets([]chat.Secret{chat.Secret(made.Secrets[0])})
	require.NoError(t, err)
	got := customer.All()[0]
	require.NoError(t, webhook.Verify(keys, got.Header, got.Raw, got.At, 0))

	r := parley(t, env, "", "endpoint", "test", "crm")
	require.Equal(t, exitFailed, r.code)
	require.Regexp(t, `(?m)^status +418 I'm a teapot$`, r.stdout)
	require.Contains(t, r.stderr, "not delivered")
}
