package httpbot

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
)

const schemas = "../../../proto/httpbot/v1"

// schema compiles a published schema, whose formats are asserted.
func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	path, err := filepath.Abs(filepath.Join(schemas, name))
	require.NoError(t, err)
	s, err := c.Compile(path)
	require.NoError(t, err)
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, body string) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	require.NoError(t, err, body)
	return s.Validate(v)
}

// aTurn is the turn of docs/bots.md's example.
func aTurn() *bot.Turn {
	return &bot.Turn{
		MessageID: "msg_01m3vk2c1d0qv8n6u1cb3rm5b8r0g2o4k6e9s7h1t3j5l0p2", Attempt: 1, ChannelID: "shop", ConversationID: "anna", Counter: 2,
		Input: chat.Input{Kind: chat.InputText, Body: json.RawMessage(`{"text":"Two, please"}`)},
		Session: bot.Session{
			Dialog: json.RawMessage(`"order/amount"`), Locale: "en-GB",
			Variables: map[string]any{"pizza": "Margherita", "visits": 3.0}, User: map[string]any{"firstName": "Anna"},
		},
	}
}

// Whatever the input, what is posted is as the schema says.
func TestRequestsAreValid(t *testing.T) {
	s := schema(t, "request.schema.json")
	for kind, body := range map[chat.InputKind]string{
		chat.InputText:     `{"text":"<b>hé</b>"}`,
		chat.InputPostback: `{"title":"Yes","payload":"{}","nextDialogstateId":"x","sessionDataToSet":[{"key":"a","value":null},{"key":"b"}]}`,
		chat.InputIntro:    `{}`,
		chat.InputFile:     `{"urls":["https://a.example/b"]}`,
		chat.InputLocation: `{"lat":52.4,"long":4.9}`,
		chat.InputActions:  `{"sendMessages":[{"text":"said"}],"nextDialogstate":"menu","sessionData":{"a":1},"resumeBot":true}`,
	} {
		t.Run(string(kind), func(t *testing.T) {
			full, bare := aTurn(), &bot.Turn{MessageID: "msg_1", ChannelID: "c", ConversationID: "u", First: true}
			for _, turn := range []*bot.Turn{full, bare} {
				turn.Input = chat.Input{Kind: kind, Body: json.RawMessage(body)}
				posted, err := render(turn)
				require.NoError(t, err)
				require.NoError(t, valid(t, s, string(posted)), "%s", posted)
				var r request
				require.NoError(t, json.Unmarshal(posted, &r))
				want := body
				if kind == chat.InputActions { // the rest is done already
					want = `{"nextDialogstate":"menu"}`
				}
				require.JSONEq(t, want, string(r.Message[kind]))
			}
		})
	}
	require.Error(t, valid(t, s, `{"channelId":"c","conversationId":"u","messageId":"m","messageCounter":0,"newSession":true,"sessionData":{},"message":{}}`))
}

// The schemas name the fields of the Go types, and no others.
func TestSchemasNameTheFields(t *testing.T) {
	document := func(name string) (root map[string]any) {
		text, err := os.ReadFile(filepath.Join(schemas, name))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &root))
		return root
	}
	requests, answers := document("request.schema.json"), document("answer.schema.json")
	def := func(root map[string]any, name string) map[string]any {
		return root["$defs"].(map[string]any)[name].(map[string]any)
	}
	for name, c := range map[string]struct {
		schema map[string]any
		fields []string
	}{
		"request":    {requests, tags(request{})},
		"message":    {def(answers, "message"), tags(chat.Message{})},
		"quickReply": {def(answers, "quickReply"), tags(chat.QuickReply{})},
		"element":    {def(answers, "element"), tags(chat.Element{})},
		"button":     {def(answers, "button"), tags(chat.Button{})},
		"nlp":        {answers["properties"].(map[string]any)["nlp"].(map[string]any), tags(chat.NLP{})},
		"kinds": {def(requests, "message"), []string{
			string(chat.InputText), string(chat.InputPostback), string(chat.InputIntro), string(chat.InputFile), string(chat.InputLocation), string(chat.InputActions),
		}},
		"answer": {answers, []string{"messages", "sessionData", "nextDialogstate", "locale", "nlp"}},
	} {
		t.Run(name, func(t *testing.T) {
			var named []string
			for field := range c.schema["properties"].(map[string]any) {
				named = append(named, field)
			}
			require.ElementsMatch(t, c.fields, named)
		})
	}
}

