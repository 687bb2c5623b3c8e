package ops

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/wire"
)

const (
	defaultPage = 50
	maxPage     = 500
)

func (s *Service) listDead(c echo.Context) error {
	filter, at, err := deadQuery(c)
	if err != nil {
		return err
	}
	found, err := s.DeadLetters.List(c.Request().Context(), filter, at)
	if err != nil {
		return refusal(err)
	}
	page := DeadLetterPage{Items: []DeadLetter{}, Undecodable: found.Undecodable}
	if found.Next != 0 {
		page.Next = strconv.FormatUint(found.Next, 10)
	}
	for i := range found.Letters {
		page.Items = append(page.Items, deadLetterOf(&found.Letters[i].DeadLetter))
	}
	return c.JSON(http.StatusOK, page)
}

func deadQuery(c echo.Context) (f deadletter.Filter, at deadletter.Page, err error) {
	var p chat.Problems
	f = deadletter.Filter{
		Stage: chat.Stage(c.QueryParam("stage")), ChannelID: c.QueryParam("channel"), Destination: c.QueryParam("destination"),
	}
	if f.Stage != "" && f.Stage != chat.StageUser && f.Stage != chat.StageBot {
		p.Add("stage", fmt.Sprintf(`%q is no stage: use "user" or "bot"`, f.Stage))
	}
	// They become parts of a subject.
	for name, id := range map[string]string{"channel": f.ChannelID, "destination": f.Destination} {
		if id == "" {
			continue
		}
		if err := chat.ValidateID(name, id); err != nil {
			p.Add(name, err.Error())
		}
	}
	at.Limit = defaultPage
	if text := c.QueryParam("limit"); text != "" {
		if at.Limit, err = strconv.Atoi(text); err != nil || at.Limit < 1 || at.Limit > maxPage {
			p.Add("limit", fmt.Sprintf("the limit is %q: set it to 1..%d", text, maxPage))
		}
	}
	if before := c.QueryParam("before"); before != "" {
		if at.Before, err = strconv.ParseUint(before, 10, 64); err != nil {
			p.Add("before", `this is no place in the list: give the "next" of an answer`)
		}
	}
	return f, at, badQuery(&p)
}

// getDead answers with all dead letters of a message: one for each endpoint
// that it was given up at.
func (s *Service) getDead(c echo.Context) error {
	id := c.Param("id")
	letters, err := s.DeadLetters.Get(c.Request().Context(), id)
	if errors.Is(err, deadletter.ErrNotFound) {
		return problem.New(http.StatusNotFound, "not-found",
			fmt.Sprintf("there is no dead letter of message %q: it may have been delivered, still wait, or be too old", id))
	}
	if err != nil {
		return refusal(err)
	}
	page := DeadLetterPage{Items: []DeadLetter{}}
	for i := range letters {
		d := &letters[i].DeadLetter
		item := deadLetterOf(d)
		item.Message = messageOf(d)
		item.Attempts = attemptsOf(d.Attempts)
		page.Items = append(page.Items, item)
	}
	return c.JSON(http.StatusOK, page)
}

func attemptsOf(attempts []chat.Attempt) (out []Attempt) {
	for _, a := range attempts {
		out = append(out, Attempt{
			At: a.At.UTC(), DurationMS: a.Duration.Milliseconds(), Status: a.Status, Error: a.Error,
			Excerpt: strings.ToValidUTF8(string(a.Excerpt), "\uFFFD"),
		})
	}
	return out
}

func deadLetterOf(d *chat.DeadLetter) DeadLetter {
	out := DeadLetter{
		MessageID: d.MessageID, Stage: d.Stage, ChannelID: d.ChannelID, Destination: d.Destination,
		ConversationID: d.ConversationID, MessageCounter: d.Counter, Reason: d.Reason, Error: d.Error,
		DiedAt: d.DiedAt.UTC(), AttemptCount: d.AttemptCount,
	}
	if !d.FirstFailure.IsZero() {
		out.FirstFailureAt = new(d.FirstFailure.UTC())
	}
	return out
}

// messageOf shows the message as the contract spells it; nil for one that
// can't be decoded, which may be why it is here.
func messageOf(d *chat.DeadLetter) json.RawMessage {
	switch d.Stage {
	case chat.StageUser:
		m, err := wire.DecodeUserMessage(d.Data)
		if err != nil || !json.Valid(m.Input.Body) {
			return nil
		}
		body, err := json.Marshal(map[chat.InputKind]json.RawMessage{m.Input.Kind: m.Input.Body})
		if err != nil {
			return nil
		}
		return body
	case chat.StageBot:
		m, err := wire.DecodeBotMessage(d.Data)
		if err != nil || !json.Valid(m.Message) {
			return nil
		}
		return m.Message
	}
	return nil
}
