package ops

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
)

// DeliveryPage is a part of the list of attempts at endpoints, newest first. It
// may be short, or empty, and have a next part: what is looked at for one is
// bounded. Next is what "before" takes for the part behind; empty at the end.
type DeliveryPage struct {
	Items []Delivery `json:"items"`
	Next  string     `json:"next,omitempty"`
	// LookedBackTo is how far this part looks back.
	LookedBackTo *time.Time `json:"lookedBackTo,omitempty"`
	// Unreadable counts entries of this part that can't be read, and so are left
	// out.
	Unreadable int `json:"unreadable,omitempty"`
}

// Delivery is an attempt at a bot message at an endpoint, or an end without one.
type Delivery struct {
	At             time.Time    `json:"at"` // when it had come to that
	ChannelID      string       `json:"channelId"`
	EndpointID     string       `json:"endpointId,omitempty"` // none of an unrouted message
	ConversationID string       `json:"conversationId"`
	MessageID      string       `json:"messageId"`
	MessageCounter uint64       `json:"messageCounter,omitempty"`
	Number         int          `json:"number,omitempty"` // 1 is the first
	Outcome        chat.Outcome `json:"outcome"`
	Reason         string       `json:"reason,omitempty"`
	Replay         string       `json:"replay,omitempty"`
	Attempt        *Attempt     `json:"attempt,omitempty"`
	NoBodies       bool         `json:"noBodies,omitempty"` // the answer was not recorded
}

func (s *Service) listAttempts(c echo.Context) error {
	f, at, err := attemptsQuery(c, s.Now())
	if err != nil {
		return err
	}
	found, err := s.Journal.Attempts(c.Request().Context(), f, at)
	if err != nil {
		return refusal(err)
	}
	page := DeliveryPage{Items: []Delivery{}, Next: placeOf(found.Next), Unreadable: found.Unreadable}
	if !found.Reached.IsZero() {
		page.LookedBackTo = new(found.Reached.UTC())
	}
	for _, e := range found.Entries {
		page.Items = append(page.Items, deliveryOf(e.Delivery))
	}
	return c.JSON(http.StatusOK, page)
}

// outcomes are those that a delivery can have.
var outcomes = map[chat.Outcome]bool{
	chat.OutcomeDelivered: true, chat.OutcomeRetry: true, chat.OutcomeDead: true, chat.OutcomeExpired: true,
	chat.OutcomeFiltered: true, chat.OutcomeUnrouted: true,
}

func attemptsQuery(c echo.Context, now time.Time) (f journal.Filter, at journal.Page, err error) {
	var p chat.Problems
	f = journal.Filter{
		ChannelID: c.QueryParam("channel"), EndpointID: c.QueryParam("endpoint"), MessageID: c.QueryParam("message"),
		Outcome: chat.Outcome(c.QueryParam("outcome")),
	}
	for name, id := range map[string]string{"channel": f.ChannelID, "endpoint": f.EndpointID} { // the channel becomes part of a subject
		if id == "" {
			continue
		}
		if err := chat.ValidateID(name, id); err != nil {
			p.Add(name, err.Error())
		}
	}
	if f.Outcome != "" && !outcomes[f.Outcome] {
		p.Add("outcome", fmt.Sprintf("%q is no outcome: use delivered, retry, dead, expired, filtered or unrouted", f.Outcome))
	}
	if text := c.QueryParam("status"); text != "" {
		if f.Status, err = strconv.Atoi(text); err != nil || f.Status < 100 || f.Status > 599 {
			p.Add("status", fmt.Sprintf("the status is %q: give one of HTTP, 100 to 599", text))
		}
	}
	f.Key = conversationQuery(c, &p)
	if f.MessageID != "" {
		_, key, err := chat.ParseMessageID(f.MessageID)
		switch {
		case err != nil:
			p.Add("message", err.Error())
		case f.Key != nil && *f.Key != key:
			p.Add("message", "the message is of another conversation: leave one of the two out")
		}
		f.Key = &key
	}
	at = pageQuery(c, now, &p)
	return f, at, badQuery(&p)
}

// conversationQuery returns the key of the conversation that is asked for; nil
// where none is.
func conversationQuery(c echo.Context, p *chat.Problems) *chat.ConversationKey {
	channel, conversation := c.QueryParam("channel"), c.QueryParam("conversation")
	if conversation == "" {
		return nil
	}
	if channel == "" {
		p.Add("channel", "is missing: a conversation is one of a channel, give both")
	}
	if !utf8.ValidString(conversation) || utf8.RuneCountInString(conversation) > chat.MaxConversationID {
		p.Add("conversation", fmt.Sprintf("a conversation's id has at most %d characters", chat.MaxConversationID))
	}
	return new(chat.KeyOf(channel, conversation))
}

// pageQuery reads which part of the journal is asked for.
func pageQuery(c echo.Context, now time.Time, p *chat.Problems) (at journal.Page) {
	at.Limit, at.Before = partQuery(c, p)
	at.Since, at.Until = momentQuery(c, now, p, "since"), momentQuery(c, now, p, "until")
	return at
}

func deliveryOf(d *chat.Delivery) Delivery {
	out := Delivery{
		At: d.At.UTC(), ChannelID: d.ChannelID, EndpointID: d.EndpointID, ConversationID: d.ConversationID, MessageID: d.MessageID,
		MessageCounter: d.Ordinal.Counter, Number: d.AttemptNumber, Outcome: d.Outcome, Reason: d.Reason, Replay: d.Replay, NoBodies: d.NoBodies,
	}
	if d.Attempt != nil {
		out.Attempt = &attemptsOf([]chat.Attempt{*d.Attempt})[0]
	}
	return out
}
