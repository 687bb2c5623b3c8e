package topology

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// requestTimeout bounds one request. A cluster that changes its leader loses
	// requests: they are never answered, however long one waits.
	requestTimeout = 5 * time.Second
	// requestPause is the pause before a request is repeated.
	requestPause = 250 * time.Millisecond
	// codeUnavailable is JetStream's "system temporarily unavailable": the
	// cluster has no leader.
	codeUnavailable = 10008
)

// insist repeats a request that may be repeated, until it is answered or ctx
// ends.
func insist(ctx context.Context, request func(ctx context.Context) error) error {
	for {
		limited, cancel := context.WithTimeout(ctx, requestTimeout)
		err := request(limited)
		cancel()
		if !unanswered(err) {
			return err
		}
		select {
		case <-time.After(requestPause):
		case <-ctx.Done():
			return fmt.Errorf("%w; the last answer: %w", context.Cause(ctx), err)
		}
	}
}

// peerOffline reports whether a stream could not be placed while a server of the
// cluster was away, as one is for a moment when all start together. With it there
// may be servers enough, so nothing is concluded from that.
func peerOffline(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == codeNoPeers && strings.Contains(api.Description, "peer offline")
}

// unanswered reports whether an error says nothing of the request but that
// nobody took it.
func unanswered(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode == codeUnavailable || peerOffline(err)
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrConnectionReconnecting)
}
