package ops

import (
	"context"
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

func (s *Service) writeBot(c echo.Context, in Bot, expect registry.Expect) error {
	_, exists := s.Registry.Snapshot().Bot(in.ID)
	b := chat.Bot{ID: in.ID, Kind: in.Kind, Name: in.Name, Flow: in.Flow, Paused: in.Paused}
	revision, err := s.Registry.PutBot(c.Request().Context(), b, expect)
	if err != nil {
		return refusal(err)
	}
	return put(c, !exists, "/bots/"+b.ID, revision, botOf(&b, revision))
}

func (s *Service) deleteBot(c echo.Context) error {
	return s.remove(c, s.Registry.DeleteBot)
}

func botOf(b *chat.Bot, revision uint64) Bot {
	return Bot{ID: b.ID, Kind: b.Kind, Name: b.Name, Flow: b.Flow, Paused: b.Paused, Revision: revision}
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
