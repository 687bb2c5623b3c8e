package registry

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parleyhq/parley/pkg/chat"
)

// Bounds of what an endpoint is proved with.
const (
	MaxCredential = 4096     // bytes of a password, a token, a client id or secret
	MaxScopes     = 20       // of 128 bytes each
	MaxPEM        = 32 << 10 // bytes of a certificate, a key or a CA
)

// redactedText is what a secret reads as, and so what it can't be.
const redactedText = "[redacted]"

func checkSecrets(p *chat.Problems, e *chat.Endpoint) {
	if len(e.VerifyToken) > MaxVerifyToken {
		p.Add("/verifyToken", fmt.Sprintf("the verify token has more than %d bytes: shorten it", MaxVerifyToken))
	}
	if e.VerifyToken == redactedText {
		p.Add("/verifyToken", "this is the redacted form: give the verify token itself, or leave it out to keep the present one")
	}
	signing := len(e.Secrets)
	for i, r := range e.Retiring {
		if isSigningSecret(r.Key) {
			signing++
		}
		if !isSigningSecret(r.Key) && !isSigningKey(r.Key) || r.Until.IsZero() {
			p.Add(fmt.Sprintf("/retiring/%d", i), "this is no signing secret or key with an end")
		}
	}
	switch {
	case len(e.Secrets) > MaxSecrets:
		p.Add("/secrets", fmt.Sprintf("there are %d signing secrets: at most %d may be in use", len(e.Secrets), MaxSecrets))
	case signing > MaxSecrets, len(e.Retiring) > 2*MaxSecrets:
		p.Add("/secrets", fmt.Sprintf("there would be %d signing secrets with those that retire: at most %d may be in use; wait for the former ones, or rotate with the overlap 0 to end them", signing, MaxSecrets))
	}
	for i, s := range e.Secrets {
		if !isSigningSecret(s) {
			p.Add(fmt.Sprintf("/secrets/%d", i), "a signing secret is whsec_ and 24 to 64 bytes in base64: leave secrets out to have one made")
		}
	}
	if e.SigningKey != "" && !isSigningKey(e.SigningKey) {
		p.Add("/v1a", "the signing key is not whsk_ and an ed25519 key pair in base64: have one made")
	}
}

// isSigningSecret checks the form that Standard Webhooks gives a secret.
func isSigningSecret(s chat.Secret) bool {
	enc, ok := strings.CutPrefix(s.Reveal(), chat.PrefixSecret)
	key, err := base64.StdEncoding.DecodeString(enc)
	return ok && err == nil && len(key) >= 24 && len(key) <= 64
}

func isSigningKey(s chat.Secret) bool {
	enc, ok := strings.CutPrefix(s.Reveal(), chat.PrefixSigningKey)
	raw, err := base64.StdEncoding.Strict().DecodeString(enc)
	if !ok || err != nil || len(raw) != ed25519.PrivateKeySize {
		return false
	}
	key := ed25519.PrivateKey(raw)
	return key.Equal(ed25519.NewKeyFromSeed(key.Seed()))
}

func checkHeaders(p *chat.Problems, e *chat.Endpoint) {
	if len(e.Headers) > chat.MaxHeaders {
		p.Add("/headers", fmt.Sprintf("there are %d headers: at most %d", len(e.Headers), chat.MaxHeaders))
		return
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		at := "/headers/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name) // RFC 6901
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		value := e.Headers[name]
		if err := chat.CheckHeader(name, value.Reveal()); err != nil {
			p.Add(at, err.Error())
		}
		if value == redactedText {
			p.Add(at, "this is the redacted form and there is no header of this name to keep: give its value")
		}
		if seen[canonical] {
			p.Add(at, fmt.Sprintf("the header %s is there twice, in another spelling: leave one out", canonical))
		}
		if canonical == "Authorization" && e.Auth != nil {
			p.Add(at, "the authentication sets this header: leave one of the two out")
		}
		seen[canonical] = true
	}
}

