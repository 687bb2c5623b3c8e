package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// tokenPrefix begins every access token, so that scanners can find one that
// leaked.
const tokenPrefix = "pat_"

const tokenIDLength = 10

// NewToken makes an access token for a channel, or for ops when channelID is
// empty. The clear form, pat_<id>_<secret>, is known here and never again.
func NewToken(channelID, name string, now time.Time) (clear string, token chat.Token) {
	id := make([]byte, 8)
	secret := make([]byte, 32)
	_, _ = rand.Read(id) // never fails: crypto/rand ends the process instead
	_, _ = rand.Read(secret)
	text := base64.RawURLEncoding.EncodeToString(secret)
	token = chat.Token{
		ID:        strings.ToLower(base32.StdEncoding.EncodeToString(id))[:tokenIDLength],
		Hash:      hashOf(text),
		ChannelID: channelID,
		Ops:       channelID == "",
		Name:      name,
		CreatedAt: now.UTC().Truncate(time.Millisecond),
	}
	return tokenPrefix + token.ID + "_" + text, token
}

// Authenticate returns the token whose clear form is given. The secret is
// compared by its hash, in constant time, also for an id that doesn't exist.
func (s *Snapshot) Authenticate(clear string) (chat.Token, bool) {
	rest, ok := strings.CutPrefix(clear, tokenPrefix)
	id, secret, cut := strings.Cut(rest, "_")
	stored := noToken
	known := false
	if t, exists := s.Token(id); exists {
		stored, known = *t, true
	}
	sum := sha256.Sum256([]byte(secret))
	var have, want [2 * sha256.Size]byte
	hex.Encode(have[:], sum[:])
	same := copy(want[:], stored.Hash) == len(stored.Hash) && subtle.ConstantTimeCompare(have[:], want[:]) == 1
	if !ok || !cut || secret == "" || !known || !same {
		return chat.Token{}, false
	}
	return stored, true
}

// noToken stands in for a token that doesn't exist.
var noToken = chat.Token{Hash: hashOf("")}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// NewEndpointID makes an id for an endpoint whose operator chose none.
func NewEndpointID() string {
	id := make([]byte, 5)
	_, _ = rand.Read(id) // never fails: crypto/rand ends the process instead
	return "ep-" + strings.ToLower(base32.StdEncoding.EncodeToString(id))
}
