package ops

import (
	"net/textproto"
	"slices"
	"strings"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

// sending takes up what an endpoint is signed, proved and connected to with;
// old, if there is one, gives the secrets that the body leaves as they are.
func (in *Endpoint) sending(e, old *chat.Endpoint) {
	if old == nil {
		old = &chat.Endpoint{}
	}
	e.Retiring = old.Retiring
	if slices.ContainsFunc(in.Secrets, func(secret string) bool { return secret != Redacted }) {
		for _, secret := range in.Secrets {
			e.Secrets = append(e.Secrets, chat.Secret(secret))
		}
		e.DropRetiring(chat.PrefixSecret) // they are what the list doesn't name
	} else {
		e.Secrets = old.Secrets
	}
	switch {
	case !in.V1A:
		e.DropRetiring(chat.PrefixSigningKey)
	case old.SigningKey != "":
		e.SigningKey = old.SigningKey
	default:
		e.SigningKey = webhook.NewSigningKey()
	}
	if len(in.Headers) > 0 {
		e.Headers = make(map[string]chat.Secret, len(in.Headers))
		for name, value := range in.Headers {
			e.Headers[name] = kept(value, headerOf(old, name))
		}
	}
	if in.Auth != nil {
		e.Auth = in.Auth.domain(old.Auth)
	}
	if t := in.TLS; t != nil {
		e.TLS = &chat.TLS{ClientCert: t.ClientCert, ClientKey: chat.Secret(t.ClientKey), CA: t.CA}
		if old.TLS != nil && t.ClientCert != "" {
			e.TLS.ClientKey = kept(t.ClientKey, old.TLS.ClientKey)
		}
	}
}

// kept returns the secret that was given, or the old one where it was left out
// or redacted. Where there is no old one, validation says so.
func kept(given string, old chat.Secret) chat.Secret {
	if old != "" && (given == "" || given == Redacted) {
		return old
	}
	return chat.Secret(given)
}

func headerOf(e *chat.Endpoint, name string) chat.Secret {
	for known, value := range e.Headers {
		if textproto.CanonicalMIMEHeaderKey(known) == textproto.CanonicalMIMEHeaderKey(name) {
			return value
		}
	}
	return ""
}

func (a *Auth) domain(old *chat.Auth) *chat.Auth {
	out := &chat.Auth{
		Kind: a.Kind, Username: a.Username, Password: chat.Secret(a.Password), Token: chat.Secret(a.Token), TokenURL: a.TokenURL,
		ClientID: a.ClientID, ClientSecret: chat.Secret(a.ClientSecret), Scopes: a.Scopes, Audience: a.Audience, InBody: a.InBody,
	}
	if old != nil && old.Kind == a.Kind {
		out.Password, out.Token, out.ClientSecret = kept(a.Password, old.Password), kept(a.Token, old.Token), kept(a.ClientSecret, old.ClientSecret)
	}
	return out
}

// showSending shows the same without secrets.
func showSending(out *Endpoint, e *chat.Endpoint) {
	for range e.Secrets {
		out.Secrets = append(out.Secrets, Redacted)
	}
	out.V1A, out.PublicKey = e.SigningKey != "", publicKey(e.SigningKey)
	for _, r := range e.Retiring {
		shown := Retiring{Version: "v1", Until: r.Until.UTC()}
		if strings.HasPrefix(r.Key.Reveal(), chat.PrefixSigningKey) {
			shown.Version, shown.PublicKey = "v1a", publicKey(r.Key)
		}
		out.Retiring = append(out.Retiring, shown)
	}
	if len(e.Headers) > 0 {
		out.Headers = make(map[string]string, len(e.Headers))
		for name := range e.Headers {
			out.Headers[name] = Redacted
		}
	}
	if a := e.Auth; a != nil {
		out.Auth = &Auth{
			Kind: a.Kind, Username: a.Username, Password: redacted(a.Password), Token: redacted(a.Token), TokenURL: a.TokenURL,
			ClientID: a.ClientID, ClientSecret: redacted(a.ClientSecret), Scopes: a.Scopes, Audience: a.Audience, InBody: a.InBody,
		}
	}
	if t := e.TLS; t != nil {
		out.TLS = &TLS{ClientCert: t.ClientCert, ClientKey: redacted(t.ClientKey), CA: t.CA}
	}
}

func redacted(s chat.Secret) string {
	if s == "" {
		return ""
	}
	return Redacted
}

// publicKey returns a signing key's public half; "" where there is none.
func publicKey(key chat.Secret) string {
	public, err := webhook.PublicKey(key)
	if err != nil {
		return "" // validation let no other key in
	}
	return public
}
