package chat_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func template(payload string) string {
	return `{"attachment":{"type":"template","payload":` + payload + `}}`
}

func buttons(n int) string {
	return strings.TrimSuffix(strings.Repeat(`{"type":"postback","title":"a","payload":"p"},`, n), ",")
}

func elements(n int) string { return strings.TrimSuffix(strings.Repeat(`{"title":"a"},`, n), ",") }

func decodeMessage(t *testing.T, s string) chat.Message {
	t.Helper()
	var m chat.Message
	require.NoError(t, json.Unmarshal([]byte(s), &m))
	return m
}

func TestMessageValidate(t *testing.T) {
	long := strings.Repeat("a", chat.MaxText+1)
	for _, tc := range []struct{ name, message, pointer, detail string }{
		{"text", `{"text":"hi"}`, "", ""},
		{"quick replies", `{"text":"hi","quick_replies":[{"content_type":"text","title":"a","payload":"b","image_url":"https://a.b/c"},{"content_type":"location"},{"content_type":"user_phone_number"},{"content_type":"user_email"}]}`, "", ""},
		{"image", `{"attachment":{"type":"image","payload":{"url":"https://a.b/c"}}}`, "", ""},
		{"video", `{"attachment":{"type":"video","payload":{"url":"https://a.b/c"}}}`, "", ""},
		{"audio", `{"attachment":{"type":"audio","payload":{"url":"https://a.b/c"}}}`, "", ""},
		{"file", `{"attachment":{"type":"file","payload":{"url":"https://a.b/c"}}}`, "", ""},
		{"buttons", template(`{"template_type":"button","text":"hi","buttons":[{"type":"postback","title":"a","payload":"b"},{"type":"web_url","title":"a","url":"https://a.b"},{"type":"phone_number","title":"a","payload":"+31 (0)20-123"},{"type":"element_share"}]}`), "", ""},
		{"generic", template(`{"template_type":"generic","elements":[{"title":"a","image_url":"http://a.b","item_url":"http://a.b","default_action":{"type":"web_url","url":"http://a.b"}}]}`), "", ""},
		{"list", template(`{"template_type":"list","elements":[{"title":"a"}],"buttons":[` + buttons(1) + `]}`), "", ""},

		{"nothing", `{}`, "", "is empty"},
		{"both", `{"text":"a","attachment":{"type":"image","payload":{"url":"https://a.b/c"}}}`, "/attachment", "beside text"},
		{"long text", `{"text":"` + long + `"}`, "/text", "at most 10000"},
		{"quick replies without text", `{"attachment":{"type":"image","payload":{"url":"https://a.b/c"}},"quick_replies":[{"content_type":"location"}]}`, "/quick_replies", "under a text"},
		{"quick reply type", `{"text":"a","quick_replies":[{"content_type":"x"}]}`, "/quick_replies/0/content_type", `"x" is unknown`},
		{"quick reply title", `{"text":"a","quick_replies":[{"content_type":"text"}]}`, "/quick_replies/0/title", "is missing"},
		{"quick reply image", `{"text":"a","quick_replies":[{"content_type":"location","image_url":"x"}]}`, "/quick_replies/0/image_url", "absolute URL"},
		{"attachment type", `{"attachment":{"type":"gif"}}`, "/attachment/type", "image, video"},
		{"no url", `{"attachment":{"type":"image"}}`, "/attachment/payload/url", "is missing"},
		{"bad url", `{"attachment":{"type":"image","payload":{"url":"javascript:x"}}}`, "/attachment/payload/url", "absolute URL"},
		{"medium with template", `{"attachment":{"type":"image","payload":{"url":"http://a.b","template_type":"list"}}}`, "/attachment/payload/template_type", "set type to template"},
		{"template type", template(`{"template_type":"x"}`), "/attachment/payload/template_type", "button, generic or list"},
		{"button text", template(`{"template_type":"button","buttons":[` + buttons(1) + `]}`), "/attachment/payload/text", "is missing"},
		{"button long text", template(`{"template_type":"button","text":"` + long + `","buttons":[` + buttons(1) + `]}`), "/attachment/payload/text", "at most 10000"},
		{"no buttons", template(`{"template_type":"button","text":"a"}`), "/attachment/payload/buttons", "is missing"},
		{"no cards", template(`{"template_type":"generic"}`), "/attachment/payload/elements", "generic template"},
		{"no items", template(`{"template_type":"list"}`), "/attachment/payload/elements", "list template"},
		{"card title", template(`{"template_type":"generic","elements":[{"title":"a"},{}]}`), "/attachment/payload/elements/1/title", "is missing"},
		{"card image", template(`{"template_type":"generic","elements":[{"title":"a","image_url":"x"}]}`), "/attachment/payload/elements/0/image_url", "URL"},
		{"card url", template(`{"template_type":"generic","elements":[{"title":"a","item_url":"x"}]}`), "/attachment/payload/elements/0/item_url", "URL"},
		{"default action type", template(`{"template_type":"generic","elements":[{"title":"a","default_action":{"type":"postback"}}]}`), "/attachment/payload/elements/0/default_action/type", "web_url"},
		{"default action url", template(`{"template_type":"generic","elements":[{"title":"a","default_action":{"type":"web_url"}}]}`), "/attachment/payload/elements/0/default_action/url", "is missing"},
		{"default action bad url", template(`{"template_type":"generic","elements":[{"title":"a","default_action":{"type":"web_url","url":"x"}}]}`), "/attachment/payload/elements/0/default_action/url", "absolute"},
		{"card button", template(`{"template_type":"generic","elements":[{"title":"a","buttons":[{"type":"x"}]}]}`), "/attachment/payload/elements/0/buttons/0/type", `"x" is unknown`},
		{"postback title", template(`{"template_type":"list","elements":[{"title":"a"}],"buttons":[{"type":"postback","payload":"p"}]}`), "/attachment/payload/buttons/0/title", "is missing"},
		{"postback payload", template(`{"template_type":"list","elements":[{"title":"a"}],"buttons":[{"type":"postback","title":"p"}]}`), "/attachment/payload/buttons/0/payload", "is missing"},
		{"web_url url", template(`{"template_type":"list","elements":[{"title":"a"}],"buttons":[{"type":"web_url","title":"p"}]}`), "/attachment/payload/buttons/0/url", "is missing"},
		{"web_url bad url", template(`{"template_type":"list","elements":[{"title":"a"}],"buttons":[{"type":"web_url","title":"p","url":"//x"}]}`), "/attachment/payload/buttons/0/url", "absolute"},
		{"phone number", template(`{"template_type":"list","elements":[{"title":"a"}],"buttons":[{"type":"phone_number","title":"p","payload":"call me"}]}`), "/attachment/payload/buttons/0/payload", "phone number"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p chat.Problems
			decodeMessage(t, tc.message).Validate("/m", &p)
			if tc.detail == "" {
				require.NoError(t, p.Err())
				return
			}
			requireProblem(t, p.Err(), "/m"+tc.pointer, tc.detail)
		})
	}
}

