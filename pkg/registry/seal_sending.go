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
	storedSending
	VerifyToken string `json:"verifyToken,omitempty"`
}

type storedBot struct {
	chat.Bot
	storedSending
}

// storedSending lies less deep in both of them than chat.Sending does.
type storedSending struct {
	Secrets    []string          `json:"secrets,omitempty"`
	SigningKey string            `json:"signingKey,omitempty"`
	Retiring   []storedRetiring  `json:"retiring,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Auth       *storedAuth       `json:"auth,omitempty"`
	TLS        *storedTLS        `json:"tls,omitempty"`
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
	return encode(key, storedEndpoint{
		Endpoint: *e, storedSending: s.sealSending(key, &e.Sending),
		VerifyToken: s.seal(e.VerifyToken.Reveal(), key, fieldVerifyToken),
	})
}

func (s *Sealer) decodeEndpoint(key string, value []byte) (*chat.Endpoint, error) {
	var stored storedEndpoint
	if err := json.Unmarshal(value, &stored); err != nil {
		return nil, err
	}
	e := stored.Endpoint
	token, err := s.open(stored.VerifyToken, key, fieldVerifyToken)
	if err != nil {
		return nil, err
	}
	e.VerifyToken = chat.Secret(token)
	e.Sending, err = s.openSending(key, &stored.storedSending)
	return &e, err
}

func (s *Sealer) encodeBot(b *chat.Bot) ([]byte, error) {
	key := keyOf(KindBot, b.ID)
	return encode(key, storedBot{Bot: *b, storedSending: s.sealSending(key, &b.Sending)})
}

func (s *Sealer) decodeBot(key string, value []byte) (*chat.Bot, error) {
	var stored storedBot
	if err := json.Unmarshal(value, &stored); err != nil {
		return nil, err
	}
	b := stored.Bot
	var err error
	b.Sending, err = s.openSending(key, &stored.storedSending)
	return &b, err
}

// sealSending seals the secrets of the record with a key.
func (s *Sealer) sealSending(key string, from *chat.Sending) storedSending {
	seal := func(secret chat.Secret, field string) string { return s.seal(secret.Reveal(), key, field) }
	stored := storedSending{SigningKey: seal(from.SigningKey, fieldSecrets)}
	for _, secret := range from.Secrets {
		stored.Secrets = append(stored.Secrets, seal(secret, fieldSecrets))
	}
	for _, r := range from.Retiring {
		stored.Retiring = append(stored.Retiring, storedRetiring{Key: seal(r.Key, fieldSecrets), Until: r.Until})
	}
	if len(from.Headers) > 0 {
		stored.Headers = make(map[string]string, len(from.Headers))
		for name, value := range from.Headers {
			stored.Headers[name] = seal(value, fieldHeaders+name)
		}
	}
	if a := from.Auth; a != nil {
		stored.Auth = &storedAuth{
			Auth: *a, Password: seal(a.Password, fieldPassword),
			Token: seal(a.Token, fieldToken), ClientSecret: seal(a.ClientSecret, fieldClientSecret),
		}
	}
	if t := from.TLS; t != nil {
		stored.TLS = &storedTLS{TLS: *t, ClientKey: seal(t.ClientKey, fieldClientKey)}
	}
	return stored
}

func (s *Sealer) openSending(key string, stored *storedSending) (chat.Sending, error) {
	var failed error
	open := func(sealed, field string) chat.Secret {
		secret, err := s.open(sealed, key, field)
		failed = errors.Join(failed, err)
		return chat.Secret(secret)
	}
	out := chat.Sending{SigningKey: open(stored.SigningKey, fieldSecrets)}
	for _, sealed := range stored.Secrets {
		out.Secrets = append(out.Secrets, open(sealed, fieldSecrets))
	}
	for _, r := range stored.Retiring {
		out.Retiring = append(out.Retiring, chat.Retiring{Key: open(r.Key, fieldSecrets), Until: r.Until})
	}
	if len(stored.Headers) > 0 {
		out.Headers = make(map[string]chat.Secret, len(stored.Headers))
		for name, sealed := range stored.Headers {
			out.Headers[name] = open(sealed, fieldHeaders+name)
		}
	}
	if a := stored.Auth; a != nil {
		out.Auth = &a.Auth
		out.Auth.Password, out.Auth.Token, out.Auth.ClientSecret = open(a.Password, fieldPassword), open(a.Token, fieldToken), open(a.ClientSecret, fieldClientSecret)
	}
	if t := stored.TLS; t != nil {
		out.TLS = &t.TLS
		out.TLS.ClientKey = open(t.ClientKey, fieldClientKey)
	}
	return out, failed
}
