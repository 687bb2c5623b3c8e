package webhook

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

// The vector that the Standard Webhooks libraries publish.
const (
	vectorSecret    = chat.Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func key(tb testing.TB, s chat.Secret) *Key {
	tb.Helper()
	k, err := ParseSecret(s)
	require.NoError(tb, err)
	return k
}

func TestSignGivesThePublishedVector(t *testing.T) {
	k := key(t, vectorSecret)
	for range 3 { // a pooled hash must start afresh
		require.Equal(t, vectorSignature, Sign([]*Key{k}, vectorID, time.Unix(vectorTime, 0), []byte(vectorBody)))
	}
	other := key(t, NewSecret())
	both := Sign([]*Key{other, k}, vectorID, time.Unix(vectorTime, 999e6), []byte(vectorBody))
	first, second, _ := strings.Cut(both, " ")
	require.Equal(t, vectorSignature, second)
	require.Equal(t, Sign([]*Key{other}, vectorID, time.Unix(vectorTime, 0), []byte(vectorBody)), first)
	require.Empty(t, Sign(nil, vectorID, time.Unix(vectorTime, 0), nil))
}

func TestVerify(t *testing.T) {
	now := time.Unix(vectorTime, 0)
	k, stranger := key(t, vectorSecret), key(t, NewSecret())
	header := func(change func(http.Header)) http.Header {
		h := http.Header{}
		h.Set(HeaderID, vectorID)
		h.Set(HeaderTimestamp, strconv.Itoa(vectorTime))
		h.Set(HeaderSignature, vectorSignature)
		if change != nil {
			change(h)
		}
		return h
	}
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	for _, c := range []struct {
		name   string
		change func(http.Header)
		keys   []*Key
		body   string
		now    time.Time
		want   error
	}{
		{name: "the vector"},
		{name: "second signature of a rotation", change: set(HeaderSignature, "v1,bm9wZQ== "+vectorSignature)},
		{name: "second key of a rotation", keys: []*Key{stranger, k}},
		{name: "unknown version beside it", change: set(HeaderSignature, "v2,xyz v1a,abc "+vectorSignature)},
		{name: "as old as tolerated", now: now.Add(DefaultTolerance)},
		{name: "as new as tolerated", now: now.Add(-DefaultTolerance)},
		{name: "too old", now: now.Add(DefaultTolerance + time.Second), want: ErrTimestamp},
		{name: "too new", now: now.Add(-DefaultTolerance - time.Second), want: ErrTimestamp},
		{name: "no timestamp", change: func(h http.Header) { h.Del(HeaderTimestamp) }, want: ErrTimestamp},
		{name: "timestamp with a sign", change: set(HeaderTimestamp, "+1614265330"), want: ErrTimestamp},
		{name: "timestamp of words", change: set(HeaderTimestamp, "today"), want: ErrTimestamp},
		{name: "timestamp out of range", change: set(HeaderTimestamp, "9223372036854775807"), want: ErrTimestamp},
		{name: "no id", change: func(h http.Header) { h.Del(HeaderID) }, want: ErrSignature},
		{name: "another id", change: set(HeaderID, "msg_other"), want: ErrSignature},
		{name: "no signature", change: func(h http.Header) { h.Del(HeaderSignature) }, want: ErrSignature},
		{name: "signature without its version", change: set(HeaderSignature, vectorSignature[3:]), want: ErrSignature},
		{name: "signature of another version", change: set(HeaderSignature, "v2"+vectorSignature[2:]), want: ErrSignature},
		{name: "another body", body: `{"test":2432232314}`, want: ErrSignature},
		{name: "another key", keys: []*Key{stranger}, want: ErrSignature},
		{name: "no keys", keys: []*Key{}, want: ErrSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.keys == nil {
				c.keys = []*Key{k}
			}
			if c.body == "" {
				c.body = vectorBody
			}
			if c.now.IsZero() {
				c.now = now
			}
			err := Verify(c.keys, header(c.change), []byte(c.body), c.now, 0)
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestParseSecret(t *testing.T) {
	encoded := func(n int) chat.Secret {
		return chat.Secret("whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)))
	}
	for s, want := range map[chat.Secret]string{
		vectorSecret:                           "",
		encoded(24):                            "",
		encoded(64):                            "",
		encoded(23):                            "24 to 64 bytes",
		encoded(65):                            "24 to 64 bytes",
		"":                                     "whsec_",
		"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw":     "whsec_",
		"whsec_":                               "24 to 64 bytes",
		"whsec_not base64":                     "base64",
		"whsec_" + "_-KQ9r8GKYqrTwjUPD8ILPZIo": "base64",
	} {
		_, err := ParseSecret(s)
		if want == "" {
			require.NoError(t, err, s.Reveal())
			continue
		}
		require.ErrorContains(t, err, want, s.Reveal())
		if raw := strings.TrimPrefix(s.Reveal(), "whsec_"); raw != "" {
			require.NotContains(t, err.Error(), raw, "an error must not hold the secret")
		}
	}
	_, err := ParseSecrets([]chat.Secret{vectorSecret, "x"})
	require.ErrorContains(t, err, "secret 2")
}

func TestNewSecretIsFreshAndParses(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	require.NotEqual(t, a.Reveal(), b.Reveal())
	k := key(t, a)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.Equal(t, "[redacted]", fmt.Sprintf(format, k), format)
	}
}

func BenchmarkSign(b *testing.B) {
	keys := []*Key{key(b, vectorSecret)}
	body, at := make([]byte, 512), time.Unix(vectorTime, 0)
	b.ReportAllocs()
	for b.Loop() {
		Sign(keys, vectorID, at, body)
	}
}