func TestMessageWarnings(t *testing.T) {
	at := func(n int) string { return strings.Repeat("é", n) }
	replies := func(n int) string {
		return `{"text":"a","quick_replies":[` + strings.TrimSuffix(strings.Repeat(`{"content_type":"location"},`, n), ",") + `]}`
	}
	for _, tc := range []struct{ name, within, beyond, warning string }{
		{"text", `{"text":"` + at(2000) + `"}`, `{"text":"` + at(2001) + `"}`, "the text has 2001 characters: Messenger takes 2000"},
		{"quick replies", replies(13), replies(14), "14 quick replies: Messenger takes 13"},
		{"quick reply title", `{"text":"a","quick_replies":[{"title":"` + at(20) + `"}]}`, `{"text":"a","quick_replies":[{"title":"` + at(21) + `"}]}`, "quick reply 1's title has 21"},
		{"quick reply payload", `{"text":"a","quick_replies":[{"payload":"` + at(1000) + `"}]}`, `{"text":"a","quick_replies":[{"payload":"` + at(1001) + `"}]}`, "quick reply 1's payload has 1001"},
		{"buttons", template(`{"template_type":"button","text":"a","buttons":[` + buttons(3) + `]}`), template(`{"template_type":"button","text":"a","buttons":[` + buttons(4) + `]}`), "4 buttons of the template: Messenger takes 3"},
		{"text above buttons", template(`{"template_type":"button","text":"` + at(640) + `"}`), template(`{"template_type":"button","text":"` + at(641) + `"}`), "641 characters: Messenger takes 640"},
		{"button title", template(`{"template_type":"button","buttons":[{"title":"` + at(20) + `"}]}`), template(`{"template_type":"button","buttons":[{"title":"` + at(21) + `"}]}`), "the title has 21"},
		{"button payload", template(`{"template_type":"button","buttons":[{"type":"postback","payload":"` + at(1000) + `"}]}`), template(`{"template_type":"button","buttons":[{"type":"postback","payload":"` + at(1001) + `"}]}`), "the payload has 1001"},
		{"cards", template(`{"template_type":"generic","elements":[` + elements(10) + `]}`), template(`{"template_type":"generic","elements":[` + elements(11) + `]}`), "11 cards: Messenger takes 10"},
		{"buttons below cards", template(`{"template_type":"generic","elements":[` + elements(1) + `]}`), template(`{"template_type":"generic","elements":[` + elements(1) + `],"buttons":[` + buttons(1) + `]}`), "Messenger takes 0"},
		{"card buttons", template(`{"template_type":"generic","elements":[{"buttons":[` + buttons(3) + `]}]}`), template(`{"template_type":"generic","elements":[{"buttons":[` + buttons(4) + `]}]}`), "4 buttons of element 1"},
		{"card title", template(`{"template_type":"generic","elements":[{"title":"` + at(80) + `"}]}`), template(`{"template_type":"generic","elements":[{"title":"` + at(81) + `"}]}`), "title has 81"},
		{"card subtitle", template(`{"template_type":"generic","elements":[{"subtitle":"` + at(80) + `"}]}`), template(`{"template_type":"generic","elements":[{"subtitle":"` + at(81) + `"}]}`), "subtitle has 81"},
		{"few items", template(`{"template_type":"list","elements":[` + elements(2) + `]}`), template(`{"template_type":"list","elements":[` + elements(1) + `]}`), "1 items: Messenger takes 2 to 4"},
		{"many items", template(`{"template_type":"list","elements":[` + elements(4) + `]}`), template(`{"template_type":"list","elements":[` + elements(5) + `]}`), "5 items: Messenger takes 2 to 4"},
		{"list buttons", template(`{"template_type":"list","elements":[` + elements(2) + `],"buttons":[` + buttons(1) + `]}`), template(`{"template_type":"list","elements":[` + elements(2) + `],"buttons":[` + buttons(2) + `]}`), "Messenger takes 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Empty(t, decodeMessage(t, tc.within).Warnings())
			warnings := decodeMessage(t, tc.beyond).Warnings()
			require.Len(t, warnings, 1)
			require.Contains(t, warnings[0], tc.warning)
		})
	}
}

func FuzzDecodeActions(f *testing.F) {
	f.Add([]byte(`{"sendMessages":[{"text":"hi"}],"sessionData":{"a":1},"pauseBot":true}`))
	f.Add([]byte(`{"sendMessages":[` + template(`{"template_type":"generic","elements":[`+elements(2)+`]}`) + `]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, _, err := chat.DecodeActions(b)
		if err != nil {
			return
		}
		encoded, err := json.Marshal(a)
		require.NoError(t, err)
		again, _, err := chat.DecodeActions(encoded)
		require.NoError(t, err)
		twice, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(encoded), string(twice))
	})
}
