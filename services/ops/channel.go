package ops

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
)

func (s *Service) listChannels(c echo.Context) error {
	snap := s.Registry.Snapshot()
	list := List[Channel]{Items: []Channel{}, Revision: snap.Revision()}
	for _, ch := range snap.Channels() {
		revision, _ := snap.RecordRevision(registry.KindChannel, ch.ID)
		list.Items = append(list.Items, channelOf(ch, revision))
	}
	return c.JSON(http.StatusOK, list)
}

func (s *Service) getChannel(c echo.Context) error {
	snap, id := s.Registry.Snapshot(), c.Param("id")
	ch, ok := snap.Channel(id)
	if !ok {
		return missing(registry.KindChannel, id)
	}
	revision, _ := snap.RecordRevision(registry.KindChannel, id)
	return answer(c, http.StatusOK, revision, channelOf(ch, revision))
}

func (s *Service) createChannel(c echo.Context) error {
	var in Channel
	if err := decode(c, &in); err != nil {
		return err
	}
	return s.writeChannel(c, in, registry.Absent)
}

func (s *Service) putChannel(c echo.Context) error {
	var in Channel
	if err := decode(c, &in); err != nil {
		return err
	}
	if err := sameID(c, &in.ID); err != nil {
		return err
	}
	expect, err := expectation(c)
	if err != nil {
		return err
	}
	return s.writeChannel(c, in, expect)
}

func (s *Service) writeChannel(c echo.Context, in Channel, expect registry.Expect) error {
	old, exists := s.Registry.Snapshot().Channel(in.ID)
	var p chat.Problems
	ch := chat.Channel{
		ID: in.ID, BotID: in.BotID, Name: in.Name, Paused: in.Paused,
		Limit: rate(&p, "/limit", in.Limit), ConversationLimit: rate(&p, "/conversationLimit", in.ConversationLimit),
	}
	if err := p.Err(); err != nil {
		return err
	}
	if exists {
		ch.ManagedBy = old.ManagedBy
	}
	revision, err := s.Registry.PutChannel(c.Request().Context(), ch, expect)
	if err != nil {
		return refusal(err)
	}
	return put(c, !exists, "/channels/"+ch.ID, revision, channelOf(&ch, revision))
}

func (s *Service) deleteChannel(c echo.Context) error {
	return s.remove(c, s.Registry.DeleteChannel)
}

func channelOf(ch *chat.Channel, revision uint64) Channel {
	return Channel{
		ID: ch.ID, BotID: ch.BotID, Name: ch.Name, Paused: ch.Paused, ManagedBy: ch.ManagedBy, Revision: revision,
		Limit: rateText(ch.Limit), ConversationLimit: rateText(ch.ConversationLimit),
	}
}

// rate reads a rate; nil where there is none.
func rate(p *chat.Problems, pointer, text string) *chat.Rate {
	if text == "" {
		return nil
	}
	r, err := chat.ParseRate(text)
	if err != nil {
		p.Add(pointer, err.Error())
	}
	return &r
}

func rateText(r *chat.Rate) string {
	if r == nil {
		return ""
	}
	return r.String()
}
