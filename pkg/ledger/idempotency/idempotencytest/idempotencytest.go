// Package idempotencytest gives tests a store of idempotency keys on a Redis in
// the test's own process.
package idempotencytest

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/ledger/idempotency"
)

// New starts a Redis and opens a store on it; both end with the test.
func New(t testing.TB) (*idempotency.Store, *miniredis.Miniredis) {
	t.Helper()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return idempotency.New(client), server
}
