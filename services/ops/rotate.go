package ops

import (
	"fmt"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

// The overlap of a rotation: how long former secrets still sign.
const (
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 30 * 24 * time.Hour
)

// rotateSecret shows the new signing secret, this once.
func (s *Service) rotateSecret(c echo.Context) error {
	var in RotateSecret
	if c.Request().ContentLength != 0 {
		if err := decode(c, &in); err != nil {
			return err
		}
	}
	overlap, err := in.overlap()
	if err != nil {
		return err
	}
	var until time.Time
	if overlap > 0 {
		until = s.Now().Add(overlap).UTC().Round(0)
	}
	secret, key := webhook.NewSecret(), webhook.NewSigningKey()
	show := func(e *chat.Endpoint, revision uint64) Endpoint { return endpointMade(e, revision, true) }
	return s.changeEndpoint(c, show, func(e *chat.Endpoint) {
		e.Prune(s.Now())
		e.Rotate(secret, key, until)
	})
}

func (in *RotateSecret) overlap() (time.Duration, error) {
	if in.Overlap == "" {
		return defaultOverlap, nil
	}
	d, err := time.ParseDuration(in.Overlap)
	if err != nil || d < 0 || d > maxOverlap {
		return 0, invalid("/overlap", fmt.Sprintf(`the overlap is %q: write it like "24h", at most %s, or "0s" to end the former secret at once`, in.Overlap, maxOverlap))
	}
	return d, nil
}
