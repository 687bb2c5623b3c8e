package chat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What a message is made of: the contract's words.
const (
	AttachmentImage    = "image"
	AttachmentVideo    = "video"
	AttachmentAudio    = "audio"
	AttachmentFile     = "file"
	AttachmentTemplate = "template"

	TemplateButton  = "button"
	TemplateGeneric = "generic"
	TemplateList    = "list"

	ButtonPostback     = "postback"
	ButtonWebURL       = "web_url"
	ButtonPhoneNumber  = "phone_number"
	ButtonElementShare = "element_share"

	ReplyText     = "text"
	ReplyLocation = "location"
	ReplyPhone    = "user_phone_number"
	ReplyEmail    = "user_email"
)

// Validate notes what makes the message break the contract; pointer is where
// the message stands. What merely exceeds Messenger's limits is in Warnings.
func (m Message) Validate(pointer string, p *Problems) {
	switch {
	case m.Text == "" && m.Attachment == nil:
		p.Add(pointer, "is empty: give it a text or an attachment")
	case m.Text != "" && m.Attachment != nil:
		p.Add(pointer+"/attachment", "can't stand beside text: make it two messages")
	}
	if n := utf8.RuneCountInString(m.Text); n > MaxText {
		p.Add(pointer+"/text", fmt.Sprintf("must have at most %d characters, not %d", MaxText, n))
	}
	if len(m.QuickReplies) > 0 && m.Text == "" {
		p.Add(pointer+"/quick_replies", "can only stand under a text")
	}
	for i := range m.QuickReplies {
		m.QuickReplies[i].validate(pointer+"/quick_replies/"+strconv.Itoa(i), p)
	}
	if m.Attachment != nil {
		m.Attachment.validate(pointer+"/attachment", p)
	}
}

func (q *QuickReply) validate(pointer string, p *Problems) {
	switch q.ContentType {
	case ReplyText:
		required(q.Title, pointer+"/title", "a quick reply of type text", p)
	case ReplyLocation, ReplyPhone, ReplyEmail:
	default:
		p.Add(pointer+"/content_type", fmt.Sprintf("%q is unknown: use text, location, user_phone_number or user_email", q.ContentType))
	}
	optionalURL(q.ImageURL, pointer+"/image_url", p)
}

func (a *Attachment) validate(pointer string, p *Problems) {
	switch a.Type {
	case AttachmentImage, AttachmentVideo, AttachmentAudio, AttachmentFile:
		if a.Payload.URL == "" {
			p.Add(pointer+"/payload/url", "is missing: "+a.Type+" needs the URL of its file")
		} else {
			checkURL(a.Payload.URL, pointer+"/payload/url", p)
		}
		if a.Payload.TemplateType != "" {
			p.Add(pointer+"/payload/template_type", "can't stand in an attachment of type "+a.Type+": set type to template")
		}
	case AttachmentTemplate:
		a.Payload.validateTemplate(pointer+"/payload", p)
	default:
		p.Add(pointer+"/type", fmt.Sprintf("%q is unknown: use image, video, audio, file or template", a.Type))
	}
}

func (t *AttachmentPayload) validateTemplate(pointer string, p *Problems) {
	switch t.TemplateType {
	case TemplateButton:
		required(t.Text, pointer+"/text", "a button template", p)
		if n := utf8.RuneCountInString(t.Text); n > MaxText {
			p.Add(pointer+"/text", fmt.Sprintf("must have at most %d characters, not %d", MaxText, n))
		}
		if len(t.Buttons) == 0 {
			p.Add(pointer+"/buttons", "is missing: a button template needs at least one button")
		}
	case TemplateGeneric, TemplateList:
		if len(t.Elements) == 0 {
			p.Add(pointer+"/elements", "is missing: a "+t.TemplateType+" template needs at least one element")
		}
	default:
		p.Add(pointer+"/template_type", fmt.Sprintf("%q is unknown: use button, generic or list", t.TemplateType))
	}
	validateButtons(t.Buttons, pointer, p)
	for i := range t.Elements {
		t.Elements[i].validate(pointer+"/elements/"+strconv.Itoa(i), p)
	}
}

func (e *Element) validate(pointer string, p *Problems) {
	required(e.Title, pointer+"/title", "an element", p)
	optionalURL(e.ImageURL, pointer+"/image_url", p)
	optionalURL(e.ItemURL, pointer+"/item_url", p)
	if a := e.DefaultAction; a != nil {
		if a.Type != ButtonWebURL {
			p.Add(pointer+"/default_action/type", "must be web_url")
		}
		if a.URL == "" {
			p.Add(pointer+"/default_action/url", "is missing: a default action needs the URL that it opens")
		} else {
			checkURL(a.URL, pointer+"/default_action/url", p)
		}
	}
	validateButtons(e.Buttons, pointer, p)
}

func validateButtons(buttons []Button, pointer string, p *Problems) {
	for i := range buttons {
		buttons[i].validate(pointer+"/buttons/"+strconv.Itoa(i), p)
	}
}

func (b *Button) validate(pointer string, p *Problems) {
	switch b.Type {
	case ButtonPostback:
		required(b.Title, pointer+"/title", "a postback button", p)
		required(b.Payload, pointer+"/payload", "a postback button", p)
	case ButtonWebURL:
		required(b.Title, pointer+"/title", "a web_url button", p)
		if b.URL == "" {
			p.Add(pointer+"/url", "is missing: a web_url button needs the URL that it opens")
		} else {
			checkURL(b.URL, pointer+"/url", p)
		}
	case ButtonPhoneNumber:
		required(b.Title, pointer+"/title", "a phone_number button", p)
		if !phoneShaped(b.Payload) {
			p.Add(pointer+"/payload", `must be the phone number, such as "+31201234567"`)
		}
	case ButtonElementShare:
	default:
		p.Add(pointer+"/type", fmt.Sprintf("%q is unknown: use postback, web_url, phone_number or element_share", b.Type))
	}
}

// phoneShaped reports whether s has 3 to 20 digits and else only what people
// write between them.
func phoneShaped(s string) bool {
	digits := 0
	for i, r := range s {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r == '+' && i == 0:
		case strings.ContainsRune(" ()-./", r):
		default:
			return false
		}
	}
	return digits >= 3 && digits <= 20
}

func required(s, pointer, who string, p *Problems) {
	if s == "" {
		p.Add(pointer, "is missing: "+who+" needs it")
	}
}

func optionalURL(s, pointer string, p *Problems) {
	if s != "" {
		checkURL(s, pointer, p)
	}
}

// MaxOperatorID is the most characters of an id that an operator chooses.
const MaxOperatorID = 64

// ValidateID checks an id that an operator chose for a channel, an endpoint or
// a bot (kind says which): 1 to 64 characters of a-z, 0-9, _ and -, the first a
// letter or digit. Such ids stand in NATS subjects as they are.
func ValidateID(kind, id string) error {
	ok := len(id) >= 1 && len(id) <= MaxOperatorID && id[0] != '_' && id[0] != '-'
	for _, c := range []byte(id) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-')
	}
	if ok {
		return nil
	}
	if id == "" {
		return errors.New("the " + kind + "'s id is missing: choose one of 1 to 64 characters of a-z, 0-9, _ and -")
	}
	return fmt.Errorf("%q is no id for a %s: use 1 to 64 characters of a-z, 0-9, _ and -, the first a letter or digit", id, kind)
}
