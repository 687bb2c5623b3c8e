package registry

import (
	"encoding/json"

	"github.com/parleyhq/parley/pkg/chat"
)

// storedBot is a bot's stored form, as storedEndpoint is an endpoint's.
type storedBot struct {
	chat.Bot
	Secrets []string `json:"secrets,omitempty"`
}

func (s *Sealer) encodeBot(b *chat.Bot) ([]byte, error) {
	key := keyOf(KindBot, b.ID)
	stored := storedBot{Bot: *b}
	for _, secret := range b.Secrets {
		stored.Secrets = append(stored.Secrets, s.seal(secret.Reveal(), key, fieldSecrets))
	}
	return encode(key, stored)
}

func (s *Sealer) decodeBot(key string, value []byte) (*chat.Bot, error) {
	var stored storedBot
	if err := json.Unmarshal(value, &stored); err != nil {
		return nil, err
	}
	b := stored.Bot
	for _, sealed := range stored.Secrets {
		secret, err := s.open(sealed, key, fieldSecrets)
		if err != nil {
			return nil, err
		}
		b.Secrets = append(b.Secrets, chat.Secret(secret))
	}
	return &b, nil
}
