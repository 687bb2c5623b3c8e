package registry_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

func TestValidateWhatIsSentAlong(t *testing.T) {
	authority := webhooktest.NewAuthority(t)
	cert, key := authority.Issue("parley")
	_, otherKey := authority.Issue("other")
	header := func(name, value string) func(*chat.Endpoint) {
		return func(e *chat.Endpoint) { e.Headers = map[string]chat.Secret{name: chat.Secret(value)} }
	}
	auth := func(a chat.Auth) func(*chat.Endpoint) { return func(e *chat.Endpoint) { e.Auth = &a } }
	oauth := func(change func(*chat.Auth)) func(*chat.Endpoint) {
		a := chat.Auth{Kind: "oauth2", TokenURL: "https://login.example.com/token", ClientID: "id", ClientSecret: "secret"}
		change(&a)
		return auth(a)
	}
	own := func(x chat.TLS) func(*chat.Endpoint) { return func(e *chat.Endpoint) { e.TLS = &x } }
	many := map[string]chat.Secret{}
	for i := range chat.MaxHeaders + 1 {
		many[fmt.Sprintf("X-%d", i)] = "v"
	}
	for name, c := range map[string]struct {
		change func(*chat.Endpoint)
		want   []string
	}{
		"signing key":       {func(e *chat.Endpoint) { e.SigningKey = webhook.NewSigningKey() }, nil},
		"no signing key":    {func(e *chat.Endpoint) { e.SigningKey = "whsk_AAAA" }, []string{"/v1a"}},
		"retiring for ever": {func(e *chat.Endpoint) { e.Retiring = []chat.Retiring{{Key: secretOne}} }, []string{"/retiring/0"}},
		"retiring nonsense": {func(e *chat.Endpoint) { e.Retiring = []chat.Retiring{{Key: "x", Until: time.Now()}} }, []string{"/retiring/0"}},
		"header":            {header("x-api-key", "k"), nil},
		"long name":         {header(strings.Repeat("x", 65), "v"), []string{"/headers/" + strings.Repeat("x", 65)}},
		"slash in a name":   {header("a/b", "v"), []string{"/headers/a~1b"}},
		"redacted header":   {header("X-A", "[redacted]"), []string{"/headers/X-A"}},
		"many headers":      {func(e *chat.Endpoint) { e.Headers = many }, []string{"/headers"}},
		"two spellings":     {func(e *chat.Endpoint) { e.Headers = map[string]chat.Secret{"X-A": "1", "x-a": "2"} }, []string{"/headers/x-a"}},
		"authorization":     {header("Authorization", "Key 1"), nil},
		"authorization twice": {func(e *chat.Endpoint) {
			header("authorization", "Key 1")(e)
			auth(chat.Auth{Kind: "bearer", Token: "t"})(e)
		}, []string{"/headers/authorization"}},
		"basic":               {auth(chat.Auth{Kind: "basic", Username: "me", Password: "päss"}), nil},
		"colon":               {auth(chat.Auth{Kind: "basic", Username: "m:e", Password: "p"}), []string{"/auth/username"}},
		"no password":         {auth(chat.Auth{Kind: "basic", Username: "me"}), []string{"/auth/password"}},
		"redacted password":   {auth(chat.Auth{Kind: "basic", Username: "me", Password: "[redacted]"}), []string{"/auth/password"}},
		"bearer":              {auth(chat.Auth{Kind: "bearer", Token: "abc.def"}), nil},
		"bearer with word":    {auth(chat.Auth{Kind: "bearer", Token: "Bearer abc"}), []string{"/auth/token"}},
		"bearer with line":    {auth(chat.Auth{Kind: "bearer", Token: "abc\n"}), []string{"/auth/token", "/auth/token"}},
		"of another kind":     {auth(chat.Auth{Kind: "bearer", Token: "abc", Username: "me"}), []string{"/auth"}},
		"no kind":             {auth(chat.Auth{Kind: "digest"}), []string{"/auth/kind"}},
		"oauth2":              {oauth(func(*chat.Auth) {}), nil},
		"no token URL":        {oauth(func(a *chat.Auth) { a.TokenURL = "" }), []string{"/auth/tokenUrl"}},
		"forbidden token URL": {oauth(func(a *chat.Auth) { a.TokenURL = "https://forbidden.example" }), []string{"/auth/tokenUrl"}},
		"no client":           {oauth(func(a *chat.Auth) { a.ClientID, a.ClientSecret = "", "" }), []string{"/auth/clientId", "/auth/clientSecret"}},
		"two scopes in one":   {oauth(func(a *chat.Auth) { a.Scopes = []string{"a", "b c"} }), []string{"/auth/scopes/1"}},
		"oauth2 and basic":    {oauth(func(a *chat.Auth) { a.Password = "p" }), []string{"/auth"}},
		"certificate":         {own(chat.TLS{ClientCert: cert, ClientKey: chat.Secret(key)}), nil},
		"own CA":              {own(chat.TLS{CA: authority.PEM()}), nil},
		"no key":              {own(chat.TLS{ClientCert: cert}), []string{"/tls/clientCert"}},
		"another key":         {own(chat.TLS{ClientCert: cert, ClientKey: chat.Secret(otherKey)}), []string{"/tls/clientCert"}},
		"redacted key":        {own(chat.TLS{ClientCert: cert, ClientKey: "[redacted]"}), []string{"/tls/clientKey"}},
		"a CA that is none":   {own(chat.TLS{CA: "x"}), []string{"/tls/ca"}},
		"large CA":            {own(chat.TLS{CA: strings.Repeat("x", registry.MaxPEM+1)}), []string{"/tls/ca"}},
		"nothing":             {own(chat.TLS{}), []string{"/tls"}},
		"not https":           {func(e *chat.Endpoint) { e.URL = "http://example.com"; own(chat.TLS{CA: authority.PEM()})(e) }, []string{"/tls"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := shopEndpoint()
			c.change(&e)
			err := registry.ValidateEndpoint(&e, func(u string) error {
				if strings.Contains(u, "forbidden") {
					return errors.New("this address is not allowed")
				}
				return nil
			})
			require.Equal(t, c.want, pointers(t, err))
			if err != nil {
				require.NotContains(t, err.Error(), key)
			}
		})
	}
}
