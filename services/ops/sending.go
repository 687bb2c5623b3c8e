package ops

import (
	"net/textproto"
	"slices"
	"strings"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

// domain makes the settings that the body describes; old, if there are any,
// gives the secrets that the body leaves as they are.
func (in *Sending) domain(old *chat.Sending) chat.Sending {
	if old == nil {
		old = &chat.Sending{}
	}
	s := chat.Sending{Retiring: old.Retiring}
	if slices.ContainsFunc(in.Secrets, func(secret string) bool { return secret != Redacted }) {
		for _, secret := range in.Secrets {
			s.Secrets = append(s.Secrets, chat.Secret(secret))
		}
		s.DropRetiring(chat.PrefixSecret) // they are what the list doesn't name
	} else {
		s.Secrets = old.Secrets
	}
	switch {
	case !in.V1A:
		s.DropRetiring(chat.PrefixSigningKey)
	case old.SigningKey != "":
		s.SigningKey = old.SigningKey
	default:
		s.SigningKey = webhook.NewSigningKey()
	}
	if len(in.Headers) > 0 {
		s.Headers = make(map[string]chat.Secret, len(in.Headers))
		for name, value := range in.Headers {
			s.Headers[name] = kept(value, headerOf(old, name))
		}
	}
	if in.Auth != nil {
		s.Auth = in.Auth.domain(old.Auth)
	}
	if t := in.TLS; t != nil {
		s.TLS = &chat.TLS{ClientCert: t.ClientCert, ClientKey: chat.Secret(t.ClientKey), CA: t.CA}
		if old.TLS != nil && t.ClientCert != "" {
			s.TLS.ClientKey = kept(t.ClientKey, old.TLS.ClientKey)
		}
	}
	return s
}

// kept returns the secret that was given, or the old one where it was left out
// or redacted. Where there is no old one, validation says so.
func kept(given string, old chat.Secret) chat.Secret {
	if old != "" && (given == "" || given == Redacted) {
		return old
	}
	return chat.Secret(given)
}

func headerOf(s *chat.Sending, name string) chat.Secret {
	for known, value := range s.Headers {
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

// sendingOf shows the same without secrets; with the signing secrets in clear
// where they were made just now.
func sendingOf(s *chat.Sending, made bool) Sending {
	var out Sending
	for _, secret := range s.Secrets {
		shown := Redacted
		if made {
			shown = secret.Reveal()
		}
		out.Secrets = append(out.Secrets, shown)
	}
	out.V1A, out.PublicKey = s.SigningKey != "", publicKey(s.SigningKey)
	for _, r := range s.Retiring {
		shown := Retiring{Version: "v1", Until: r.Until.UTC()}
		if strings.HasPrefix(r.Key.Reveal(), chat.PrefixSigningKey) {
			shown.Version, shown.PublicKey = "v1a", publicKey(r.Key)
		}
		out.Retiring = append(out.Retiring, shown)
	}
	if len(s.Headers) > 0 {
		out.Headers = make(map[string]string, len(s.Headers))
		for name := range s.Headers {
			out.Headers[name] = Redacted
		}
	}
	if a := s.Auth; a != nil {
		out.Auth = &Auth{
			Kind: a.Kind, Username: a.Username, Password: redacted(a.Password), Token: redacted(a.Token), TokenURL: a.TokenURL,
			ClientID: a.ClientID, ClientSecret: redacted(a.ClientSecret), Scopes: a.Scopes, Audience: a.Audience, InBody: a.InBody,
		}
	}
	if t := s.TLS; t != nil {
		out.TLS = &TLS{ClientCert: t.ClientCert, ClientKey: redacted(t.ClientKey), CA: t.CA}
	}
	return out
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
