package chat_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func body(message string) string { return `{"conversationId":"c1","message":` + message + `}` }

func TestDecodeInputReadsEveryKind(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		kind       chat.InputKind
		want       string
	}{
		{"text", body(`{ "textMessage": { "text": "hi <b>" } }`), chat.InputText, `{"text":"hi <b>"}`},
		{"null is absent", body(`{"textMessage":{"text":"hi"},"fileMessage":null}`), chat.InputText, `{"text":"hi"}`},
		{"postback", body(`{"postbackMessage":{"title":"Yes","payload":"{\"a\":1}","nextDialogstateId":"x","sessionDataToSet":[{"key":"k","value":[1, 2]}]}}`), chat.InputPostback, `{"title":"Yes","payload":"{\"a\":1}","nextDialogstateId":"x","sessionDataToSet":[{"key":"k","value":[1,2]}]}`},
		{"intro", body(`{"introMessage":{}}`), chat.InputIntro, `{}`},
		{"file", body(`{"fileMessage":{"urls":["https://example.com/a.png","http://example.com/b"]}}`), chat.InputFile, `{"urls":["https://example.com/a.png","http://example.com/b"]}`},
		{"location", body(`{"locationMessage":{"lat":-90,"long":1.8e2}}`), chat.InputLocation, `{"lat":-90,"long":1.8e2}`},
		{"longest text", body(`{"textMessage":{"text":"` + strings.Repeat("é", chat.MaxText) + `"}}`), chat.InputText, `{"text":"` + strings.Repeat("é", chat.MaxText) + `"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in, err := chat.DecodeInput([]byte(tc.body))
			require.NoError(t, err)
			require.Equal(t, "c1", in.ConversationID)
			require.Equal(t, tc.kind, in.Input.Kind)
			require.Equal(t, tc.want, string(in.Input.Body))
		})
	}
}

func TestDecodeInputReadsTheRest(t *testing.T) {
	in, err := chat.DecodeInput([]byte(`{"user":{"id":"\u00e9/~", "firstName":"A", "x":{}},"sessionData":{"a": [1, {"b":null}]},
		"locale":"nl-BE","unknown":[1],"message":{"introMessage":{}}}`))
	require.NoError(t, err)
	require.Equal(t, "é/~", in.ConversationID)
	require.Equal(t, `{"a":[1,{"b":null}]}`, string(in.SessionData))
	require.Equal(t, `{"id":"\u00e9/~","firstName":"A","x":{}}`, string(in.User))
	require.Equal(t, "nl-BE", in.Locale)

	in, err = chat.DecodeInput([]byte(`{"user":{"id":"` + strings.Repeat("é", 256) + `"},"conversationId":"` + strings.Repeat("é", 256) + `","sessionData":null,"locale":null,"message":{"introMessage":{}}}`))
	require.NoError(t, err)
	require.Nil(t, in.SessionData)
	require.Empty(t, in.Locale)
}

func TestDecodeInputSaysWhatToChange(t *testing.T) {
	text := `{"textMessage":{"text":"hi"}}`
	pairs := strings.TrimSuffix(strings.Repeat(`{"key":"k"},`, chat.MaxSessionDataItems+1), ",")
	urls := strings.TrimSuffix(strings.Repeat(`"http://a.b/c",`, chat.MaxFileURLs+1), ",")
	for _, tc := range []struct{ name, body, pointer, detail string }{
		{"empty", ` `, "", "the body is empty"},
		{"not JSON", `{"message":hi}`, "", "at byte 12)"},
		{"cut off", `{"message":{`, "", "the body is not JSON"},
		{"trailing data", `{} {}`, "", "the body is not JSON"},
		{"no object", `[1]`, "", "must be an object, not an array"},
		{"not UTF-8", "{\"conversationId\":\"\xff\"}", "", "UTF-8"},
		{"duplicate key", `{"conversationId":"a","conversation\u0049d":"b"}`, "/conversationId", "twice"},
		{"duplicate key deep", `{"user":{"x":[1,{"a/~":1,"a/~":2}]}}`, "/user/x/1/a~1~0", "twice"},
		{"too deep", `{"user":` + strings.Repeat("[", chat.MaxDepth) + strings.Repeat("]", chat.MaxDepth) + `}`, "/user" + strings.Repeat("/0", chat.MaxDepth-1), "nested deeper"},
		{"no conversation", `{"message":` + text + `}`, "/conversationId", "send conversationId or user.id"},
		{"id of another type", `{"conversationId":7,"message":` + text + `}`, "/conversationId", "must be a string, not a number"},
		{"empty id", `{"conversationId":"","message":` + text + `}`, "/conversationId", "1 to 256 characters, not 0"},
		{"id of 257", `{"conversationId":"` + strings.Repeat("é", 257) + `","message":` + text + `}`, "/conversationId", "1 to 256 characters, not 257"},
		{"control character", `{"conversationId":"a\u0000","message":` + text + `}`, "/conversationId", "control"},
		{"lone surrogate", `{"conversationId":"a\ud800","message":` + text + `}`, "/conversationId", "surrogates"},
		{"user id of another type", `{"user":{"id":{}},"message":` + text + `}`, "/user/id", "must be a string, not an object"},
		{"ids differ", `{"conversationId":"a","user":{"id":"b"},"message":` + text + `}`, "/user/id", "differs"},
		{"user no object", `{"conversationId":"a","user":"b","message":` + text + `}`, "/user", "must be an object, not a string"},
		{"user too large", `{"conversationId":"a","user":{"a":"` + strings.Repeat("a", chat.MaxUser) + `"},"message":` + text + `}`, "/user", "at most 16384 bytes"},
		{"session data no object", `{"conversationId":"a","sessionData":[],"message":` + text + `}`, "/sessionData", "must be an object, not an array"},
		{"session data too large", `{"conversationId":"a","sessionData":{"a":"` + strings.Repeat("a", chat.MaxSessionData) + `"},"message":` + text + `}`, "/sessionData", "at most 16384 bytes"},
		{"locale", `{"conversationId":"a","locale":"dutch please","message":` + text + `}`, "/locale", "BCP 47"},
		{"locale with underscore", `{"conversationId":"a","locale":"nl_BE","message":` + text + `}`, "/locale", "BCP 47"},
		{"locale type", `{"conversationId":"a","locale":true,"message":` + text + `}`, "/locale", "must be a string, not a boolean"},
		{"expires at once", `{"conversationId":"a","expireAfter":0,"message":` + text + `}`, "/expireAfter", "between 1 and 2.592e+06"},
		{"expires late", `{"conversationId":"a","expireAfter":2592001,"message":` + text + `}`, "/expireAfter", "between"},
		{"expiry type", `{"conversationId":"a","expireAfter":"60s","message":` + text + `}`, "/expireAfter", "must be a number, not a string"},
		{"no message", `{"conversationId":"a"}`, "/message", "is missing"},
		{"message no object", body(`"hi"`), "/message", "must be an object, not a string"},
		{"no kind", body(`{}`), "/message", "holds no message"},
		{"only null", body(`{"textMessage":null}`), "/message", "holds no message"},
		{"two kinds", body(`{"textMessage":{"text":"a"},"introMessage":{}}`), "/message/introMessage", "second kind of message beside textMessage"},
		{"unknown kind", body(`{"voiceMessage":{}}`), "/message/voiceMessage", "send one of textMessage, postbackMessage"},
		{"kind no object", body(`{"textMessage":"hi"}`), "/message/textMessage", "must be an object, not a string"},
		{"no text", body(`{"textMessage":{"Text":"x"}}`), "/message/textMessage/text", "is missing"},
		{"empty text", body(`{"textMessage":{"text":""}}`), "/message/textMessage/text", "1 to 10000"},
		{"text type", body(`{"textMessage":{"text":1}}`), "/message/textMessage/text", "must be a string, not a number"},
		{"text too long", body(`{"textMessage":{"text":"` + strings.Repeat("é", chat.MaxText+1) + `"}}`), "/message/textMessage/text", "1 to 10000 characters, not 10001"},
		{"no title", body(`{"postbackMessage":{"payload":"x"}}`), "/message/postbackMessage/title", "is missing"},
		{"long title", body(`{"postbackMessage":{"title":"` + strings.Repeat("a", chat.MaxPostbackTitle+1) + `"}}`), "/message/postbackMessage/title", "characters"},
		{"payload type", body(`{"postbackMessage":{"title":"a","payload":{}}}`), "/message/postbackMessage/payload", "must be a string, not an object"},
		{"long payload", body(`{"postbackMessage":{"title":"a","payload":"` + strings.Repeat("a", chat.MaxPostbackPayload+1) + `"}}`), "/message/postbackMessage/payload", "characters"},
		{"state type", body(`{"postbackMessage":{"title":"a","nextDialogstateId":[]}}`), "/message/postbackMessage/nextDialogstateId", "must be a string"},
		{"pairs type", body(`{"postbackMessage":{"title":"a","sessionDataToSet":{}}}`), "/message/postbackMessage/sessionDataToSet", "must be an array, not an object"},
		{"pair type", body(`{"postbackMessage":{"title":"a","sessionDataToSet":[1]}}`), "/message/postbackMessage/sessionDataToSet/0", "must be an object, not a number"},
		{"pair without key", body(`{"postbackMessage":{"title":"a","sessionDataToSet":[{"value":1}]}}`), "/message/postbackMessage/sessionDataToSet/0/key", "is missing"},
		{"too many pairs", body(`{"postbackMessage":{"title":"a","sessionDataToSet":[` + pairs + `]}}`), "/message/postbackMessage/sessionDataToSet", "at most 100 items, not 101"},
		{"no urls", body(`{"fileMessage":{}}`), "/message/fileMessage/urls", "is missing"},
		{"empty urls", body(`{"fileMessage":{"urls":[]}}`), "/message/fileMessage/urls", "1 to 20 URLs, not 0"},
		{"too many urls", body(`{"fileMessage":{"urls":[` + urls + `]}}`), "/message/fileMessage/urls", "1 to 20 URLs, not 21"},
		{"urls type", body(`{"fileMessage":{"urls":"http://a.b"}}`), "/message/fileMessage/urls", "must be an array"},
		{"url type", body(`{"fileMessage":{"urls":[1]}}`), "/message/fileMessage/urls/0", "must be a string"},
		{"url scheme", body(`{"fileMessage":{"urls":["http://a.b","ftp://a.b"]}}`), "/message/fileMessage/urls/1", "https://"},
		{"url relative", body(`{"fileMessage":{"urls":["/a"]}}`), "/message/fileMessage/urls/0", "absolute"},
		{"url long", body(`{"fileMessage":{"urls":["http://a.b/` + strings.Repeat("a", chat.MaxURL) + `"]}}`), "/message/fileMessage/urls/0", "at most 2048 bytes"},
		{"no lat", body(`{"locationMessage":{"long":1}}`), "/message/locationMessage/lat", "is missing"},
		{"no long", body(`{"locationMessage":{"lat":1}}`), "/message/locationMessage/long", "is missing"},
		{"lat type", body(`{"locationMessage":{"lat":"1","long":1}}`), "/message/locationMessage/lat", "must be a number, not a string"},
		{"lat range", body(`{"locationMessage":{"lat":90.1,"long":1}}`), "/message/locationMessage/lat", "between -90 and 90"},
		{"long range", body(`{"locationMessage":{"lat":1,"long":-1e999}}`), "/message/locationMessage/long", "between -180 and 180"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in, err := chat.DecodeInput([]byte(tc.body))
			require.Nil(t, in)
			requireProblem(t, err, tc.pointer, tc.detail)
		})
	}
}

func TestDecodeInputReportsAllProblems(t *testing.T) {
	_, err := chat.DecodeInput([]byte(`{"locale":"?","sessionData":1,"message":{"x":{}}}`))
	var invalid *chat.ValidationError
	require.ErrorAs(t, err, &invalid)
	require.Len(t, invalid.Problems, 4)
}

// requireProblem asserts that err is a ValidationError with a problem at the
// pointer whose detail holds the words.
func requireProblem(t *testing.T, err error, pointer, words string) {
	t.Helper()
	var invalid *chat.ValidationError
	require.ErrorAs(t, err, &invalid)
	for _, p := range invalid.Problems {
		if p.Pointer == pointer && strings.Contains(p.Detail, words) {
			return
		}
	}
	require.Failf(t, "no such problem", "want %q at %q, have %v", words, pointer, invalid.Problems)
}

func TestValidLocale(t *testing.T) {
	for s, want := range map[string]bool{
		"en": true, "nl-BE": true, "zh-Hant-TW": true, "sl-rozaj-1994": true, "de-1996": true,
		"": false, "e": false, "en-": false, "-en": false, "1en": false, "en_GB": false, "en-abcdefghi": false, "é": false,
	} {
		require.Equal(t, want, chat.ValidLocale(s), s)
	}
}

func TestDecodeLegacy(t *testing.T) {
	in, token, err := chat.DecodeLegacy([]byte(`{"text":"hello","sender":{"id":"c1"},"verifyToken":"t","locale":"nl"}`))
	require.NoError(t, err)
	require.Equal(t, &chat.Incoming{ConversationID: "c1", Locale: "nl", Input: chat.Input{Kind: chat.InputText, Body: []byte(`{"text":"hello"}`)}}, in)
	require.Equal(t, "t", token.Reveal())

	for text, want := range map[string]string{
		`{"params":[{"key":"a","value":{"b":1}}],"nextDialogstateId":"d1","type":"postback","caption":"Yes"}`: `{"title":"Yes","nextDialogstateId":"d1","sessionDataToSet":[{"key":"a","value":{"b":1}}]}`,
		`{"params":[]}`: `{"title":""}`,
	} {
		in, _, err = chat.DecodeLegacy(legacy(t, text))
		require.NoError(t, err)
		require.Equal(t, chat.InputPostback, in.Input.Kind)
		require.Equal(t, want, string(in.Input.Body))
	}
	for _, text := range []string{`{"some":"JSON"}`, `{not JSON`, `[1]`, `{"type":"x"}`} {
		in, _, err = chat.DecodeLegacy(legacy(t, text))
		require.NoError(t, err)
		require.Equal(t, chat.InputText, in.Input.Kind)
	}
}

func legacy(t *testing.T, text string) []byte {
	t.Helper()
	quoted, err := json.Marshal(text)
	require.NoError(t, err)
	return []byte(`{"sender":{"id":"c1"},"text":` + string(quoted) + `}`)
}

func TestDecodeLegacySaysWhatToChange(t *testing.T) {
	for _, tc := range []struct{ name, body, pointer, detail string }{
		{"not JSON", `x`, "", "not JSON"},
		{"no object", `1`, "", "must be an object"},
		{"no sender", `{"text":"a"}`, "/sender/id", "is missing"},
		{"sender type", `{"text":"a","sender":"x"}`, "/sender", "must be an object"},
		{"no text", `{"sender":{"id":"c"}}`, "/text", "is missing"},
		{"text type", `{"sender":{"id":"c"},"text":{}}`, "/text", "must be a string"},
		{"wrong payload", string(legacy(t, `{"params":{}}`)), "/text", "/params must be an array"},
		{"token type", `{"sender":{"id":"c"},"text":"a","verifyToken":1}`, "/verifyToken", "must be a string"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := chat.DecodeLegacy([]byte(tc.body))
			requireProblem(t, err, tc.pointer, tc.detail)
		})
	}
	_, token, err := chat.DecodeLegacy([]byte(`{"verifyToken":"t"}`))
	require.Error(t, err)
	require.Equal(t, "t", token.Reveal(), "the token can be judged before the rest")
}

func TestDecodeActions(t *testing.T) {
	a, channel, err := chat.DecodeActions([]byte(`{"sendMessages":[{"text":"hi"}],"nextDialogstate":"d","sessionData":{"a": 1},"pauseBot":true,"channel":"web","expireAfter":1.5,"x":1}`))
	require.NoError(t, err)
	require.Equal(t, "web", channel)
	require.Equal(t, &chat.Actions{SendMessages: []chat.Message{{Text: "hi"}}, NextDialogstate: "d", SessionData: []byte(`{"a":1}`), PauseBot: true, ExpireAfter: 1500 * time.Millisecond}, a)

	for _, tc := range []struct{ name, body, pointer, detail string }{
		{"not JSON", `x`, "", "not JSON"},
		{"no object", `[]`, "", "must be an object"},
		{"nothing", `{"pauseBot":false}`, "", "asks for nothing"},
		{"only expires", `{"expireAfter":60}`, "", "asks for nothing"},
		{"expiry", `{"pauseBot":true,"expireAfter":-1}`, "/expireAfter", "between"},
		{"both", `{"pauseBot":true,"resumeBot":true}`, "/resumeBot", "one of the two"},
		{"type", `{"pauseBot":"yes"}`, "/pauseBot", "must be a boolean"},
		{"messages type", `{"sendMessages":{}}`, "/sendMessages", "must be an array"},
		{"no messages", `{"sendMessages":[]}`, "/sendMessages", "1 to 20"},
		{"message type", `{"sendMessages":["hi"]}`, "/sendMessages/0", "must be an object"},
		{"message field type", `{"sendMessages":[{"text":1}]}`, "/sendMessages/0", "text can't be a JSON number"},
		{"message invalid", `{"sendMessages":[{"text":"a"},{}]}`, "/sendMessages/1", "is empty"},
		{"session data", `{"sessionData":[]}`, "/sessionData", "must be an object"},
		{"channel", `{"pauseBot":true,"channel":"a.b"}`, "/channel", "no id for a channel"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := chat.DecodeActions([]byte(tc.body))
			requireProblem(t, err, tc.pointer, tc.detail)
		})
	}
}

func FuzzDecodeInput(f *testing.F) {
	f.Add([]byte(body(`{"textMessage":{"text":"hi"}}`)))
	f.Add([]byte(`{"user":{"id":"\u00e9","n":[{},[]]},"sessionData":{"a":1e3},"locale":"nl-BE","message":{"locationMessage":{"lat":1,"long":-2.5}}}`))
	f.Add([]byte(body(`{"postbackMessage":{"title":"a","sessionDataToSet":[{"key":"k","value":null}]}}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := chat.DecodeInput(b)
		if err != nil {
			var invalid *chat.ValidationError
			require.ErrorAs(t, err, &invalid)
			require.NotEmpty(t, invalid.Problems)
			return
		}
		encoded, err := json.Marshal(map[string]any{
			"conversationId": in.ConversationID, "sessionData": in.SessionData, "user": in.User,
			"locale": nilIfEmpty(in.Locale), "message": map[string]any{string(in.Input.Kind): in.Input.Body},
		})
		require.NoError(t, err)
		again, err := chat.DecodeInput(encoded)
		require.NoError(t, err)
		require.Equal(t, in.ConversationID, again.ConversationID)
		require.Equal(t, in.Locale, again.Locale)
		require.Equal(t, in.Input.Kind, again.Input.Kind)
		require.JSONEq(t, string(in.Input.Body), string(again.Input.Body))
	})
}

func nilIfEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func FuzzDecodeLegacy(f *testing.F) {
	f.Add([]byte(`{"text":"{\"params\":[{\"key\":\"a\",\"value\":1}]}","sender":{"id":"c"},"verifyToken":"t"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, _, err := chat.DecodeLegacy(b)
		var invalid *chat.ValidationError
		require.True(t, err == nil || errors.As(err, &invalid))
		if err == nil {
			require.True(t, json.Valid(in.Input.Body))
			require.NotEmpty(t, in.ConversationID)
		}
	})
}

func BenchmarkDecodeInput(b *testing.B) {
	for name, in := range map[string]string{
		"all": `{"conversationId":"default-b94215f0-0c7e-11ea-9c43-7174cba76","user":{"id":"default-b94215f0-0c7e-11ea-9c43-7174cba76","firstName":"Ada"},` +
			`"message":{"textMessage":{"text":"I would like a large pizza margherita, please"}},"sessionData":{"cart":[1,2,3]},"locale":"nl-BE"}`,
		"text": `{"conversationId":"user-4711","message":{"textMessage":{"text":"A large pizza with mushrooms, please"}}}`,
		"indented": `{
  "conversationId": "user-4711",
  "message": {"textMessage": {"text": "A large pizza with \u00e9 and mushrooms, please"}}
}`,
	} {
		b.Run(name, func(b *testing.B) {
			body := []byte(in)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := chat.DecodeInput(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
