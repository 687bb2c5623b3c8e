package ops

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
)

// What is stored where no reason is given.
const (
	disabledByOperator = "disabled by an operator"
	pausedByOperator   = "paused by an operator"
)

func (s *Service) disableEndpoint(c echo.Context) error {
	reason, err := reasonOf(c, disabledByOperator)
	if err != nil {
		return err
	}
	return s.changeEndpoint(c, endpointOf, func(e *chat.Endpoint) { e.Disabled = reason })
}

func (s *Service) enableEndpoint(c echo.Context) error {
	return s.changeEndpoint(c, endpointOf, func(e *chat.Endpoint) { e.Disabled = "" })
}

func (s *Service) pauseEndpoint(c echo.Context) error {
	reason, err := reasonOf(c, pausedByOperator)
	if err != nil {
		return err
	}
	return s.changeEndpoint(c, endpointOf, func(e *chat.Endpoint) { e.Paused = reason })
}

func (s *Service) resumeEndpoint(c echo.Context) error {
	return s.changeEndpoint(c, endpointOf, func(e *chat.Endpoint) { e.Paused = "" })
}

func (s *Service) pauseChannel(c echo.Context) error {
	reason, err := reasonOf(c, pausedByOperator)
	if err != nil {
		return err
	}
	return s.changeChannel(c, func(ch *chat.Channel) { ch.Paused = reason })
}

func (s *Service) resumeChannel(c echo.Context) error {
	return s.changeChannel(c, func(ch *chat.Channel) { ch.Paused = "" })
}

func (s *Service) pauseBot(c echo.Context) error {
	reason, err := reasonOf(c, pausedByOperator)
	if err != nil {
		return err
	}
	return s.changeBot(c, func(b *chat.Bot) { b.Paused = reason })
}

func (s *Service) resumeBot(c echo.Context) error {
	return s.changeBot(c, func(b *chat.Bot) { b.Paused = "" })
}

// reasonOf reads a body that may be left out.
func reasonOf(c echo.Context, otherwise string) (string, error) {
	var in Reason
	if c.Request().ContentLength != 0 {
		if err := decode(c, &in); err != nil {
			return "", err
		}
	}
	if in.Reason == "" {
		in.Reason = otherwise
	}
	return in.Reason, nil
}

// changeEndpoint answers with what show makes of the endpoint.
func (s *Service) changeEndpoint(c echo.Context, show func(*chat.Endpoint, uint64) Endpoint, edit func(*chat.Endpoint)) error {
	e, revision, err := change(s, c, registry.KindEndpoint, (*registry.Snapshot).Endpoint, s.Registry.PutEndpoint, edit)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, revision, show(&e, revision))
}

func (s *Service) changeChannel(c echo.Context, edit func(*chat.Channel)) error {
	ch, revision, err := change(s, c, registry.KindChannel, (*registry.Snapshot).Channel, written(s.Registry.PutChannel), edit)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, revision, channelOf(&ch, revision))
}

func (s *Service) changeBot(c echo.Context, edit func(*chat.Bot)) error {
	b, revision, err := change(s, c, registry.KindBot, (*registry.Snapshot).Bot, written(s.Registry.PutBot), edit)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, revision, botOf(&b, revision))
}

// putter writes a record and returns it as it is stored.
type putter[T any] func(context.Context, T, registry.Expect) (T, uint64, error)

// written is a putter for records that are stored as they are given.
func written[T any](put func(context.Context, T, registry.Expect) (uint64, error)) putter[T] {
	return func(ctx context.Context, v T, expect registry.Expect) (T, uint64, error) {
		revision, err := put(ctx, v, expect)
		return v, revision, err
	}
}

// change changes one field of the record that the path names, whatever else is
// changed meanwhile.
func change[T any](s *Service, c echo.Context, kind registry.Kind, read func(*registry.Snapshot, string) (*T, bool), put putter[T], edit func(*T)) (v T, revision uint64, err error) {
	expect, err := expectation(c)
	if err != nil {
		return v, 0, err
	}
	ctx, id := c.Request().Context(), c.Param("id")
	for {
		snap, err := s.Registry.CatchUp(ctx)
		if err != nil {
			return v, 0, refusal(err)
		}
		now, ok := read(snap, id)
		if !ok {
			return v, 0, missing(kind, id)
		}
		at := expect
		if expect == registry.Any || expect == registry.Present {
			revision, _ = snap.RecordRevision(kind, id)
			at = registry.Expect(revision)
		}
		v = *now
		edit(&v)
		stored, revision, err := put(ctx, v, at)
		if errors.Is(err, registry.ErrConflict) && at != expect {
			continue
		}
		if err != nil {
			return v, 0, refusal(err)
		}
		return stored, revision, nil
	}
}
