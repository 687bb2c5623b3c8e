package ops

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/registry"
)

const defaultCommandWait = 3 * time.Second

func (s *Service) listLanes(c echo.Context) error {
	f, limit, err := laneQuery(c)
	if err != nil {
		return err
	}
	found, next, err := s.Lanes.List(c.Request().Context(), f, c.QueryParam("after"), limit)
	if err != nil {
		return refusal(err)
	}
	snap := s.Registry.Snapshot()
	page := LanePage{Items: []Lane{}, Next: next}
	for i := range found {
		item := laneOf(&found[i], snap)
		item.Attempts = nil
		page.Items = append(page.Items, item)
	}
	return c.JSON(http.StatusOK, page)
}

func laneQuery(c echo.Context) (f lane.Filter, limit int, err error) {
	var p chat.Problems
	stage, endpoint, channel := chat.Stage(c.QueryParam("stage")), c.QueryParam("endpoint"), c.QueryParam("channel")
	f = lane.Filter{Stage: stage, Held: boolQuery(c, &p, "held")}
	if stage != "" && stage != chat.StageUser && stage != chat.StageBot {
		p.Add("stage", fmt.Sprintf(`%q is no stage: use "user" or "bot"`, stage))
	}
	// They become parts of a subject.
	for name, id := range map[string]string{"endpoint": endpoint, "channel": channel} {
		if id == "" {
			continue
		}
		if err := chat.ValidateID(name, id); err != nil {
			p.Add(name, err.Error())
		}
		f.Group, f.Stage = id, chat.StageBot
		if name == "channel" {
			f.Stage = chat.StageUser
		}
		if stage != "" && stage != f.Stage {
			p.Add(name, fmt.Sprintf("lanes of this kind wait at stage %q: leave the stage out", f.Stage))
		}
	}
	if endpoint != "" && channel != "" {
		p.Add("channel", "lanes wait for a channel's bot or for an endpoint: give one of the two")
	}
	limit = defaultPage
	if text := c.QueryParam("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			p.Add("limit", fmt.Sprintf("the limit is %q: set it to 1..%d", text, maxPage))
		}
	}
	if after := c.QueryParam("after"); after != "" {
		if _, _, err := lane.ParseName(after); err != nil {
			p.Add("after", `this is no place in the list: give the "next" of an answer`)
		}
	}
	return f, limit, badQuery(&p)
}

func boolQuery(c echo.Context, p *chat.Problems, name string) bool {
	text := c.QueryParam(name)
	if text == "" {
		return false
	}
	yes, err := strconv.ParseBool(text)
	if err != nil {
		p.Add(name, fmt.Sprintf("%q is neither true nor false", text))
	}
	return yes
}

// badQuery is nil where nothing is wrong.
func badQuery(p *chat.Problems) error {
	err := p.Err()
	if err == nil {
		return nil
	}
	bad := problem.New(http.StatusBadRequest, "bad-query", "a query parameter can't be used: see errors")
	bad.Errors = problem.From(err).Errors
	return bad
}

func (s *Service) getLane(c echo.Context) error {
	stage, id, err := lane.ParseName(c.Param("id"))
	if err != nil {
		return problem.New(http.StatusNotFound, "not-found", err.Error())
	}
	p, err := s.Lanes.Get(c.Request().Context(), stage, id)
	if err != nil {
		return laneRefusal(err)
	}
	return c.JSON(http.StatusOK, laneOf(p, s.Registry.Snapshot()))
}

// commandLane asks something of one lane.
func (s *Service) commandLane(action lane.Action) echo.HandlerFunc {
	return func(c echo.Context) error {
		name := c.Param("id")
		stage, id, err := lane.ParseName(name)
		if err != nil {
			return problem.New(http.StatusNotFound, "not-found", err.Error())
		}
		done, err := s.Lanes.Command(c.Request().Context(), stage, id, action, caller(c), s.commandWait)
		s.logCommand(c, action, zap.String("lane", name), done, err)
		if err != nil {
			return laneRefusal(err)
		}
		return commanded(c, action, done)
	}
}

