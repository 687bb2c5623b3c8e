package topology

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// A request that nobody answered is repeated until somebody does.
func TestInsist(t *testing.T) {
	refused := &jetstream.APIError{Code: 400, ErrorCode: codeNoRoom}
	offline := &jetstream.APIError{Code: 400, ErrorCode: codeNoPeers, Description: "no suitable peers for placement, peer offline"}
	tooFew := &jetstream.APIError{Code: 400, ErrorCode: codeNoPeers, Description: "no suitable peers for placement"}
	for _, test := range []struct {
		name  string
		lost  []error // the first answers
		last  error
		tries int
	}{
		{name: "answered", tries: 1},
		{name: "refused", last: refused, tries: 1},
		{name: "lost", lost: []error{context.DeadlineExceeded, nats.ErrNoResponders}, tries: 3},
		{name: "no leader", lost: []error{&jetstream.APIError{Code: 503, ErrorCode: codeUnavailable}}, last: refused, tries: 2},
		{name: "a server that starts too", lost: []error{offline, offline}, tries: 3},
		{name: "too few servers", last: tooFew, tries: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				err := insist(t.Context(), func(context.Context) error {
					if tries++; tries <= len(test.lost) {
						return test.lost[tries-1]
					}
					return test.last
				})
				require.Equal(t, test.last, err)
				require.Equal(t, test.tries, tries)
			})
		})
	}
}

// A request that is never answered is given up with the context, and says so.
func TestInsistEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("not ready in time")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 12*requestTimeout, cause)
		defer cancel()
		tries := 0
		err := insist(ctx, func(ctx context.Context) error {
			tries++
			<-ctx.Done()
			return ctx.Err()
		})
		require.ErrorIs(t, err, cause)
		require.Greater(t, tries, 10)
	})
}
