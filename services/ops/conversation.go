package ops

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
)

// Transcript is a part of a conversation as the journal has it, oldest first; the
// first part asked for is the latest.
type Transcript struct {
	ChannelID      string           `json:"channelId"`
	ConversationID string           `json:"conversationId"`
	Items          []TranscriptItem `json:"items"`
	// Next is what "before" takes for the part that was before; empty at the
	// beginning.
	Next string `json:"next,omitempty"`
	// NoBodies says that what was said was not recorded.
	NoBodies bool `json:"noBodies,omitempty"`
	// Notes say what the answer can't tell, and why.
	Notes []string `json:"notes"`
}

// TranscriptItem is what the user or the bot said, or an event.
type TranscriptItem struct {
	At             time.Time       `json:"at"`
	Side           string          `json:"side"` // user, bot or event
	MessageID      string          `json:"messageId"`
	MessageCounter uint64          `json:"messageCounter,omitempty"` // of a bot's message
	Event          string          `json:"event,omitempty"`
	BotID          string          `json:"botId,omitempty"`
	Message        json.RawMessage `json:"message,omitempty"`
	Outcome        chat.Outcome    `json:"outcome,omitempty"` // of the turn, for what the user said
	Error          string          `json:"error,omitempty"`   // of the turn's last failure
	// Deliveries are what became of it at each endpoint, as far as that is recorded.
	Deliveries []TranscriptDelivery `json:"deliveries,omitempty"`
}

// TranscriptDelivery is how far a message has come at an endpoint.
type TranscriptDelivery struct {
	EndpointID string       `json:"endpointId,omitempty"` // none of an unrouted message
	Outcome    chat.Outcome `json:"outcome"`              // the latest; retry: it will be tried again
	At         time.Time    `json:"at"`
	Attempts   int          `json:"attempts"`
	Status     int          `json:"status,omitempty"` // the latest
}

// maxDeliveries is how many deliveries of a transcript are looked at.
const maxDeliveries = 20_000

func (s *Service) showConversation(c echo.Context) error {
	var p chat.Problems
	out := Transcript{ChannelID: c.QueryParam("channel"), ConversationID: c.QueryParam("conversation"), Items: []TranscriptItem{}, Notes: []string{}}
	if out.ConversationID == "" {
		p.Add("conversation", "is missing: give the conversation's id")
	}
	if err := chat.ValidateID("channel", out.ChannelID); err != nil { // it becomes part of a subject
		p.Add("channel", err.Error())
	}
	f := journal.Filter{ChannelID: out.ChannelID, Key: conversationQuery(c, &p)}
	at := s.pageQuery(c, &p)
	if err := badQuery(&p); err != nil {
		return err
	}
	if err := s.transcribe(c.Request().Context(), &out, f, at); err != nil {
		return refusal(err)
	}
	switch s.Recording {
	case journal.ModeOff:
		out.Notes = append(out.Notes, "the journal is off (--journal off): nothing new is recorded")
	case journal.ModeFailures:
		out.Notes = append(out.Notes, "the journal records failures only (--journal failures): what went well is missing")
	}
	if out.NoBodies {
		out.Notes = append(out.Notes, "what was said was not recorded (--journal-bodies=false)")
	}
	return c.JSON(http.StatusOK, out)
}

// transcribe reads the turns, and what became of their messages.
func (s *Service) transcribe(ctx context.Context, out *Transcript, f journal.Filter, at journal.Page) error {
	turns, err := s.Journal.Turns(ctx, f, at)
	if err != nil || len(turns.Entries) == 0 && turns.Next == 0 {
		return err
	}
	out.Next = placeOf(turns.Next)
	if turns.Unreadable > 0 {
		out.Notes = append(out.Notes, "some entries of the journal can't be read, and are missing")
	}
	said := map[string]int{} // where in Items
	since := time.Time{}
	for _, e := range slices.Backward(turns.Entries) {
		if since.IsZero() {
			since = e.StoredAt.Add(-clockSlack)
		}
		out.turn(e.Turn, said)
	}
	n := 0
	f.Deliveries = true
	err = s.Journal.Scan(ctx, f, since, time.Time{}, 0, func(e journal.Entry) error {
		if n++; n > maxDeliveries {
			return errEnough
		}
		if e.Delivery == nil {
			return nil
		}
		if i, ok := said[e.Delivery.MessageID]; ok {
			out.Items[i].delivery(e.Delivery)
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		out.Notes = append(out.Notes, "there are many deliveries behind this part: some may be missing")
		return nil
	}
	return err
}

// turn adds what was said. A turn that is recorded several times, as the bot
// fails, is one item.
func (t *Transcript) turn(turn *chat.Turn, said map[string]int) {
	t.NoBodies = t.NoBodies || turn.NoBodies
	i, again := said[turn.Input.ID]
	if !again {
		i = len(t.Items)
		said[turn.Input.ID] = i
		t.Items = append(t.Items, TranscriptItem{
			At: turn.Input.AcceptedAt.UTC(), Side: "user", MessageID: turn.Input.ID, Message: inputOf(&turn.Input),
		})
	}
	t.Items[i].BotID, t.Items[i].Outcome = turn.BotID, turn.Outcome
	if turn.Attempt != nil {
		t.Items[i].Error = turn.Attempt.Error
	}
	for k := range turn.Output {
		m := &turn.Output[k]
		item := TranscriptItem{At: m.CreatedAt.UTC(), Side: "bot", MessageID: m.ID, BotID: m.BotID, MessageCounter: m.Ordinal.Counter, Message: valid(m.Message)}
		if m.Event != chat.EventMessage {
			item.Side, item.Event, item.MessageCounter = "event", m.Event, 0
		}
		said[m.ID] = len(t.Items)
		t.Items = append(t.Items, item)
	}
}

func (i *TranscriptItem) delivery(d *chat.Delivery) {
	n := slices.IndexFunc(i.Deliveries, func(at TranscriptDelivery) bool { return at.EndpointID == d.EndpointID })
	if n < 0 {
		n = len(i.Deliveries)
		i.Deliveries = append(i.Deliveries, TranscriptDelivery{EndpointID: d.EndpointID})
	}
	at := &i.Deliveries[n]
	at.Outcome, at.At = d.Outcome, d.At.UTC()
	if d.Attempt != nil {
		at.Attempts++
		at.Status = d.Attempt.Status
	}
}
