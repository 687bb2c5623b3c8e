package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

// The vector of v1a that stands in the Standard Webhooks specification's
// example; its key is in the tests of the Svix server, for the message of the v1 vector.
const (
	vectorKey        = chat.Secret("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
	vectorPublic     = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	vectorAsymmetric = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)

func TestSignGivesThePublishedAsymmetricVector(t *testing.T) {
	at := time.Unix(vectorTime, 0)
	both := []*Key{key(t, vectorSecret), key(t, vectorKey), key(t, chat.Secret(vectorPublic))}
	require.Equal(t, vectorSignature+" "+vectorAsymmetric, Sign(both, vectorID, at, []byte(vectorBody)), "a public key signs nothing")
	public, err := PublicKey(vectorKey)
	require.NoError(t, err)
	require.Equal(t, vectorPublic, public)
	for _, none := range []chat.Secret{vectorSecret, chat.Secret(vectorPublic), "whsk_", "x"} {
		_, err := PublicKey(none)
		require.Error(t, err)
	}
}

func TestVerifyAsymmetric(t *testing.T) {
	public, stranger := key(t, chat.Secret(vectorPublic)), key(t, NewSigningKey())
	verify := func(k *Key, signature, body string) error {
		h := http.Header{HeaderID: {vectorID}, HeaderTimestamp: {strconv.Itoa(vectorTime)}, HeaderSignature: {signature}}
		return Verify([]*Key{k}, h, []byte(body), time.Unix(vectorTime, 0), 0)
	}
	require.NoError(t, verify(public, vectorAsymmetric, vectorBody))
	require.NoError(t, verify(public, "v1a,AAAA v1a,%% "+vectorSignature+" "+vectorAsymmetric, vectorBody))
	require.NoError(t, verify(key(t, vectorKey), vectorAsymmetric, vectorBody))
	require.ErrorIs(t, verify(public, vectorAsymmetric, vectorBody+" "), ErrSignature)
	require.ErrorIs(t, verify(public, vectorSignature, vectorBody), ErrSignature)
	require.ErrorIs(t, verify(public, "v1"+strings.TrimPrefix(vectorAsymmetric, "v1a"), vectorBody), ErrSignature)
	require.ErrorIs(t, verify(stranger, vectorAsymmetric, vectorBody), ErrSignature)
}

func TestParseSigningKey(t *testing.T) {
	a, b := NewSigningKey(), NewSigningKey()
	require.NotEqual(t, a.Reveal(), b.Reveal())
	require.Equal(t, "[redacted]", key(t, a).String())
	mixed := vectorKey.Reveal()[:50] + a.Reveal()[50:]
	for _, bad := range []string{"whsk_", "whsk_AAAA", "whsk_" + strings.TrimPrefix(vectorPublic, "whpk_"), "whpk_" + strings.TrimPrefix(vectorKey.Reveal(), "whsk_"), "whpk_-", mixed} {
		_, err := ParseSecret(chat.Secret(bad))
		require.Error(t, err, bad)
		if len(bad) > 20 {
			require.NotContains(t, err.Error(), bad[5:])
		}
	}
}

// TestKeysEndByThemselves: what retires signs up to its time and not from then
// on, with nobody's doing.
func TestKeysEndByThemselves(t *testing.T) {
	until := time.Unix(vectorTime, 0)
	e := chat.Endpoint{Secrets: []chat.Secret{vectorSecret}, SigningKey: vectorKey}
	e.Rotate(NewSecret(), NewSigningKey(), until)
	keys, err := Keys(&e)
	require.NoError(t, err)
	versions := func(at time.Time) (out []string) {
		for s := range strings.FieldsSeq(Sign(keys, vectorID, at, []byte(vectorBody))) {
			version, _, _ := strings.Cut(s, ",")
			out = append(out, version)
		}
		return out
	}
	require.Equal(t, []string{"v1", "v1a", "v1", "v1a"}, versions(until.Add(-time.Nanosecond)))
	require.Equal(t, []string{"v1", "v1a"}, versions(until))
	last := Sign(keys, vectorID, until.Add(time.Hour), []byte(vectorBody))
	require.NotContains(t, last, vectorSignature)
	require.NotContains(t, last, vectorAsymmetric)

	e.Retiring[0].Key = "x"
	_, err = Keys(&e)
	require.ErrorContains(t, err, "retiring secret 1")
	e.SigningKey = "whsk_"
	_, err = Keys(&e)
	require.Error(t, err)
}
