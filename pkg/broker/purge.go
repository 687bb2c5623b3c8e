package broker

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Purge removes what a stream has under a subject, which may have wildcards, and
// returns how much that was: nats.go keeps that to itself. It returns once the
// removal is on disk. The error wraps ErrUnavailable.
func (c *Conn) Purge(ctx context.Context, stream, subject string) (uint64, error) {
	request, err := json.Marshal(map[string]string{"filter": subject})
	if err != nil {
		return 0, fmt.Errorf("removing %s: %w", subject, err)
	}
	var answer struct {
		Error  *jetstream.APIError `json:"error"`
		Purged uint64              `json:"purged"`
	}
	if err := c.ask(ctx, "$JS.API.STREAM.PURGE."+stream, request, &answer); err != nil {
		return 0, fmt.Errorf("removing %s: %w: %w", subject, ErrUnavailable, err)
	}
	if answer.Error != nil {
		return 0, fmt.Errorf("removing %s: %w: %w", subject, ErrUnavailable, answer.Error)
	}
	if answer.Purged == 0 {
		return 0, nil
	}
	if err := c.SyncStream(ctx, stream); err != nil {
		return 0, fmt.Errorf("removing %s: %w: %w", subject, ErrUnavailable, err)
	}
	return answer.Purged, nil
}
