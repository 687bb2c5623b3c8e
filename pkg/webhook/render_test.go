package webhook

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

// reference is the contract's body for encoding/json.
type reference struct {
	SenderID  string `json:"senderId"`
	Recipient struct {
		ID string `json:"id"`
	} `json:"recipient"`
	VerifyToken    string          `json:"verifyToken,omitempty"`
	Message        json.RawMessage `json:"message"`
	MessageCounter uint64          `json:"messageCounter"`
	NLP            json.RawMessage `json:"nlp,omitempty"`
}

func marshal(tb testing.TB, id, token, message string, counter uint64, nlp string) string {
	tb.Helper()
	r := reference{SenderID: id, VerifyToken: token, Message: json.RawMessage(message), MessageCounter: counter, NLP: json.RawMessage(nlp)}
	r.Recipient.ID = id
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	require.NoError(tb, enc.Encode(r))
	return strings.TrimSuffix(out.String(), "\n")
}

func TestRenderBodyIsTheContractsExample(t *testing.T) {
	const id = "default-b94215f0-0c7e-11ea-9c43-7174cba76"
	require.Equal(t, `{"senderId":"`+id+`","recipient":{"id":"`+id+`"},"verifyToken":"eenheeluniekeverifytoken",`+
		`"message":{"text":"test tekst message"},"messageCounter":1,"nlp":{"intent":{"name":"greeting","score":0.98}}}`,
		string(RenderBody(id, "eenheeluniekeverifytoken", json.RawMessage(`{"text":"test tekst message"}`), 1,
			json.RawMessage(`{"intent":{"name":"greeting","score":0.98}}`))))
}

func TestRenderBodyEqualsEncodingJSON(t *testing.T) {
	var controls strings.Builder
	for c := range rune(0x100) {
		controls.WriteRune(c)
	}
	for _, id := range []string{
		"", "a", `quote " backslash \ slash /`, controls.String(), "é 漢 🎉", "\u2028 \u2029 \ufffd",
		"broken \xff\xc3 utf8 \xed\xa0\x80", "<script>&amp;", "\x7f", "tail\xf0\x9f",
	} {
		for _, token := range []string{"", "tok\"en\n"} {
			for _, nlp := range []string{"", `{"intent":{"name":"x","score":1}}`} {
				got := RenderBody(id, chat.Secret(token), json.RawMessage(`{"text":"hi"}`), 1<<63, json.RawMessage(nlp))
				require.Equal(t, marshal(t, id, token, `{"text":"hi"}`, 1<<63, nlp), string(got))
			}
		}
	}
	require.Equal(t, marshal(t, "a", "", "null", 0, ""), string(RenderBody("a", "", nil, 0, nil)))
}

func TestRenderEvent(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 7_900_000, time.FixedZone("", 3600))
	require.Equal(t, `{"type":"user_message","timestamp":"2026-03-01T12:00:00.007Z","channelId":"shop","verifyToken":"agreed \"so\"","data":{"a":1}}`,
		string(RenderEvent("user_message", at, "shop", `agreed "so"`, json.RawMessage(`{"a":1}`))))
	require.Equal(t, `{"type":"offload","timestamp":"2026-03-01T12:00:00.007Z","channelId":"shop","data":null}`,
		string(RenderEvent("offload", at, "shop", "", nil)))
}

func FuzzRenderBodyRoundTrip(f *testing.F) {
	f.Add("default-b94215f0", "token", uint64(1))
	f.Add("\x00\u2028\"\\", "\xff", uint64(1<<64-1))
	f.Fuzz(func(t *testing.T, id, token string, counter uint64) {
		body := RenderBody(id, chat.Secret(token), json.RawMessage(`{"text":"hi"}`), counter, nil)
		require.Equal(t, marshal(t, id, token, `{"text":"hi"}`, counter, ""), string(body))
		var back reference
		require.NoError(t, json.Unmarshal(body, &back))
		if utf8.ValidString(id) && utf8.ValidString(token) {
			require.Equal(t, []string{id, id, token}, []string{back.SenderID, back.Recipient.ID, back.VerifyToken})
		}
		require.Equal(t, counter, back.MessageCounter)
	})
}

func BenchmarkRenderBody(b *testing.B) {
	message := json.RawMessage(`{"text":"` + strings.Repeat("x", 400) + `"}`)
	nlp := json.RawMessage(`{"intent":{"name":"greeting","score":0.98}}`)
	b.ReportAllocs()
	for b.Loop() {
		RenderBody("default-b94215f0-0c7e-11ea-9c43-7174cba76", "eenheeluniekeverifytoken", message, 17, nlp)
	}
}
