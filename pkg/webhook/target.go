package webhook

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"

	"github.com/parleyhq/parley/pkg/chat"
)

// Target is an endpoint's configuration made ready for attempts.
type Target struct {
	url     *url.URL
	keys    []*Key
	header  http.Header
	auth    *Auth
	profile *Profile

	authFrom *chat.Auth
	tlsFrom  *chat.TLS
}

// NewTarget makes a target. former is the endpoint's target until now, or nil:
// where the settings are the same, its connections and its token are taken
// over; the rest of it is dropped. Errors say what to change, without a secret.
func NewTarget(e *chat.Endpoint, g *Guard, former *Target) (_ *Target, err error) {
	t := &Target{authFrom: e.Auth, tlsFrom: e.TLS}
	defer func() {
		if former != nil && (err != nil || former.profile != t.profile) {
			former.Close()
		}
	}()
	if t.keys, err = Keys(e); err != nil {
		return nil, fmt.Errorf("the endpoint's signing secrets: %w", err)
	}
	if t.url, err = g.ParseURL(e.URL); err != nil {
		return nil, fmt.Errorf("the endpoint's URL: %w", err)
	}
	if t.header, err = headerOf(e.Headers); err != nil {
		return nil, fmt.Errorf("the endpoint's headers: %w", err)
	}
	if former != nil && reflect.DeepEqual(former.authFrom, e.Auth) {
		t.auth = former.auth
	} else if t.auth, err = NewAuth(e.Auth, g); err != nil {
		return nil, fmt.Errorf("the endpoint's authentication: %w", err)
	}
	if former != nil && reflect.DeepEqual(former.tlsFrom, e.TLS) {
		t.profile = former.profile
	} else if t.profile, err = NewProfile(e.TLS); err != nil {
		return nil, fmt.Errorf("the endpoint's TLS settings: %w", err)
	}
	return t, nil
}

// Request returns a request to the target; the message is the caller's to add.
func (t *Target) Request() Request {
	return Request{URL: t.url, Keys: t.keys, Header: t.header, Auth: t.auth, Profile: t.profile}
}

// Close drops the connections of the target's own that are not in use.
func (t *Target) Close() { t.profile.Close() }

// Keys returns what an endpoint signs with: its secrets, its key, and those
// that retire, until they do.
func Keys(e *chat.Endpoint) ([]*Key, error) {
	keys, err := ParseSecrets(e.Secrets)
	if err != nil {
		return nil, err
	}
	if e.SigningKey != "" {
		k, err := ParseSecret(e.SigningKey)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	for i, r := range e.Retiring {
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