func checkAuth(p *chat.Problems, a *chat.Auth, urlCheck func(string) error) {
	if a == nil {
		return
	}
	switch a.Kind {
	case chat.AuthBasic:
		if strings.Contains(a.Username, ":") {
			p.Add("/auth/username", "a user name has no colon: basic authentication can't carry one")
		}
		checkCredential(p, "/auth/username", a.Username)
		checkCredential(p, "/auth/password", a.Password.Reveal())
	case chat.AuthBearer:
		checkCredential(p, "/auth/token", a.Token.Reveal())
		if strings.ContainsFunc(a.Token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
			p.Add("/auth/token", "a bearer token is ASCII without spaces: give the token alone, without the word before it")
		}
	case chat.AuthOAuth2:
		checkURL(p, "/auth/tokenUrl", a.TokenURL, urlCheck)
		checkCredential(p, "/auth/clientId", a.ClientID)
		checkCredential(p, "/auth/clientSecret", a.ClientSecret.Reveal())
		checkScopes(p, a.Scopes)
		if len(a.Audience) > MaxURL {
			p.Add("/auth/audience", fmt.Sprintf("the audience has more than %d bytes: shorten it", MaxURL))
		}
	default:
		p.Add("/auth/kind", fmt.Sprintf(`%q is no kind of authentication: use "basic", "bearer" or "oauth2", or leave auth out for none`, a.Kind))
	}
	foreign := *a
	switch a.Kind { // what belongs to the kind
	case chat.AuthBasic:
		foreign.Username, foreign.Password = "", ""
	case chat.AuthBearer:
		foreign.Token = ""
	case chat.AuthOAuth2:
		foreign = chat.Auth{Username: a.Username, Password: a.Password, Token: a.Token}
	default:
		return
	}
	if foreign.Username != "" || foreign.Password != "" || foreign.Token != "" || foreign.TokenURL != "" || foreign.ClientID != "" ||
		foreign.ClientSecret != "" || len(foreign.Scopes) > 0 || foreign.Audience != "" || foreign.InBody {
		p.Add("/auth", fmt.Sprintf("there are settings of another kind than %q: leave them out", a.Kind))
	}
}

func checkCredential(p *chat.Problems, at, text string) {
	switch {
	case text == redactedText:
		p.Add(at, "this is the redacted form and there is no such setting to keep: give it")
	case text == "" || len(text) > MaxCredential:
		p.Add(at, fmt.Sprintf("it has %d bytes: give it 1 to %d", len(text), MaxCredential))
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		p.Add(at, "it must be text without control characters")
	}
}

func checkScopes(p *chat.Problems, scopes []string) {
	if len(scopes) > MaxScopes {
		p.Add("/auth/scopes", fmt.Sprintf("there are %d scopes: at most %d", len(scopes), MaxScopes))
		return
	}
	for i, s := range scopes {
		if s == "" || len(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			p.Add(fmt.Sprintf("/auth/scopes/%d", i), "a scope has 1 to 128 printable ASCII characters without spaces and quotes")
		}
	}
}

func checkTLS(p *chat.Problems, e *chat.Endpoint) {
	t := e.TLS
	if t == nil {
		return
	}
	if !strings.HasPrefix(strings.ToLower(e.URL), "https:") {
		p.Add("/tls", "the endpoint's URL is not https: leave the TLS settings out, or change the URL")
	}
	for at, text := range map[string]string{"/tls/clientCert": t.ClientCert, "/tls/clientKey": t.ClientKey.Reveal(), "/tls/ca": t.CA} {
		if len(text) > MaxPEM {
			p.Add(at, fmt.Sprintf("it has %d bytes: at most %d", len(text), MaxPEM))
			return
		}
	}
	if t.ClientKey == redactedText {
		p.Add("/tls/clientKey", "this is the redacted form and there is no key to keep: give the key in PEM")
	} else if t.ClientCert != "" || t.ClientKey != "" {
		if _, err := tls.X509KeyPair([]byte(t.ClientCert), []byte(t.ClientKey.Reveal())); err != nil {
			p.Add("/tls/clientCert", fmt.Sprintf("the client certificate and its key can't be used (%s): give both in PEM, the key without a password", err))
		}
	}
	if t.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(t.CA)) {
		p.Add("/tls/ca", "it holds no certificate: give one or more in PEM")
	}
	if *t == (chat.TLS{}) {
		p.Add("/tls", "nothing is set: give a client certificate or a CA, or leave tls out")
	}
}
