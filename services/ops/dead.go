package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/wire"
)

const (
	defaultPage = 50
	maxPage     = 500
	// countTimeout bounds a count that has to read the letters: some ten
	// millions of them.
	countTimeout = 5 * time.Minute
)

func (s *Service) listDead(c echo.Context) error {
	filter, at, err := deadQuery(c, s.Now())
	if err != nil {
		return err
	}
	found, err := s.DeadLetters.List(c.Request().Context(), filter, at)
	if err != nil {
		return refusal(err)
	}
	page := DeadLetterPage{Items: []DeadLetter{}, Next: placeOf(found.Next), Undecodable: found.Undecodable}
	for i := range found.Letters {
		page.Items = append(page.Items, deadLetterOf(&found.Letters[i]))
	}
	return c.JSON(http.StatusOK, page)
}

func (s *Service) countDead(c echo.Context) error {
	var p chat.Problems
	filter := deadFilterQuery(c, s.Now(), &p)
	if err := badQuery(&p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(c.Request().Context(), countTimeout, errLongCount)
	defer cancel()
	// The server's own limit is for answers that take no reading.
	if err := http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(countTimeout + time.Minute)); err != nil {
		return fmt.Errorf("waiting longer for a count: %w", err)
	}
	n, err := s.DeadLetters.Count(ctx, filter)
	if err != nil {
		return refusal(err)
	}
	return c.JSON(http.StatusOK, DeadLetterCount{Count: n})
}

var errLongCount = errors.New("the letters could not be read in five minutes: give a filter of channel, endpoint or time beside reason and status")

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
		d := &letters[i]
		item := deadLetterOf(d)
		item.Attempts, item.Headers = attemptsOf(d.Attempts), d.Headers
		if item.Message = messageOf(&d.DeadLetter); item.Message == nil {
			item.Data = d.Data
		}
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

func deadLetterOf(d *deadletter.Letter) DeadLetter {
	out := DeadLetter{
		MessageID: d.MessageID, Stage: d.Stage, ChannelID: d.ChannelID, Destination: d.Destination,
		ConversationID: d.ConversationID, MessageCounter: d.Counter, Reason: d.Reason, Error: d.Error,
		DiedAt: d.DiedAt.UTC(), AttemptCount: d.AttemptCount, StoredAt: d.StoredAt.UTC(),
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
