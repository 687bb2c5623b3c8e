// Package brokertest gives tests a real broker: the embedded server on a
// temporary directory, with every stream and bucket in place.
package brokertest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
)

// Layout is what New lays out: two partitions in a store of 1 GiB.
var Layout = topology.Layout{Partitions: 2, Replicas: 1, Store: 1 << 30}

// New starts a server, lays the streams out and connects. All is closed when the test ends.
func New(t testing.TB) *broker.Conn {
	t.Helper()
	conn, _ := Start(t, t.TempDir())
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, Layout))
	return conn
}

// Start starts a server on dir without laying anything out. The returned
// function stops it before the test ends; it may be called more than once.
func Start(t testing.TB, dir string) (*broker.Conn, func()) {
	t.Helper()
	log := zap.NewNop()
	srv, err := broker.StartServer(broker.ServerOptions{
		Dir: dir, MaxStore: Layout.Store, MaxMemory: 64 << 20, SyncInterval: time.Minute,
	}, log)
	require.NoError(t, err)
	conn, err := srv.Connect(t.Name(), log)
	require.NoError(t, err)
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		conn.Close()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		require.NoError(t, srv.Close(ctx))
	}
	t.Cleanup(stop)
	return conn, stop
}
