package ingest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func TestTheDescriptionIsValid(t *testing.T) {
	c := loadContract(t)
	ok, errs := c.validator.ValidateDocument()
	require.True(t, ok, errs)
}

// messages holds one of every kind of bot message.
func messages() map[string]chat.Message {
	const url = "https://shop.example/a"
	buttons := []chat.Button{
		{Type: chat.ButtonPostback, Title: "Large", Payload: `{"params":[{"key":"size","value":"large"}],"nextDialogstateId":"toppings"}`},
		{Type: chat.ButtonWebURL, Title: "Menu", URL: url},
		{Type: chat.ButtonPhoneNumber, Title: "Call", Payload: "+31201234567"},
	}
	elements := []chat.Element{
		{Title: "Margherita", Subtitle: "Tomato", ImageURL: url, ItemURL: url, DefaultAction: &chat.Button{Type: chat.ButtonWebURL, URL: url}, Buttons: append(buttons[:2:2], chat.Button{Type: chat.ButtonElementShare})},
		{Title: "Funghi"},
	}
	attachment := func(kind string, payload chat.AttachmentPayload) chat.Message {
		return chat.Message{Attachment: &chat.Attachment{Type: kind, Payload: payload}}
	}
	return map[string]chat.Message{
		"text": {Text: "Hello"},
		"quick replies": {Text: "Which size?", QuickReplies: []chat.QuickReply{
			{ContentType: chat.ReplyText, Title: "Large", Payload: "{}", ImageURL: url},
			{ContentType: chat.ReplyLocation},
			{ContentType: chat.ReplyPhone},
			{ContentType: chat.ReplyEmail},
		}},
		"image":   attachment(chat.AttachmentImage, chat.AttachmentPayload{URL: url}),
		"video":   attachment(chat.AttachmentVideo, chat.AttachmentPayload{URL: url}),
		"audio":   attachment(chat.AttachmentAudio, chat.AttachmentPayload{URL: url}),
		"file":    attachment(chat.AttachmentFile, chat.AttachmentPayload{URL: url}),
		"buttons": attachment(chat.AttachmentTemplate, chat.AttachmentPayload{TemplateType: chat.TemplateButton, Text: "Which?", Buttons: buttons}),
		"generic": attachment(chat.AttachmentTemplate, chat.AttachmentPayload{TemplateType: chat.TemplateGeneric, Elements: elements}),
		"list":    attachment(chat.AttachmentTemplate, chat.AttachmentPayload{TemplateType: chat.TemplateList, Elements: elements, Buttons: buttons[:1]}),
	}
}

func deliveryHeader() http.Header {
	h := http.Header{}
	for k, v := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Parley/1.2.3", "Webhook-Id": "msg_" + strings.Repeat("0", 48),
		"Webhook-Timestamp": "1767225600", "Webhook-Signature": "v1," + strings.Repeat("A", 43) + "= v1," + strings.Repeat("B", 43) + "=",
		"Parley-Attempt": "1", "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	} {
		h.Set(k, v)
	}
	return h
}

func delivery(t *testing.T, message any) map[string]any {
	t.Helper()
	return map[string]any{
		"senderId": "c1", "recipient": map[string]any{"id": "c1"}, "verifyToken": "v", "message": message,
		"messageCounter": 1, "nlp": map[string]any{"intent": map[string]any{"name": "greeting", "score": 0.98}},
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func TestEveryBotMessageIsDescribed(t *testing.T) {
	c := loadContract(t)
	h := newHarness(t, nil)
	for name, m := range messages() {
		t.Run(name, func(t *testing.T) {
			var p chat.Problems
			m.Validate("", &p)
			require.NoError(t, p.Err())
			require.Empty(t, c.delivery(t, deliveryHeader(), encode(t, delivery(t, m))))
			bare := delivery(t, m)
			delete(bare, "nlp")
			delete(bare, "verifyToken")
			require.Empty(t, c.delivery(t, deliveryHeader(), encode(t, bare)))
			h.good(t, call{
				path: "/v1/bots/solo/conversations/c1/actions", token: h.one,
				body: encode(t, map[string]any{"sendMessages": []any{m}}),
			})
		})
	}
}

func TestWhatIsNoDeliveryIsNotDescribed(t *testing.T) {
	c := loadContract(t)
	for name, message := range map[string]any{
		"none": nil, "empty": map[string]any{}, "a string": "hi",
		"text and attachment":     map[string]any{"text": "a", "attachment": map[string]any{"type": "image", "payload": map[string]any{"url": "https://a.b"}}},
		"medium without url":      map[string]any{"attachment": map[string]any{"type": "image", "payload": map[string]any{}}},
		"unknown attachment":      map[string]any{"attachment": map[string]any{"type": "hologram", "payload": map[string]any{"url": "https://a.b"}}},
		"template without type":   map[string]any{"attachment": map[string]any{"type": "template", "payload": map[string]any{"text": "a"}}},
		"buttons without text":    map[string]any{"attachment": map[string]any{"type": "template", "payload": map[string]any{"template_type": "button", "buttons": []any{}}}},
		"quick reply, no title":   map[string]any{"text": "a", "quick_replies": []any{map[string]any{"content_type": "text"}}},
		"postback, no payload":    map[string]any{"attachment": map[string]any{"type": "template", "payload": map[string]any{"template_type": "button", "text": "a", "buttons": []any{map[string]any{"type": "postback", "title": "a"}}}}},
		"carousel without titles": map[string]any{"attachment": map[string]any{"type": "template", "payload": map[string]any{"template_type": "generic", "elements": []any{map[string]any{}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, c.delivery(t, deliveryHeader(), encode(t, delivery(t, message))))
		})
	}
	hello := messages()["text"]
	for _, field := range []string{"senderId", "recipient", "message", "messageCounter"} {
		d := delivery(t, hello)
		delete(d, field)
		require.NotEmpty(t, c.delivery(t, deliveryHeader(), encode(t, d)), field)
	}
	for _, field := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "Parley-Attempt"} {
		header := maps.Clone(deliveryHeader())
		header.Del(field)
		require.NotEmpty(t, c.delivery(t, header, encode(t, delivery(t, hello))), field)
	}
}

// Every problem type that the service knows stands in the description's table.
func TestEveryProblemIsDescribed(t *testing.T) {
	c, h := loadContract(t), newHarness(t, nil)
	families, err := h.metrics.Gather()
	require.NoError(t, err)
	found := 0
	for _, family := range families {
		if family.GetName() != "parley_ingest_refused_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "reason" && label.GetValue() != "other" {
					found++
					require.Contains(t, c.model.Info.Description, "`"+label.GetValue()+"`")
				}
			}
		}
	}
	require.NotZero(t, found)
}
