package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
)

// mediaYAML is the type of a flow that is sent as it is (RFC 9512).
const mediaYAML = "application/yaml"

func (s *Service) listBots(c echo.Context) error {
	snap := s.Registry.Snapshot()
	list := List[Bot]{Items: []Bot{}, Revision: snap.Revision()}
	for _, b := range snap.Bots() {
		revision, _ := snap.RecordRevision(registry.KindBot, b.ID)
		item := botOf(b, revision)
		item.Flow = ""
		list.Items = append(list.Items, item)
	}
	return c.JSON(http.StatusOK, list)
}

func (s *Service) getBot(c echo.Context) error {
	snap, id := s.Registry.Snapshot(), c.Param("id")
	b, ok := snap.Bot(id)
	if !ok {
		return missing(registry.KindBot, id)
	}
	revision, _ := snap.RecordRevision(registry.KindBot, id)
	return answer(c, http.StatusOK, revision, botOf(b, revision))
}

func (s *Service) createBot(c echo.Context) error {
	var in Bot
	if err := decode(c, &in); err != nil {
		return err
	}
	return s.writeBot(c, in, registry.Absent)
}

// putBot takes a bot as JSON, or a flow bot's YAML as it is, which keeps the
// bot's name, and whether it is paused.
func (s *Service) putBot(c echo.Context) error {
	in, err := s.botToPut(c)
	if err != nil {
		return err
	}
	if err := sameID(c, &in.ID); err != nil {
		return err
	}
	expect, err := expectation(c)
	if err != nil {
		return err
	}
	return s.writeBot(c, in, expect)
}

func (s *Service) botToPut(c echo.Context) (in Bot, err error) {
	if mediaType(c) != mediaYAML {
		return in, decode(c, &in)
	}
	flow, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, maxBody))
	if err != nil {
		return in, err
	}
	in = Bot{Kind: registry.BotFlow, Flow: string(flow)}
	if old, ok := s.Registry.Snapshot().Bot(c.Param("id")); ok {
		in.Name, in.Paused = old.Name, old.Paused
	}
	return in, nil
}

// writeBot keeps the secrets that the body leaves out, so it writes against the
// revision that it read them at. It shows those that it makes, this once.
func (s *Service) writeBot(c echo.Context, in Bot, expect registry.Expect) error {
	ctx := c.Request().Context()
	for {
		snap, err := s.Registry.CatchUp(ctx)
		if err != nil {
			return refusal(err)
		}
		old, exists := snap.Bot(in.ID)
		if !exists && expect != registry.Any && expect != registry.Absent {
			return missing(registry.KindBot, in.ID)
		}
		at := expect
		if expect == registry.Any || expect == registry.Present {
			revision, _ := snap.RecordRevision(registry.KindBot, in.ID)
			at = registry.Expect(revision) // 0, Absent, for a new one
		}
		b, err := in.domain(old)
		if err != nil {
			return err
		}
		made := len(b.Secrets) == 0 // they are, where they are needed
		stored, revision, err := s.Registry.PutBot(ctx, b, at)
		if at != expect && (errors.Is(err, registry.ErrConflict) || errors.Is(err, registry.ErrExists) || errors.Is(err, registry.ErrNotFound)) {
			continue // another write came between: read again
		}
		if err != nil {
			return refusal(err)
		}
		return put(c, !exists, "/bots/"+b.ID, revision, botMade(&stored, revision, made))
	}
}

// domain makes the bot that the body describes; old, if there is one, gives the
// secrets that the body leaves as they are.
func (in *Bot) domain(old *chat.Bot) (chat.Bot, error) {
	var p chat.Problems
	b := chat.Bot{
		ID: in.ID, Kind: in.Kind, Name: in.Name, Flow: in.Flow, Paused: in.Paused, URL: in.URL,
		Timeout: duration(&p, "/timeout", in.Timeout), MaxInFlight: in.MaxInFlight, Fallback: in.Fallback,
	}
	for i, d := range in.Retry {
		b.Retry = append(b.Retry, duration(&p, fmt.Sprintf("/retry/%d", i), d))
	}
	var former *chat.Sending
	if old != nil && in.Kind == registry.BotHTTP {
		former = &old.Sending
	}
	b.Sending = in.Sending.domain(former)
	return b, p.Err()
}

func (s *Service) deleteBot(c echo.Context) error {
	return s.remove(c, s.Registry.DeleteBot)
}

// botMade is for a bot what endpointMade is for an endpoint.
func botMade(b *chat.Bot, revision uint64, made bool) Bot {
	out := botOf(b, revision)
	out.Sending = sendingOf(&b.Sending, made)
	return out
}

// botOf shows a bot without its secrets.
func botOf(b *chat.Bot, revision uint64) Bot {
	out := Bot{
		ID: b.ID, Kind: b.Kind, Name: b.Name, Flow: b.Flow, Paused: b.Paused, URL: b.URL,
		MaxInFlight: b.MaxInFlight, Fallback: b.Fallback, ManagedBy: b.ManagedBy, Revision: revision,
		Sending: sendingOf(&b.Sending, false),
	}
	for _, d := range b.Retry {
		out.Retry = append(out.Retry, d.Std().String())
	}
	if b.Timeout != 0 {
		out.Timeout = b.Timeout.Std().String()
	}
	return out
}

// remove deletes the record that the path names.
func (s *Service) remove(c echo.Context, del func(context.Context, string, registry.Expect) (uint64, error)) error {
	expect, err := expectation(c)
	if err != nil {
		return err
	}
	id := c.Param("id")
	revision, err := del(c.Request().Context(), id, expect)
	if err != nil {
		return refusal(err)
	}
	return answer(c, http.StatusOK, revision, Deleted{ID: id, Revision: revision})
}
