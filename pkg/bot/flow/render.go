package flow

import (
	"encoding/json"
	"strings"

	"github.com/parleyhq/parley/pkg/chat"
)

// renderer fills in messages for one conversation. Without eval it puts
// placeholders for expressions and leaves out nothing.
type renderer struct {
	chain []string
	eval  evaluator
	warn  func(string)
}

// Placeholders for expressions.
const (
	placeholder      = "x"
	placeholderURL   = "https://placeholder.invalid/"
	placeholderPhone = "+31000000"
)

// text fills in a text, at most chat.MaxText characters of it.
func (r *renderer) text(t *text) string {
	s := strings.TrimSpace(r.fill(t, placeholder, (*template).text))
	if runes := []rune(s); len(runes) > chat.MaxText && r.eval != nil {
		r.warn("a text was cut to the most characters that a message may have")
		return string(runes[:chat.MaxText])
	}
	return s
}

func (r *renderer) link(t *text) string {
	if r.eval == nil && t != nil {
		if tmpl := t.pick(r.chain); tmpl != nil && tmpl.whole() != nil {
			return placeholderURL
		}
	}
	return r.fill(t, placeholder, (*template).link)
}

func (r *renderer) fill(t *text, placeholder string, how func(*template, evaluator) string) string {
	if t == nil {
		return ""
	}
	tmpl := t.pick(r.chain)
	if tmpl == nil {
		return ""
	}
	eval := r.eval
	if eval == nil {
		eval = func(*expression) any { return placeholder }
	}
	return how(tmpl, eval)
}

// shown reports whether something with a condition is there.
func (r *renderer) shown(when *expression) bool {
	if when == nil || r.eval == nil {
		return true
	}
	return truth(r.eval(when))
}

// truth reports whether a condition's value counts as true: true itself, a
// number but 0, a text, list or object that isn't empty.
func truth(v any) bool {
	switch x := v.(type) {
	case nil:
		return false
	case bool:
		return x
	case string:
		return x != ""
	case []any:
		return len(x) > 0
	case map[string]any:
		return len(x) > 0
	default:
		f, ok := asFloat(v)
		return !ok || f != 0
	}
}

func (m *message) render(r *renderer) chat.Message {
	switch {
	case m.medium != "":
		return chat.Message{Attachment: &chat.Attachment{Type: m.medium, Payload: chat.AttachmentPayload{URL: r.link(m.url)}}}
	case len(m.cards) > 0:
		t := chat.AttachmentPayload{TemplateType: chat.TemplateGeneric, Buttons: renderButtons(r, m.buttons)}
		if m.list {
			t.TemplateType = chat.TemplateList
		}
		for _, c := range m.cards {
			if r.shown(c.when) {
				t.Elements = append(t.Elements, c.render(r))
			}
		}
		return chat.Message{Attachment: &chat.Attachment{Type: chat.AttachmentTemplate, Payload: t}}
	case len(m.buttons) > 0:
		t := chat.AttachmentPayload{TemplateType: chat.TemplateButton, Text: r.text(m.text), Buttons: renderButtons(r, m.buttons)}
		if len(t.Buttons) == 0 { // all of them were hidden
			return chat.Message{Text: t.Text}
		}
		return chat.Message{Attachment: &chat.Attachment{Type: chat.AttachmentTemplate, Payload: t}}
	}
	out := chat.Message{Text: r.text(m.text)}
	for _, q := range m.replies {
		if r.shown(q.when) {
			out.QuickReplies = append(out.QuickReplies, q.render(r))
		}
	}
	return out
}

func (q *reply) render(r *renderer) chat.QuickReply {
	out := chat.QuickReply{ContentType: q.contentType, Title: r.text(q.title), ImageURL: r.link(q.image)}
	if q.contentType == chat.ReplyText {
		out.Payload = q.to.payload(r, "quick_reply", out.Title)
	}
	return out
}

func renderButtons(r *renderer, buttons []*button) []chat.Button {
	var list []chat.Button
	for _, b := range buttons {
		if !r.shown(b.when) {
			continue
		}
		out := chat.Button{Type: b.kind, Title: r.text(b.title)}
		switch b.kind {
		case chat.ButtonWebURL:
			out.URL = r.link(b.url)
		case chat.ButtonPhoneNumber:
			out.Payload = r.fill(b.phone, placeholderPhone, (*template).text)
		case chat.ButtonPostback:
			out.Payload = b.to.payload(r, "button", out.Title)
		}
		list = append(list, out)
	}
	return list
}

func (c *card) render(r *renderer) chat.Element {
	e := chat.Element{
		Title: r.text(c.title), Subtitle: r.text(c.subtitle), ImageURL: r.link(c.image), ItemURL: r.link(c.url),
		Buttons: renderButtons(r, c.buttons),
	}
	if c.open != nil {
		e.DefaultAction = &chat.Button{Type: chat.ButtonWebURL, URL: r.link(c.open)}
	}
	return e
}

// payload is what the customer sends back when the user chooses: the JSON of a
// chat.PostbackPayload.
func (t *target) payload(r *renderer, kind, caption string) string {
	eval := r.eval
	if eval == nil {
		eval = func(*expression) any { return placeholder }
	}
	p := chat.PostbackPayload{NextDialogstateID: t.dialog, Type: kind, Caption: caption}
	for i := range t.set {
		value, err := jsonValue(t.set[i].value.eval(eval))
		if err != nil {
			r.warn("a button's variable " + t.set[i].name + " was left out: " + err.Error())
			continue
		}
		raw, err := json.Marshal(value)
		if err != nil {
			r.warn("a button's variable " + t.set[i].name + " was left out: " + err.Error())
			continue
		}
		p.Params = append(p.Params, chat.KeyValue{Key: t.set[i].name, Value: raw})
	}
	b, err := json.Marshal(p)
	if err != nil {
		r.warn("a button's payload can't be written: " + err.Error())
	}
	return string(b)
}
