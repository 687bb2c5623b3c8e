package registry_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestReachWaitsForWhatTheLeaderHas(t *testing.T) {
	conn := brokertest.New(t)
	o := registry.Options{Sealer: newSealer(t)}
	one, _ := open(t, conn, o)
	two, _ := open(t, conn, o)
	revision := fill(t, one)
	require.NoError(t, two.Reach(t.Context(), revision))
	require.GreaterOrEqual(t, two.Snapshot().Revision(), revision)
	require.NoError(t, two.Reach(t.Context(), 0))
}

func TestReachDoesNotWaitForARevisionThatWillNotCome(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	r, _ := open(t, brokertest.New(t), registry.Options{Sealer: newSealer(t), Log: zap.New(core)})
	revision := fill(t, r)
	for range 3 {
		require.NoError(t, r.Reach(t.Context(), revision+100))
	}
	require.Equal(t, 1, logs.FilterMessageSnippet("restored from an older copy").Len(), "said once")
}

func TestReachOutlastsTheBroker(t *testing.T) {
	conn, stop := brokertest.Start(t, t.TempDir())
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	r, err := registry.Open(t.Context(), conn.JS, registry.Options{Sealer: newSealer(t)})
	require.NoError(t, err)
	stop()
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Reach(ctx, 1000) }()
	over := errors.New("over")
	cancel(over)
	require.ErrorIs(t, <-ended, over)
}
