package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// The header fields of Standard Webhooks (https://www.standardwebhooks.com).
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp" // Unix seconds
	HeaderSignature = "Webhook-Signature"
)

// DefaultTolerance is how far a timestamp may lie from the receiver's clock, in
// either direction.
const DefaultTolerance = 5 * time.Minute

const (
	secretPrefix     = chat.PrefixSecret
	minSecretBytes   = 24
	maxSecretBytes   = 64
	newSecretBytes   = 32
	signatureVersion = "v1,"
	signatureChars   = len(signatureVersion) + 44 // base64 of 32 bytes
)

// Why [Verify] refuses.
var (
	ErrTimestamp = errors.New("the webhook-timestamp is missing, malformed or too far from this clock")
	ErrSignature = errors.New("no webhook-signature matches")
)

// Key is a parsed signing secret or key, ready for use by many goroutines. It
// prints as "[redacted]".
type Key struct {
	macs sync.Pool // of *mac; of a secret
	edKey
	until time.Time // when it signs no more; zero: never
}

// mac is a keyed hash with the scratch space that keeps signing free of
// allocations.
type mac struct {
	hash.Hash
	buf []byte
}

// NewSecret makes a signing secret of 32 random bytes in the form
// "whsec_<base64>".
func NewSecret() chat.Secret {
	var raw [newSecretBytes]byte
	_, _ = rand.Read(raw[:]) // crypto/rand.Read never returns an error
	return chat.Secret(secretPrefix + base64.StdEncoding.EncodeToString(raw[:]))
}

// ParseSecret reads a secret in the form "whsec_<base64>" of 24 to 64 bytes, or
// an ed25519 key in the form "whsk_<base64>" (64 bytes: seed and public key) or
// "whpk_<base64>" (32 bytes, which verifies only). The error never holds a part
// of it.
func ParseSecret(s chat.Secret) (*Key, error) {
	if k, ok, err := parseEd25519(s.Reveal()); ok {
		return k, err
	}
	enc, ok := strings.CutPrefix(s.Reveal(), secretPrefix)
	if !ok {
		return nil, errors.New(`a signing secret begins with "whsec_", a key with "whsk_" or "whpk_"`)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(enc)
	if err != nil {
		return nil, errors.New(`a signing secret is "whsec_" and standard base64 with padding (RFC 4648, section 4)`)
	}
	if len(raw) < minSecretBytes || len(raw) > maxSecretBytes {
		return nil, fmt.Errorf("a signing secret has %d to %d bytes behind its base64, this one %d", minSecretBytes, maxSecretBytes, len(raw))
	}
	k := &Key{}
	k.macs.New = func() any {
		m := &mac{Hash: hmac.New(sha256.New, raw), buf: make([]byte, 0, 128)}
		m.Reset() // keeps the keyed state, so that each use need not derive it
		return m
	}
	return k, nil
}

// ParseSecrets reads secrets in their order; the error says which one is bad.
func ParseSecrets(secrets []chat.Secret) ([]*Key, error) {
	keys := make([]*Key, len(secrets))
	for i, s := range secrets {
		k, err := ParseSecret(s)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		keys[i] = k
	}
	return keys, nil
}

// String returns "[redacted]".
func (*Key) String() string { return "[redacted]" }

// GoString returns "[redacted]".
func (*Key) GoString() string { return "[redacted]" }

// Sign returns the webhook-signature of a message: for each key that has not
// ended at the time, in order, "v1,<base64 of HMAC-SHA256 over
// id.timestamp.body>" or, for an ed25519 key, "v1a,<base64 of its signature over
// the same>", with a space between. Without keys it returns "".
func Sign(keys []*Key, id string, at time.Time, body []byte) string {
	var out strings.Builder
	out.Grow(len(keys) * (signatureChars + 1))
	for _, k := range keys {
		if !k.until.IsZero() && !at.Before(k.until) || k.verifiesOnly() {
			continue
		}
		if out.Len() > 0 {
			out.WriteByte(' ')
		}
		if k.private != nil {
			out.WriteString(k.sign(id, at.Unix(), body))
			continue
		}
		m := k.macs.Get().(*mac)
		out.Write(m.sign(id, at.Unix(), body))
		k.macs.Put(m)
	}
	return out.String()
}

// Verify checks a received message as its receiver does: the timestamp lies
// within the tolerance of now (0 means [DefaultTolerance]) and one of the
// header's signatures is that of one of the keys; v1 signatures are compared in
// constant time. It returns an error that wraps [ErrTimestamp] or
// [ErrSignature].
func Verify(keys []*Key, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	stamp := h.Get(HeaderTimestamp)
	sec, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || stamp != strconv.FormatInt(sec, 10) {
		return fmt.Errorf("%w: %q is not a number of seconds", ErrTimestamp, stamp)
	}
	if age := now.Sub(time.Unix(sec, 0)); age > tolerance || age < -tolerance {
		return fmt.Errorf("%w: %s old, and at most %s is tolerated either way", ErrTimestamp, age.Round(time.Second), tolerance)
	}
	id := h.Get(HeaderID)
	if id == "" {
		return fmt.Errorf("%w: the webhook-id is missing", ErrSignature)
	}
	given := strings.Fields(h.Get(HeaderSignature))
	for _, k := range keys {
		if k.public != nil {
			if k.verify(given, id, sec, body) {
				return nil
			}
			continue
		}
		m := k.macs.Get().(*mac)
		want := m.sign(id, sec, body)
		match := false
		for _, g := range given {
			match = hmac.Equal([]byte(g), want) || match
		}
		k.macs.Put(m)
		if match {
			return nil
		}
	}
	return fmt.Errorf("%w: %d given, %d keys known", ErrSignature, len(given), len(keys))
}

// sign returns one signature, which is valid until m's next use.
func (m *mac) sign(id string, sec int64, body []byte) []byte {
	m.Reset()
	m.buf = append(m.buf[:0], id...)
	m.buf = append(m.buf, '.')
	m.buf = strconv.AppendInt(m.buf, sec, 10)
	m.buf = append(m.buf, '.')
	_, _ = m.Write(m.buf) // hash.Hash never returns an error
	_, _ = m.Write(body)
	sum := m.Sum(m.buf[:0])
	n := len(sum)
	m.buf = append(sum, signatureVersion...)
	m.buf = base64.StdEncoding.AppendEncode(m.buf, sum)
	return m.buf[n:]
}
