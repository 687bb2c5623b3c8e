package chat

import (
	"fmt"
	"unicode/utf8"
)

// Messenger's limits: beyond them a message is still delivered, but a customer
// who passes it on to Messenger sees it cut or refused.
const (
	MessengerText           = 2000 // characters of a text
	MessengerQuickReplies   = 13
	MessengerButtons        = 3   // of a button template or a card
	MessengerCards          = 10  // of a carousel
	MessengerListMin        = 2   // items
	MessengerListMax        = 4   // items
	MessengerListButtons    = 1   // under a list, and of each of its items
	MessengerButtonText     = 640 // characters above buttons
	MessengerTitle          = 20  // characters of a button's or quick reply's title
	MessengerElementTitle   = 80  // characters of a card's or item's title and subtitle
	MessengerPostbackLength = 1000
)

// Warnings says which of Messenger's limits the message exceeds; nil if none.
func (m Message) Warnings() []string {
	var w warnings
	w.length("the text", m.Text, MessengerText)
	w.count("quick replies", len(m.QuickReplies), MessengerQuickReplies)
	for i, q := range m.QuickReplies {
		what := fmt.Sprintf("quick reply %d", i+1)
		w.length(what+"'s title", q.Title, MessengerTitle)
		w.length(what+"'s payload", q.Payload, MessengerPostbackLength)
	}
	if m.Attachment == nil || m.Attachment.Type != AttachmentTemplate {
		return w
	}
	t := &m.Attachment.Payload
	maxButtons := MessengerButtons
	switch t.TemplateType {
	case TemplateButton:
		w.length("the text above the buttons", t.Text, MessengerButtonText)
	case TemplateGeneric:
		w.count("cards", len(t.Elements), MessengerCards)
		maxButtons = 0 // below the cards there is no place for any
	case TemplateList:
		if n := len(t.Elements); n < MessengerListMin || n > MessengerListMax {
			w = append(w, fmt.Sprintf("the list has %d items: Messenger takes %d to %d", n, MessengerListMin, MessengerListMax))
		}
		maxButtons = MessengerListButtons
	}
	w.buttons("the template", t.Buttons, maxButtons)
	maxButtons = MessengerButtons
	if t.TemplateType == TemplateList {
		maxButtons = MessengerListButtons
	}
	for i, e := range t.Elements {
		what := fmt.Sprintf("element %d", i+1)
		w.length(what+"'s title", e.Title, MessengerElementTitle)
		w.length(what+"'s subtitle", e.Subtitle, MessengerElementTitle)
		w.buttons(what, e.Buttons, maxButtons)
	}
	return w
}

type warnings []string

func (w *warnings) length(what, s string, limit int) {
	if n := utf8.RuneCountInString(s); n > limit {
		*w = append(*w, fmt.Sprintf("%s has %d characters: Messenger takes %d", what, n, limit))
	}
}

func (w *warnings) count(what string, n, limit int) {
	if n > limit {
		*w = append(*w, fmt.Sprintf("%d %s: Messenger takes %d", n, what, limit))
	}
}

func (w *warnings) buttons(where string, buttons []Button, limit int) {
	w.count("buttons of "+where, len(buttons), limit)
	for i, b := range buttons {
		what := fmt.Sprintf("button %d of %s", i+1, where)
		w.length(what+": the title", b.Title, MessengerTitle)
		if b.Type == ButtonPostback {
			w.length(what+": the payload", b.Payload, MessengerPostbackLength)
		}
	}
}
