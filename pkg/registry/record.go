package registry

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/parleyhq/parley/pkg/chat"
)

// keySeal holds a sealed constant: what tells a wrong key at start.
const keySeal = "seal"

const sealConstant = "parley"

func keyOf(kind Kind, id string) string { return string(kind) + "." + id }

// splitKey takes a record's key apart; ok is false for a key that holds no
// record (the layout, the seal).
func splitKey(key string) (kind Kind, id string, ok bool) {
	head, id, ok := strings.Cut(key, ".")
	switch kind = Kind(head); kind {
	case KindChannel, KindEndpoint, KindBot, KindToken:
		return kind, id, ok
	}
	return "", "", false
}

// storedEndpoint is an endpoint's stored form. Its fields hide the secret ones
// of chat.Endpoint, which would marshal as "[redacted]".
type storedEndpoint struct {
	chat.Endpoint
	VerifyToken string   `json:"verifyToken,omitempty"`
	Secrets     []string `json:"secrets,omitempty"`
}

const (
	fieldVerifyToken = "verifyToken"
	fieldSecrets     = "secrets"
)

func (s *Sealer) encodeEndpoint(e *chat.Endpoint) ([]byte, error) {
	key := keyOf(KindEndpoint, e.ID)
	return encode(key, storedEndpoint{
		Endpoint: *e, VerifyToken: s.seal(e.VerifyToken.Reveal(), key, fieldVerifyToken), Secrets: s.sealAll(e.Secrets, key),
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
	if e.Secrets, err = s.openAll(stored.Secrets, key); err != nil {
		return nil, err
	}
	return &e, nil
}

// storedBot is a bot's stored form, as storedEndpoint is an endpoint's.
type storedBot struct {
	chat.Bot
	Secrets []string `json:"secrets,omitempty"`
}

func (s *Sealer) encodeBot(b *chat.Bot) ([]byte, error) {
	key := keyOf(KindBot, b.ID)
	return encode(key, storedBot{Bot: *b, Secrets: s.sealAll(b.Secrets, key)})
}

func (s *Sealer) decodeBot(key string, value []byte) (*chat.Bot, error) {
	var stored storedBot
	if err := json.Unmarshal(value, &stored); err != nil {
		return nil, err
	}
	b := stored.Bot
	var err error
	if b.Secrets, err = s.openAll(stored.Secrets, key); err != nil {
		return nil, err
	}
	return &b, nil
}

// sealAll seals a record's signing secrets.
func (s *Sealer) sealAll(secrets []chat.Secret, key string) (sealed []string) {
	for _, secret := range secrets {
		sealed = append(sealed, s.seal(secret.Reveal(), key, fieldSecrets))
	}
	return sealed
}

func (s *Sealer) openAll(sealed []string, key string) (secrets []chat.Secret, err error) {
	for _, one := range sealed {
		secret, err := s.open(one, key, fieldSecrets)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, chat.Secret(secret))
	}
	return secrets, nil
}

func encode(key string, v any) ([]byte, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", key, err)
	}
	return value, nil
}

// decode reads a record's stored form into a pointer to its domain type.
func (s *Sealer) decode(kind Kind, id string, value []byte) (v any, err error) {
	switch kind {
	case KindChannel:
		v, err = decodeJSON[chat.Channel](value)
	case KindEndpoint:
		v, err = s.decodeEndpoint(keyOf(kind, id), value)
	case KindBot:
		v, err = s.decodeBot(keyOf(kind, id), value)
	case KindToken:
		v, err = decodeJSON[chat.Token](value)
	default:
		err = fmt.Errorf("unknown kind %q", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of %s %q: %w", kind, id, err)
	}
	return v, nil
}

func decodeJSON[T any](value []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(value, v); err != nil {
		return nil, err
	}
	return v, nil
}