// tags are the names of a struct's fields in JSON.
func tags(v any) (names []string) {
	for field := range reflect.TypeOf(v).Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// What the schema takes is taken, and what it refuses is refused, by a problem
// that names the place.
func TestAnswersAreJudgedAsTheSchemaSays(t *testing.T) {
	s := schema(t, "answer.schema.json")
	long := strings.Repeat("é", chat.MaxText)
	message := func(m string) string { return `{"messages":[{"text":"a"},` + m + `]}` }
	attachment := func(a string) string { return message(`{"attachment":` + a + `}`) }
	button := func(b string) string {
		return attachment(`{"type":"template","payload":{"template_type":"button","text":"t","buttons":[` + b + `]}}`)
	}
	const at = "/messages/1"
	for _, c := range []struct{ body, pointer string }{ // the pointer is of what is wrong
		{`{}`, ""},
		{`{"messages":[]}`, ""},
		{`{"messages":[{"text":"a","unknown":1}],"unknown":{"x":[null]}}`, ""},
		{message(`{"text":"` + long + `"}`), ""},
		{message(`{"text":"t","quick_replies":[{"content_type":"text","title":"x","payload":"p","image_url":"https://a.example/i"},{"content_type":"location"}]}`), ""},
		{attachment(`{"type":"image","payload":{"url":"https://a.example/i.png"}}`), ""},
		{button(`{"type":"postback","title":"x","payload":"p"},{"type":"web_url","title":"x","url":"http://a.example"},{"type":"phone_number","title":"x","payload":"+31 (20) 123"},{"type":"element_share"}`), ""},
		{attachment(`{"type":"template","payload":{"template_type":"generic","elements":[{"title":"x","subtitle":"s","item_url":"https://a.example","default_action":{"type":"web_url","url":"https://a.example"},"buttons":[{"type":"element_share"}]}]}}`), ""},
		{attachment(`{"type":"template","payload":{"template_type":"list","elements":[{"title":"x"}],"buttons":[{"type":"element_share"}]}}`), ""},
		{`{"sessionData":{"a":null,"b":{"c":[1]}},"nextDialogstate":"","locale":"nl-BE","nlp":{"intent":{"name":"hi","score":1}}}`, ""},

		{`[]`, ""}, // wrong as a whole
		{`"hello"`, ""},
		{`null`, ""},
		{`{"messages":{"text":"a"}}`, "/messages"},
		{`{"messages":[` + strings.Repeat(`{"text":"a"},`, chat.MaxBotMessages) + `{"text":"a"}]}`, "/messages"},
		{message(`"a"`), at},
		{message(`{}`), at},
		{message(`{"text":7}`), at},
		{message(`{"text":"` + long + `é"}`), at + "/text"},
		{message(`{"text":"a","attachment":{"type":"image","payload":{"url":"https://a.example/i.png"}}}`), at + "/attachment"},
		{message(`{"text":"t","quick_replies":[{"content_type":"text"}]}`), at + "/quick_replies/0/title"},
		{message(`{"text":"t","quick_replies":[{"content_type":"smell"}]}`), at + "/quick_replies/0/content_type"},
		{message(`{"attachment":{"type":"image","payload":{"url":"https://a.example"}},"quick_replies":[{"content_type":"location"}]}`), at + "/quick_replies"},
		{attachment(`{"type":"smell","payload":{"url":"https://a.example"}}`), at + "/attachment/type"},
		{attachment(`{"type":"image","payload":{}}`), at + "/attachment/payload/url"},
		{attachment(`{"type":"image","payload":{"url":"ftp://a.example"}}`), at + "/attachment/payload/url"},
		{attachment(`{"type":"file","payload":{"url":"https://a.example","template_type":"list"}}`), at + "/attachment/payload/template_type"},
		{attachment(`{"type":"template","payload":{"template_type":"form"}}`), at + "/attachment/payload/template_type"},
		{attachment(`{"type":"template","payload":{"template_type":"button","buttons":[{"type":"element_share"}]}}`), at + "/attachment/payload/text"},
		{attachment(`{"type":"template","payload":{"template_type":"button","text":"t"}}`), at + "/attachment/payload/buttons"},
		{attachment(`{"type":"template","payload":{"template_type":"list","elements":[]}}`), at + "/attachment/payload/elements"},
		{attachment(`{"type":"template","payload":{"template_type":"list","elements":[{"subtitle":"s"}]}}`), at + "/attachment/payload/elements/0/title"},
		{attachment(`{"type":"template","payload":{"template_type":"list","elements":[{"title":"x","default_action":{"type":"postback","url":"https://a.example"}}]}}`), at + "/attachment/payload/elements/0/default_action/type"},
		{button(`{"type":"postback","title":"x"}`), at + "/attachment/payload/buttons/0/payload"},
		{button(`{"type":"postback","payload":"x"}`), at + "/attachment/payload/buttons/0/title"},
		{button(`{"type":"web_url","title":"x"}`), at + "/attachment/payload/buttons/0/url"},
		{button(`{"type":"phone_number","title":"x","payload":"12"}`), at + "/attachment/payload/buttons/0/payload"},
		{button(`{"type":"phone_number","title":"x","payload":"12+345"}`), at + "/attachment/payload/buttons/0/payload"},
		{button(`{"type":"wink"}`), at + "/attachment/payload/buttons/0/type"},
		{`{"sessionData":[]}`, "/sessionData"},
		{`{"nextDialogstate":7}`, "/nextDialogstate"},
		{`{"nextDialogstate":"` + strings.Repeat("x", chat.MaxDialogstate+1) + `"}`, "/nextDialogstate"},
		{`{"locale":"Dutch language"}`, "/locale"},
		{`{"nlp":{}}`, "/nlp/intent"},
		{`{"nlp":{"intent":"hi"}}`, "/nlp/intent"},
		{`{"nlp":{"intent":{"score":1}}}`, "/nlp/intent/name"},
		{`{"nlp":{"intent":{"name":"hi","score":1.5}}}`, "/nlp/intent/score"},
	} {
		good := c.pointer == "" && strings.HasPrefix(c.body, "{")
		_, err := chat.DecodeBotAnswer([]byte(c.body))
		if good {
			require.NoError(t, err, c.body)
			require.NoError(t, valid(t, s, c.body), c.body)
			continue
		}
		require.Error(t, valid(t, s, c.body), c.body)
		var invalid *chat.ValidationError
		require.ErrorAs(t, err, &invalid, c.body)
		require.Equal(t, c.pointer, invalid.Problems[0].Pointer, "%s: %v", c.body, err)
	}
}

// The examples of docs/bots.md are what is posted and what may be answered.
func TestTheExamplesOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../docs/bots.md")
	require.NoError(t, err)
	requests, answers := schema(t, "request.schema.json"), schema(t, "answer.schema.json")
	posted, err := render(aTurn())
	require.NoError(t, err)
	seen := map[string]int{}
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		example := block[1]
		if strings.Contains(example, `"channelId"`) {
			seen["request"]++
			require.NoError(t, valid(t, requests, example), example)
			require.JSONEq(t, string(posted), example)
			continue
		}
		seen["answer"]++
		require.NoError(t, valid(t, answers, example), example)
		_, err := chat.DecodeBotAnswer([]byte(example))
		require.NoError(t, err, example)
	}
	require.Equal(t, map[string]int{"request": 1, "answer": 2}, seen)
}
