package ops

import (
	"context"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
)

// Lag is how many messages wait in front of each stage, for what decides how
// many workers there should be.
type Lag struct {
	User StageLag `json:"user"`
	Bot  StageLag `json:"bot"`
}

// StageLag is one stage's. Parked messages don't count: they wait for their
// destination, not for a worker.
type StageLag struct {
	Waiting uint64 `json:"waiting"`
}

// lag answers with no number where the streams can't be read: 0 would have
// workers taken away.
func (s *Service) lag(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), healthTimeout)
	defer cancel()
	b, err := s.Backlog(ctx)
	if err != nil {
		return refusal(fmt.Errorf("reading the streams: %w: %w", broker.ErrUnavailable, err))
	}
	return c.JSON(http.StatusOK, Lag{
		User: StageLag{Waiting: b.Hot(chat.StageUser).Messages},
		Bot:  StageLag{Waiting: b.Hot(chat.StageBot).Messages},
	})
}
