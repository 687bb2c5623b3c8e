package registry

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// storedEndpoint is an endpoint's stored form. Its fields hide the secret ones
// of chat.Endpoint, which would marshal as "[redacted]"; so do those of the
// types below.
type storedEndpoint struct {
	chat.Endpoint
	VerifyToken string            `json:"verifyToken,omitempty"`
	Secrets     []string          `json:"secrets,omitempty"`
	SigningKey  string            `json:"signingKey,omitempty"`
	Retiring    []storedRetiring  `json:"retiring,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Auth        *storedAuth       `json:"auth,omitempty"`
	TLS         *storedTLS        `json:"tls,omitempty"`
}

type storedRetiring struct {
	Key   string    `json:"key"`
	Until time.Time `json:"until"`
}

type storedAuth struct {
	chat.Auth
	Password     string `json:"password,omitempty"`
	Token        string `json:"token,omitempty"`
	ClientSecret string `json:"clientSecret,omitempty"`
}

type storedTLS struct {
	chat.TLS
	ClientKey string `json:"clientKey,omitempty"`
}

// The fields that secrets are sealed for. Present and retiring secrets share
// theirs.
const (
	fieldVerifyToken  = "verifyToken"
	fieldSecrets      = "secrets"
	fieldHeaders      = "headers/" // and the name
	fieldPassword     = "auth/password"
	fieldToken        = "auth/token"
	fieldClientSecret = "auth/clientSecret"
	fieldClientKey    = "tls/clientKey"
)

func (s *Sealer) encodeEndpoint(e *chat.Endpoint) ([]byte, error) {
	key := keyOf(KindEndpoint, e.ID)
	seal := func(secret chat.Secret, field string) string { return s.seal(secret.Reveal(), key, field) }
	stored := storedEndpoint{
		Endpoint: *e, VerifyToken: seal(e.VerifyToken, fieldVerifyToken), SigningKey: seal(e.SigningKey, fieldSecrets),
	}
	for _, secret := range e.Secrets {
		stored.Secrets = append(stored.Secrets, seal(secret, fieldSecrets))
	}
	for _, r := range e.Retiring {
		stored.Retiring = append(stored.Retiring, storedRetiring{Key: seal(r.Key, fieldSecrets), Until: r.Until})
	}
	if len(e.Headers) > 0 {
		stored.Headers = make(map[string]string, len(e.Headers))
		for name, value := range e.Headers {
			stored.Headers[name] = seal(value, fieldHeaders+name)
		}
	}
	if a := e.Auth; a != nil {
		stored.Auth = &storedAuth{
			Auth: *a, Password: seal(a.Password, fieldPassword),
			Token: seal(a.Token, fieldToken), ClientSecret: seal(a.ClientSecret, fieldClientSecret),
		}
	}
	if e.TLS != nil {
		stored.TLS = &storedTLS{TLS: *e.TLS, ClientKey: seal(e.TLS.ClientKey, fieldClientKey)}
	}
	return encode(key, stored)
}

func (s *Sealer) decodeEndpoint(key string, value []byte) (*chat.Endpoint, error) {
	var stored storedEndpoint
	if err := json.Unmarshal(value, &stored); err != nil {
		return nil, err
	}
	var failed error
	open := func(sealed, field string) chat.Secret {
		secret, err := s.open(sealed, key, field)
		failed = errors.Join(failed, err)
		return chat.Secret(secret)
	}
	e := stored.Endpoint
	e.VerifyToken, e.SigningKey = open(stored.VerifyToken, fieldVerifyToken), open(stored.SigningKey, fieldSecrets)
	for _, sealed := range stored.Secrets {
		e.Secrets = append(e.Secrets, open(sealed, fieldSecrets))
	}
	for _, r := range stored.Retiring {
		e.Retiring = append(e.Retiring, chat.Retiring{Key: open(r.Key, fieldSecrets), Until: r.Until})
	}
	if len(stored.Headers) > 0 {
		e.Headers = make(map[string]chat.Secret, len(stored.Headers))
		for name, sealed := range stored.Headers {
			e.Headers[name] = open(sealed, fieldHeaders+name)
		}
	}
	if a := stored.Auth; a != nil {
		e.Auth = &a.Auth
		e.Auth.Password, e.Auth.Token, e.Auth.ClientSecret = open(a.Password, fieldPassword), open(a.Token, fieldToken), open(a.ClientSecret, fieldClientSecret)
	}
	if t := stored.TLS; t != nil {
		e.TLS = &t.TLS
		e.TLS.ClientKey = open(t.ClientKey, fieldClientKey)
	}
	if failed != nil {
		return nil, failed
	}
	return &e, nil
}