// commandLanes asks something of each lane of an endpoint.
func (s *Service) commandLanes(action lane.Action) echo.HandlerFunc {
	return func(c echo.Context) error {
		var p chat.Problems
		id := c.Param("id")
		f := lane.Filter{Stage: chat.StageBot, Group: id, Held: boolQuery(c, &p, "held")}
		if err := badQuery(&p); err != nil {
			return err
		}
		if _, ok := s.Registry.Snapshot().Endpoint(id); !ok {
			return missing(registry.KindEndpoint, id)
		}
		done, err := s.Lanes.CommandAll(c.Request().Context(), f, action, caller(c), s.commandWait)
		s.logCommand(c, action, zap.String("endpoint", id), done, err)
		if err != nil {
			return laneRefusal(fmt.Errorf("%d lanes were told before: %w", done.Lanes, err))
		}
		return commanded(c, action, done)
	}
}

func (s *Service) logCommand(c echo.Context, action lane.Action, of zap.Field, done lane.Commanded, err error) {
	s.Log.Info("an operator's command to lanes", zap.String("action", string(action)), of, zap.String("by", caller(c)),
		zap.Int("lanes", done.Lanes), zap.Int("done", done.Done), zap.Int("busy", done.Busy), zap.Error(err))
}

// commanded answers 202 where an owner has not carried it out yet.
func commanded(c echo.Context, action lane.Action, done lane.Commanded) error {
	status := http.StatusOK
	if done.Done < done.Lanes {
		status = http.StatusAccepted
	}
	return c.JSON(status, LaneCommanded{
		Action: action, Lanes: done.Lanes, Done: done.Done, Queued: done.Lanes - done.Done, Busy: done.Busy,
	})
}

func laneRefusal(err error) error {
	switch {
	case errors.Is(err, lane.ErrNotParked):
		return problem.New(http.StatusNotFound, "not-found", err.Error())
	case errors.Is(err, lane.ErrBusy):
		return problem.New(http.StatusConflict, "busy", err.Error()+": wait until its owner has, `parley lane show` says")
	}
	return refusal(err)
}

func laneOf(p *lane.Parked, snap *registry.Snapshot) Lane {
	out := Lane{ID: p.Name(), Stage: p.Stage, Messages: p.Messages}
	switch p.Stage {
	case chat.StageBot:
		out.Destination = p.ID.Group
		if e, ok := snap.Endpoint(p.ID.Group); ok {
			out.ChannelID, out.Closed = e.ChannelID, e.Closed()
		}
	case chat.StageUser:
		out.ChannelID = p.ID.Group
		if ch, ok := snap.Channel(p.ID.Group); ok {
			out.Destination, out.Closed = ch.BotID, ch.Paused
			if b, ok := snap.Bot(ch.BotID); ok && out.Closed == "" {
				out.Closed = b.Paused
			}
		}
	}
	if h := p.Head; h != nil {
		out.ConversationID, out.MessageID, out.OldestAt = h.ConversationID, h.MessageID, new(h.AcceptedAt.UTC())
		if h.ChannelID != "" {
			out.ChannelID = h.ChannelID
		}
	}
	if st := p.State; st != nil {
		out.AttemptCount, out.Held = st.AttemptCount, st.Held
		out.Attempts = attemptsOf(st.Attempts)
		if n := len(st.Attempts); n > 0 {
			out.LastError = st.Attempts[n-1].Error
		}
		if !st.Due.IsZero() && !st.Held {
			out.DueAt = new(st.Due.UTC())
		}
	}
	if cmd := p.Command; cmd != nil {
		out.Asked = &LaneAsked{Action: cmd.Action, By: cmd.By, At: cmd.At.UTC()}
	}
	return out
}
