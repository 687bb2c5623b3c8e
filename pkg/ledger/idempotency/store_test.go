package idempotency_test

import (
	"crypto/sha256"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/ledger/idempotency"
	"github.com/parleyhq/parley/pkg/ledger/idempotency/idempotencytest"
)

var (
	bodyA = sha256.Sum256([]byte("a"))
	bodyB = sha256.Sum256([]byte("b"))
)

func requireState(t *testing.T, s *idempotency.Store, channel, key string, body [32]byte, want idempotency.State) idempotency.Claim {
	t.Helper()
	state, claim, err := s.Begin(t.Context(), channel, key, body)
	require.NoError(t, err)
	require.Equal(t, want, state)
	return claim
}

func TestStates(t *testing.T) {
	s, server := idempotencytest.New(t)
	claim := requireState(t, s, "shop", "k", bodyA, idempotency.Claimed)
	requireState(t, s, "shop", "k", bodyA, idempotency.InProgress)
	requireState(t, s, "shop", "k", bodyB, idempotency.Mismatch)
	requireState(t, s, "other", "k", bodyB, idempotency.Claimed)
	requireState(t, s, "shop", "k2", bodyB, idempotency.Claimed)

	require.NoError(t, s.Finish(t.Context(), claim))
	requireState(t, s, "shop", "k", bodyA, idempotency.Done)
	requireState(t, s, "shop", "k", bodyB, idempotency.Mismatch)
	require.NoError(t, s.Release(t.Context(), claim), "releasing what is done changes nothing")
	requireState(t, s, "shop", "k", bodyA, idempotency.Done)

	server.FastForward(24*time.Hour + time.Second)
	requireState(t, s, "shop", "k", bodyB, idempotency.Claimed)
}

func TestReleaseFreesTheKey(t *testing.T) {
	s, _ := idempotencytest.New(t)
	claim := requireState(t, s, "shop", "k", bodyA, idempotency.Claimed)
	require.NoError(t, s.Release(t.Context(), claim))
	requireState(t, s, "shop", "k", bodyB, idempotency.Claimed)
}

func TestExpiredClaimCannotTouchItsSuccessor(t *testing.T) {
	s, server := idempotencytest.New(t)
	old := requireState(t, s, "shop", "k", bodyA, idempotency.Claimed)
	server.FastForward(31 * time.Second)
	requireState(t, s, "shop", "k", bodyA, idempotency.Claimed)
	require.NoError(t, s.Finish(t.Context(), old))
	requireState(t, s, "shop", "k", bodyA, idempotency.InProgress)
	require.NoError(t, s.Release(t.Context(), old))
	requireState(t, s, "shop", "k", bodyA, idempotency.InProgress)
}

func TestOneOfManyClaims(t *testing.T) {
	s, _ := idempotencytest.New(t)
	states := make([]idempotency.State, 16)
	var wg sync.WaitGroup
	for i := range states {
		wg.Go(func() {
			var err error
			if states[i], _, err = s.Begin(t.Context(), "shop", "k", bodyA); err != nil {
				states[i] = -1
			}
		})
	}
	wg.Wait()
	count := map[idempotency.State]int{}
	for _, state := range states {
		count[state]++
	}
	require.Equal(t, map[idempotency.State]int{idempotency.Claimed: 1, idempotency.InProgress: 15}, count)
}

func TestRedisGoneAndBack(t *testing.T) {
	s, server := idempotencytest.New(t)
	now := time.Unix(1000, 0)
	idempotency.SetClock(s, func() time.Time { return now })
	server.SetError("LOADING")
	_, _, err := s.Begin(t.Context(), "shop", "k", bodyA)
	require.ErrorIs(t, err, idempotency.ErrUnavailable)

	server.SetError("")
	_, _, err = s.Begin(t.Context(), "shop", "k", bodyA)
	require.ErrorIs(t, err, idempotency.ErrUnavailable, "Redis is left alone for a second")
	now = now.Add(time.Second)
	requireState(t, s, "shop", "k", bodyA, idempotency.Claimed)
}
