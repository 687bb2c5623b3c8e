package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
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
	_, _ = rand.Read(id) // never fails: crypto/rand ends the process instead
	return NewTokenOf(strings.ToLower(base32.StdEncoding.EncodeToString(id))[:tokenIDLength], channelID, name, now)
}

// NewTokenOf is NewToken with an id that was chosen.
func NewTokenOf(id, channelID, name string, now time.Time) (clear string, token chat.Token) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the process instead
	text := base64.RawURLEncoding.EncodeToString(secret)
	token = chat.Token{
		ID:        id,
		Hash:      hashOf(text),
		ChannelID: channelID,
		Ops:       channelID == "",
		Name:      name,
		CreatedAt: now.UTC().Truncate(time.Millisecond),
	}
	return tokenPrefix + token.ID + "_" + text, token
}

// minTokenSecret is the least length of a token's secret part that was not made
// here, in characters.
const minTokenSecret = 32

// HashToken returns the hash of a token in clear, which must be one of the id.
func HashToken(id, clear string) (string, error) {
	secret, ok := strings.CutPrefix(clear, tokenPrefix+id+"_")
	if !ok || len(secret) < minTokenSecret || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("the value of token %s is not %s%s_ and at least %d random printable characters", id, tokenPrefix, id, minTokenSecret)
	}
	return hashOf(secret), nil
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
