package webhook

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"

	"github.com/parleyhq/parley/pkg/chat"
)

// Target is where and how an endpoint or a bot is posted to, made ready for
// attempts.
type Target struct {
	url     *url.URL
	keys    []*Key
	header  http.Header
	auth    *Auth
	profile *Profile

	authFrom *chat.Auth
	tlsFrom  *chat.TLS
}

// NewTarget makes a target. former is the one until now of the same endpoint or
// bot, or nil: where the settings are the same, its connections and its token
// are taken over; the rest of it is dropped. Errors say what to change, without
// a secret.
func NewTarget(rawURL string, s *chat.Sending, g *Guard, former *Target) (_ *Target, err error) {
	t := &Target{authFrom: s.Auth, tlsFrom: s.TLS}
	defer func() {
		if former != nil && (err != nil || former.profile != t.profile) {
			former.Close()
		}
	}()
	if t.keys, err = Keys(s); err != nil {
		return nil, fmt.Errorf("the signing secrets: %w", err)
	}
	if t.url, err = g.ParseURL(rawURL); err != nil {
		return nil, fmt.Errorf("the URL: %w", err)
	}
	if t.header, err = headerOf(s.Headers); err != nil {
		return nil, fmt.Errorf("the headers: %w", err)
	}
	if former != nil && reflect.DeepEqual(former.authFrom, s.Auth) {
		t.auth = former.auth
	} else if t.auth, err = NewAuth(s.Auth, g); err != nil {
		return nil, fmt.Errorf("the authentication: %w", err)
	}
	if former != nil && reflect.DeepEqual(former.tlsFrom, s.TLS) {
		t.profile = former.profile
	} else if t.profile, err = NewProfile(s.TLS); err != nil {
		return nil, fmt.Errorf("the TLS settings: %w", err)
	}
	return t, nil
}

// Request returns a request to the target; the message is the caller's to add.
func (t *Target) Request() Request {
	return Request{URL: t.url, Keys: t.keys, Header: t.header, Auth: t.auth, Profile: t.profile}
}

// Close drops the connections of the target's own that are not in use.
func (t *Target) Close() { t.profile.Close() }

// Keys returns what is signed with: the secrets, the key, and those that retire,
// until they do.
func Keys(s *chat.Sending) ([]*Key, error) {
	keys, err := ParseSecrets(s.Secrets)
	if err != nil {
		return nil, err
	}
	if s.SigningKey != "" {
		k, err := ParseSecret(s.SigningKey)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	for i, r := range s.Retiring {
		k, err := ParseSecret(r.Key)
		if err != nil {
			return nil, fmt.Errorf("retiring secret %d: %w", i+1, err)
		}
		k.until = r.Until
		keys = append(keys, k)
	}
	return keys, nil
}

func headerOf(fields map[string]chat.Secret) (http.Header, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	h := make(http.Header, len(fields))
	for name, value := range fields {
		if err := chat.CheckHeader(name, value.Reveal()); err != nil {
			return nil, err
		}
		h.Set(name, value.Reveal())
	}
	return h, nil
}
