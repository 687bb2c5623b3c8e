package ops

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/problem"
)

const (
	// maxTraced is how many entries of the journal a trace has at most.
	maxTraced = 5000
	// clockSlack is by how much the clocks of two machines may differ.
	clockSlack = time.Minute
	// maxAnswers is up to how many bot messages of a turn are looked for where the
	// turn itself is not recorded, and whose dead letters are read.
	maxAnswers = 100
)

func (s *Service) traceMessage(c echo.Context) error {
	id := c.Param("id")
	t, err := s.trace(c.Request().Context(), id)
	if err != nil {
		return refusal(err)
	}
	if t == nil {
		return problem.New(http.StatusNotFound, "not-found", fmt.Sprintf(
			"nothing is known of message %q: the id may be mistyped or another deployment's, or the message is through and the journal has not recorded it (--journal is %s here) or has forgotten it (--journal-age, --journal-max)",
			id, s.Recording))
	}
	return c.JSON(http.StatusOK, t)
}

// errEnough ends a scan.
var errEnough = errors.New("that is enough")

// trace returns a message's way; nil where nothing is known of it.
func (s *Service) trace(ctx context.Context, id string) (*Trace, error) {
	t := newTracer(id, s.Registry.Snapshot())
	at, key, err := chat.ParseMessageID(id)
	if err == nil {
		if err := s.recorded(ctx, t, key, at); err != nil {
			return nil, err
		}
		found, all, err := s.Lanes.Find(ctx, key, t.wants)
		if err != nil {
			return nil, err
		}
		if !all {
			t.note("more of this conversation waits than was looked at: some of what waits may be missing here")
		}
		for i := range found {
			t.found(&found[i])
		}
	}
	// A message that can't be decoded has no id of its own, and a dead letter.
	for _, of := range t.messages() {
		letters, err := s.DeadLetters.Get(ctx, of)
		if err != nil && !errors.Is(err, deadletter.ErrNotFound) {
			return nil, err
		}
		for i := range letters {
			t.dead(&letters[i].DeadLetter)
		}
	}
	switch s.Recording {
	case journal.ModeOff:
		t.note("the journal is off (--journal off): what was delivered is not known, and may be shown as waiting for a moment")
	case journal.ModeFailures:
		t.note("the journal records failures only (--journal failures): what went well is not known")
	}
	return t.done(), nil
}

// recorded reads the journal: first for the message itself, since its turn names
// its answers, which may be recorded before the turn.
func (s *Service) recorded(ctx context.Context, t *tracer, key chat.ConversationKey, at time.Time) error {
	since := at
	if !at.IsZero() {
		since = at.Add(-clockSlack)
	}
	n := 0
	scan := func(f journal.Filter, visit func(e *journal.Entry)) error {
		err := s.Journal.Scan(ctx, f, since, time.Time{}, 0, func(e journal.Entry) error {
			if n >= maxTraced {
				return errEnough
			}
			visit(&e)
			return nil
		})
		if errors.Is(err, errEnough) {
			t.note(fmt.Sprintf("there are more than %d entries in the journal: the later ones are missing here", maxTraced))
			return nil
		}
		return err
	}
	if err := scan(journal.Filter{Key: &key, MessageID: t.id}, func(e *journal.Entry) {
		n++
		t.entry(e)
	}); err != nil || t.isAnswer {
		return err
	}
	t.guess(at, key)
	return scan(journal.Filter{ChannelID: t.trace.ChannelID, Key: &key, Deliveries: true}, func(e *journal.Entry) {
		if e.Delivery != nil && t.answers[e.Delivery.MessageID] {
			n++
			t.entry(e)
		}
	})
}
