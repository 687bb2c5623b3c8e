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
		v, err = decodeJSON[chat.Bot](value)
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
