package flow

import (
	"iter"
	"maps"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/parleyhq/parley/pkg/chat"
)

func keysOf[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// readMessage reads the message keys of a step.
func (p *parsing) readMessage(f fields) *message {
	m := &message{}
	body := ""
	for _, key := range []string{"text", "image", "video", "audio", "file", "carousel", "list"} {
		n := f.get(key)
		if n == nil {
			continue
		}
		if body != "" {
			p.fail(n, "%s can't stand beside %s: make it a step of its own (begin it with -)", key, body)
			continue
		}
		body = key
		switch key {
		case "text":
			m.text = p.text(n, key)
		case "carousel", "list":
			m.list = key == "list"
			for _, item := range p.items(n, key) {
				m.cards = append(m.cards, p.readCard(item, key))
			}
			if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
				p.fail(n, "%s is empty: write at least one card", key)
			}
		default:
			m.medium, m.url = key, p.text(n, key)
		}
	}
	if n := f.get("quick_replies"); n != nil {
		if body != "text" {
			p.fail(n, "quick_replies can only stand beside text")
		} else if f.get("buttons") != nil {
			p.fail(n, "quick_replies can't stand beside buttons: choose one")
		}
		for _, item := range p.items(n, "quick_replies") {
			m.replies = append(m.replies, p.readReply(item))
		}
	}
	if n := f.get("buttons"); n != nil {
		if body != "text" && body != "list" {
			p.fail(n, "buttons can only stand beside text or list (a carousel's stand in its cards)")
		}
		m.buttons = p.readButtons(n)
	}
	if body == "" && p.sound(f) {
		p.fail(f.node, "the step does nothing: give it text, image, video, audio, file, carousel, list, ask, set, if, goto or locale")
	}
	return m
}

// sound reports whether all of a step's keys were known: else the step's
// emptiness isn't worth another problem.
func (p *parsing) sound(f fields) bool { return len(f.pairs)*2 == len(f.node.Content) }

func (p *parsing) readReply(n *yaml.Node) *reply {
	if n.Kind == yaml.ScalarNode {
		return &reply{contentType: chat.ReplyText, title: p.text(n, "a quick reply")}
	}
	f := p.fields(n, "a quick reply", "title", "type", "image", "goto", "set", "when")
	r := &reply{
		contentType: chat.ReplyText,
		title:       p.text(f.get("title"), "title"),
		image:       p.text(f.get("image"), "image"),
		to:          p.readTarget(f),
		when:        p.expression(f.get("when"), "when"),
	}
	types := map[string]string{"text": chat.ReplyText, "location": chat.ReplyLocation, "phone": chat.ReplyPhone, "email": chat.ReplyEmail}
	if t := f.get("type"); t != nil {
		if r.contentType = types[p.word(t, "type")]; r.contentType == "" {
			p.fail(t, "%q is no type of quick reply: use text, location, phone, email", t.Value)
		}
	}
	if r.contentType == chat.ReplyText && r.title == nil && n.Kind == yaml.MappingNode {
		p.fail(n, "the quick reply has no title: write one")
	}
	return r
}

func (p *parsing) readTarget(f fields) target {
	t := target{set: p.assignments(f.get("set"), "set")}
	if n := f.get("goto"); n != nil {
		t.dialog = p.dialog(n, "goto")
	}
	return t
}

func (p *parsing) readButtons(n *yaml.Node) []*button {
	var list []*button
	for _, item := range p.items(n, "buttons") {
		list = append(list, p.readButton(item))
	}
	return list
}

func (p *parsing) readButton(n *yaml.Node) *button {
	f := p.fields(n, "a button", "title", "goto", "set", "url", "phone", "share", "when")
	b := &button{
		title: p.text(f.get("title"), "title"),
		url:   p.text(f.get("url"), "url"),
		phone: p.text(f.get("phone"), "phone"),
		to:    p.readTarget(f),
		when:  p.expression(f.get("when"), "when"),
	}
	share := p.boolean(f.get("share"), "share")
	var kinds []string
	if f.get("goto") != nil || f.get("set") != nil {
		kinds = append(kinds, chat.ButtonPostback)
	}
	if b.url != nil {
		kinds = append(kinds, chat.ButtonWebURL)
	}
	if b.phone != nil {
		kinds = append(kinds, chat.ButtonPhoneNumber)
	}
	if share {
		kinds = append(kinds, chat.ButtonElementShare)
	}
	switch {
	case len(kinds) == 1:
		b.kind = kinds[0]
	case n.Kind == yaml.MappingNode && p.sound(f):
		p.fail(n, "a button needs exactly one of goto (or set), url, phone, share: it has %d", len(kinds))
	}
	if b.title == nil && !share && n.Kind == yaml.MappingNode {
		p.fail(n, "the button has no title: write one")
	}
	return b
}

func (p *parsing) readCard(n *yaml.Node, what string) *card {
	f := p.fields(n, "a card of the "+what, "title", "subtitle", "image", "url", "open", "buttons", "when")
	c := &card{
		title:    p.text(f.get("title"), "title"),
		subtitle: p.text(f.get("subtitle"), "subtitle"),
		image:    p.text(f.get("image"), "image"),
		url:      p.text(f.get("url"), "url"),
		open:     p.text(f.get("open"), "open"),
		when:     p.expression(f.get("when"), "when"),
	}
	if b := f.get("buttons"); b != nil {
		c.buttons = p.readButtons(b)
	}
	if c.title == nil && n.Kind == yaml.MappingNode {
		p.fail(n, "the card has no title: write one")
	}
	return c
}

// checkMessages renders every message in every language, with a placeholder
// for each expression, and reports what breaks the contract (as problems) or
// exceeds Messenger's limits (as warnings).
func (p *parsing) checkMessages() {
	if len(p.problems) > 0 {
		return // what was read may be incomplete
	}
	for _, at := range p.messages {
		broken := map[string]bool{}
		for _, locale := range slices.Sorted(slices.Values(p.usedLocales())) {
			r := renderer{chain: p.def.chain(locale)}
			m := at.message.render(&r)
			var problems chat.Problems
			m.Validate("", &problems)
			if err := problems.Err(); err != nil && !broken[err.Error()] {
				broken[err.Error()] = true
				p.fail(at.node, "the message is not valid: %v", err)
			}
			for _, warning := range m.Warnings() {
				if !broken[warning] {
					broken[warning] = true
					p.warn(at.node, "in %s: %s", locale, warning)
				}
			}
		}
	}
}
