package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// demoConfig is what playDemo needs of a running pipeline.
type demoConfig struct {
	PublicURL      string
	AdminURL       string
	ChannelID      string
	Token          chat.Secret
	ConversationID string
	Customer       *demoCustomer // running, and registered at the channel
	Script         []demoTurn
	Out            io.Writer
	// OneShot ends after the conversation; else the player prints what is
	// delivered until the context ends.
	OneShot bool
	// AnswerWithin bounds the wait for each bot message; 0 means 30 s.
	AnswerWithin time.Duration
}

// demoTurn is one thing that the user does. One of Say, Choose and Send is set.
type demoTurn struct {
	// Say is a text.
	Say string
	// Choose is the title of a quick reply or button that the bot's latest
	// messages offer; its payload goes back untouched. Card, if set, is the
	// title of the card that the button is on.
	Choose, Card string
	// Send is another kind of message, with what to print for it.
	Send  map[chat.InputKind]any
	Shown string
	// Answers is how many messages the bot answers.
	Answers int
}

const demoAnswerWithin = 30 * time.Second

// playDemo plays the script and prints both sides. It fails if the bot's
// messages don't come in the order of their counters, or don't offer what the
// script chooses.
func playDemo(ctx context.Context, cfg demoConfig) error {
	api, err := newMessagesAPI(cfg.PublicURL, cfg.ChannelID, cfg.Token)
	if err != nil {
		return err
	}
	if cfg.AnswerWithin == 0 {
		cfg.AnswerWithin = demoAnswerWithin
	}
	p := &demoPlayer{config: cfg, api: api, out: newTranscript(cfg.Out)}
	for i, t := range cfg.Script {
		if err := p.play(ctx, t); err != nil {
			return fmt.Errorf("turn %d of the demo: %w", i+1, err)
		}
	}
	if err := p.out.Note(fmt.Sprintf("%d turns, %d bot messages: counters 1 to %d without a gap, every signature verified",
		len(cfg.Script), p.counter, p.counter)); err != nil {
		return err
	}
	if cfg.OneShot {
		return nil
	}
	return p.stay(ctx)
}

// demoPlayer is the state of a conversation.
type demoPlayer struct {
	config  demoConfig
	api     *messagesAPI
	out     *transcript
	counter uint64          // of the bot's last message
	latest  []*chat.Message // the bot's answer to the last turn
	lastID  string          // webhook-id of the last message
}

func (p *demoPlayer) play(ctx context.Context, t demoTurn) error {
	message, shown, err := p.decide(t)
	if err != nil {
		return err
	}
	if err := p.out.User(shown); err != nil {
		return err
	}
	request := messageRequest{ConversationID: p.config.ConversationID, Message: message}
	if _, err := p.api.send(ctx, request); err != nil {
		return err
	}
	p.latest = nil
	for range t.Answers {
		if err := p.answer(ctx); err != nil {
			return err
		}
	}
	return nil
}

// decide turns a turn into a message and what to print for it.
func (p *demoPlayer) decide(t demoTurn) (message map[chat.InputKind]any, shown string, err error) {
	switch {
	case t.Choose != "":
		chosen, err := choose(p.latest, t.Card, t.Choose)
		if err != nil {
			return nil, "", err
		}
		postback := chat.PostbackInput{Title: chosen.title, Payload: chosen.payload}
		return map[chat.InputKind]any{chat.InputPostback: postback}, chosen.shown(), nil
	case t.Send != nil:
		return t.Send, t.Shown, nil
	}
	return map[chat.InputKind]any{chat.InputText: chat.TextInput{Text: t.Say}}, t.Say, nil
}

// answer waits for the bot's next message.
func (p *demoPlayer) answer(ctx context.Context) error {
	within := fmt.Errorf("bot message #%d did not come within %s: the log of the pipeline says why", p.counter+1, p.config.AnswerWithin)
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.AnswerWithin, within)
	defer cancel()
	for {
		d, err := p.config.Customer.next(ctx)
		if err != nil {
			return err
		}
		if d.ConversationID != p.config.ConversationID || d.ID == p.lastID {
			if err := p.out.Bot(d); err != nil {
				return err
			}
			continue // somebody else's, or once more what was confirmed
		}
		if d.Counter != p.counter+1 {
			return fmt.Errorf("bot message #%d came when #%d was due", d.Counter, p.counter+1)
		}
		p.counter, p.lastID = d.Counter, d.ID
		p.latest = append(p.latest, &d.Message)
		return p.out.Bot(d)
	}
}

// stay says where things are and prints deliveries until the context ends.
func (p *demoPlayer) stay(ctx context.Context) error {
	cfg := p.config
	notes := []string{
		"API      " + cfg.PublicURL,
		"ops API  " + cfg.AdminURL + "/ops/v1",
		"metrics  " + cfg.AdminURL + "/metrics",
		"try      curl -sS " + cfg.PublicURL + "/v1/channels/webhook/" + cfg.ChannelID + "/messages -H 'Authorization: Bearer " + cfg.Token.Reveal() +
			`' -H 'Content-Type: application/json' -d '{"conversationId":"ann","message":{"textMessage":{"text":"hello"}}}'`,
		"Ctrl-C ends it",
	}
	for _, n := range notes {
		if err := p.out.Note(n); err != nil {
			return err
		}
	}
	for {
		d, err := cfg.Customer.next(ctx)
		if ctx.Err() != nil {
			return nil // asked to end
		}
		if err != nil {
			return err
		}
		if err := p.out.Bot(d); err != nil {
			return err
		}
	}
}

// offer is something to choose with its postback's payload.
type offer struct {
	card, title, payload string
	quickReply           bool
}

// shown is what the transcript says of choosing it.
func (o offer) shown() string {
	switch {
	case o.quickReply:
		return "taps the quick reply (" + o.title + ")"
	case o.card != "":
		return "taps the button [" + o.title + "] of " + o.card
	}
	return "taps the button [" + o.title + "]"
}

// choose finds an offer by its title, in the newest message first.
func choose(messages []*chat.Message, card, title string) (offer, error) {
	var offered []string
	for _, m := range slices.Backward(messages) {
		for _, o := range offers(m) {
			if o.title == title && (card == "" || o.card == card) {
				return o, nil
			}
			offered = append(offered, strings.TrimPrefix(o.card+"/"+o.title, "/"))
		}
	}
	if len(offered) == 0 {
		return offer{}, errors.New("the bot offers no choice where " + title + " was expected")
	}
	return offer{}, fmt.Errorf("the bot doesn't offer %q, but %s", strings.TrimPrefix(card+"/"+title, "/"), strings.Join(offered, ", "))
}

// offers are what a message lets the user send back.
func offers(m *chat.Message) []offer {
	var all []offer
	for _, q := range m.QuickReplies {
		if q.ContentType == "text" {
			all = append(all, offer{title: q.Title, payload: q.Payload, quickReply: true})
		}
	}
	add := func(card string, buttons []chat.Button) {
		for _, b := range buttons {
			if b.Type == "postback" {
				all = append(all, offer{card: card, title: b.Title, payload: b.Payload})
			}
		}
	}
	if a := m.Attachment; a != nil {
		for _, e := range a.Payload.Elements {
			add(e.Title, e.Buttons)
		}
		add("", a.Payload.Buttons)
	}
	return all
}
