package webhook

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/parleyhq/parley/pkg/chat"
)

const asymmetricVersion = "v1a,"

// edKey is what a Key of ed25519 has; a secret has neither half.
type edKey struct {
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

// NewSigningKey makes an ed25519 key in the form "whsk_<base64>".
func NewSigningKey() chat.Secret {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // crypto/rand.Read never returns an error
	return chat.Secret(chat.PrefixSigningKey + base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(seed)))
}

// PublicKey returns the public half of a key "whsk_…" in the form
// "whpk_<base64>".
func PublicKey(signingKey chat.Secret) (string, error) {
	k, err := ParseSecret(signingKey)
	if err != nil {
		return "", err
	}
	if k.private == nil {
		return "", errors.New(`only a key that begins with "whsk_" has a public one`)
	}
	return chat.PrefixPublicKey + base64.StdEncoding.EncodeToString(k.public), nil
}

// parseEd25519 reads a key; ok is false where the text is none.
func parseEd25519(text string) (k *Key, ok bool, err error) {
	enc, private := strings.CutPrefix(text, chat.PrefixSigningKey)
	size := ed25519.PrivateKeySize
	if !private {
		if enc, ok = strings.CutPrefix(text, chat.PrefixPublicKey); !ok {
			return nil, false, nil
		}
		size = ed25519.PublicKeySize
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(enc)
	if err != nil || len(raw) != size {
		return nil, true, fmt.Errorf("an ed25519 key of this kind has %d bytes in standard base64 behind its prefix", size)
	}
	if !private {
		return &Key{edKey: edKey{public: raw}}, true, nil
	}
	key := ed25519.PrivateKey(raw)
	if !key.Equal(ed25519.NewKeyFromSeed(key.Seed())) {
		return nil, true, errors.New("the two halves of the ed25519 key do not belong together")
	}
	return &Key{edKey: edKey{private: key, public: key.Public().(ed25519.PublicKey)}}, true, nil
}

func (k *edKey) verifiesOnly() bool { return k.private == nil && k.public != nil }

func (k *edKey) sign(id string, sec int64, body []byte) string {
	signature := ed25519.Sign(k.private, signedContent(id, sec, body))
	return asymmetricVersion + base64.StdEncoding.EncodeToString(signature)
}

// verify reports whether one of the signatures given is the key's.
func (k *edKey) verify(given []string, id string, sec int64, body []byte) bool {
	content := signedContent(id, sec, body)
	for _, g := range given {
		enc, ok := strings.CutPrefix(g, asymmetricVersion)
		if !ok {
			continue
		}
		if raw, err := base64.StdEncoding.Strict().DecodeString(enc); err == nil && ed25519.Verify(k.public, content, raw) {
			return true
		}
	}
	return false
}

func signedContent(id string, sec int64, body []byte) []byte {
	b := make([]byte, 0, len(id)+len(body)+24)
	b = append(b, id...)
	b = append(b, '.')
	b = strconv.AppendInt(b, sec, 10)
	b = append(b, '.')
	return append(b, body...)
}
