package ops

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
)

func (s *Service) listTokens(c echo.Context) error {
	snap := s.Registry.Snapshot()
	list := List[Token]{Items: []Token{}, Revision: snap.Revision()}
	for _, t := range snap.Tokens() {
		revision, _ := snap.RecordRevision(registry.KindToken, t.ID)
		list.Items = append(list.Items, tokenOf(t, revision))
	}
	return c.JSON(http.StatusOK, list)
}

const opsTokenLimit = "a token of the ops API has no limit: leave it out"

// createToken shows the token in clear, this once.
func (s *Service) createToken(c echo.Context) error {
	var in NewToken
	if err := decode(c, &in); err != nil {
		return err
	}
	if in.Ops == (in.ChannelID != "") {
		return invalid("/channelId", "a token opens a channel or the ops API: give one of channelId and ops")
	}
	var p chat.Problems
	limit := rate(&p, "/limit", in.Limit)
	if limit != nil && in.Ops {
		p.Add("/limit", opsTokenLimit)
	}
	if err := p.Err(); err != nil {
		return err
	}
	clear, t := registry.NewToken(in.ChannelID, in.Name, s.Now())
	t.Limit = limit
	revision, err := s.Registry.PutToken(c.Request().Context(), t, registry.Absent)
	if err != nil {
		return refusal(err)
	}
	out := tokenOf(&t, revision)
	out.Token = clear
	return answer(c, http.StatusCreated, revision, out)
}

func (s *Service) deleteToken(c echo.Context) error {
	return s.remove(c, s.Registry.DeleteToken)
}

func tokenOf(t *chat.Token, revision uint64) Token {
	return Token{
		ID: t.ID, ChannelID: t.ChannelID, Ops: t.Ops, Name: t.Name, CreatedAt: t.CreatedAt, Limit: rateText(t.Limit),
		ManagedBy: t.ManagedBy, Revision: revision,
	}
}
