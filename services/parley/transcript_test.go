package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func TestTranscriptOfEveryKind(t *testing.T) {
	postback := func(title string) chat.Button { return chat.Button{Type: "postback", Title: title, Payload: "{}"} }
	template := func(p chat.AttachmentPayload) chat.Message {
		return chat.Message{Attachment: &chat.Attachment{Type: "template", Payload: p}}
	}
	for name, tc := range map[string]struct {
		message chat.Message
		want    string
	}{
		"text": {chat.Message{Text: "one\ntwo"}, "" +
			"    #7 bot < one\n" +
			"             two\n"},
		"quick replies": {chat.Message{Text: "Size?", QuickReplies: []chat.QuickReply{{Title: "S"}, {ContentType: "location"}}}, "" +
			"    #7 bot < Size?\n" +
			"             (S) (location)\n"},
		"image": {chat.Message{Attachment: &chat.Attachment{Type: "image", Payload: chat.AttachmentPayload{URL: "https://x/y"}}}, "" +
			"    #7 bot < [image] https://x/y\n"},
		"buttons": {template(chat.AttachmentPayload{TemplateType: "button", Text: "More?", Buttons: []chat.Button{postback("Yes"), {Type: "web_url", Title: "Site", URL: "https://x"}, {Type: "element_share"}}}), "" +
			"    #7 bot < More?\n" +
			"             [Yes] [Site] https://x [share]\n"},
		"carousel": {template(chat.AttachmentPayload{TemplateType: "generic", Elements: []chat.Element{
			{Title: "Margherita", Subtitle: "tomato", Buttons: []chat.Button{postback("Take it")}}, {Title: "Funghi"},
		}}), "" +
			"    #7 bot < | Margherita\n" +
			"             | tomato\n" +
			"             | [Take it]\n" +
			"             | Funghi\n"},
		"nothing": {chat.Message{}, "    #7 bot < (nothing)\n"},
		"control characters": {chat.Message{Text: "a\x1b[2Jb\u202ec\td"}, "" +
			"    #7 bot < a?[2Jb?c d\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			d := &delivery{ConversationID: "anna", Counter: 7, Message: tc.message, Verified: true}
			require.NoError(t, newTranscript(&out).Bot(d))
			require.Equal(t, tc.want+"             * signature verified, conversation anna\n", out.String())
		})
	}
}

func TestTranscriptRemarks(t *testing.T) {
	var out bytes.Buffer
	tr := newTranscript(&out)
	require.NoError(t, tr.User("hello"))
	require.NoError(t, tr.Bot(&delivery{ConversationID: "anna", Counter: 1, Attempt: "3", Replay: "rep_1", Intent: "greet", Message: chat.Message{Text: "hi"}}))
	require.NoError(t, tr.Note("that was it"))
	require.NoError(t, tr.Refused("no"))
	require.Equal(t, ""+
		"       user > hello\n"+
		"    #1 bot < hi\n"+
		"             signature not checked, conversation anna, intent greet, attempt 3, replay rep_1\n"+
		"-- that was it\n"+
		"!! no\n", out.String())
}

func TestTranscriptOfAnEvent(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, newTranscript(&out).Bot(&delivery{Event: "user_message", Data: "{\"a\":\"\x1b\"}", Attempt: "2", Verified: true}))
	require.Equal(t, ""+
		"     event < user_message\n"+
		"             {\"a\":\"?\"}\n"+
		"             * signature verified, attempt 2\n", out.String())
}

func TestTranscriptIsPlainWhereNoTerminalIs(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	require.Equal(t, plainStyle, newTranscript(f).style)
}

func TestTranscriptOnATerminalHasColours(t *testing.T) {
	var out bytes.Buffer
	tr := newTranscript(&out)
	tr.style = richStyle
	require.NoError(t, tr.Bot(&delivery{Counter: 1, Verified: true, Message: chat.Message{Text: "hi"}}))
	require.Contains(t, out.String(), "◂")
	require.Contains(t, out.String(), "\x1b[32m✓ signature verified\x1b[0m")
}
