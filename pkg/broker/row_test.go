package broker

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// What was sent over a connection that is gone may be lost, though what follows
// over the next one is stored.
func TestRowOverTwoConnections(t *testing.T) {
	srv, err := StartServer(ServerOptions{Dir: t.TempDir(), MaxStore: 1 << 26, MaxMemory: 1 << 20, SyncInterval: time.Minute}, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close(context.WithoutCancel(t.Context()))) })
	conn, err := srv.Connect(t.Name(), zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	_, err = conn.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "A", Subjects: []string{"a.>"}})
	require.NoError(t, err)

	m := Message{Subject: "a.x", Data: []byte("x")}
	row := conn.row()
	require.NoError(t, row.send(&m))
	back := make(chan struct{})
	conn.NATS.SetReconnectHandler(func(*nats.Conn) { close(back) })
	require.NoError(t, conn.NATS.ForceReconnect())
	<-back
	_, err = row.end(t.Context(), m)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, errDisconnected)
	_, err = conn.row().end(t.Context(), m)
	require.NoError(t, err)
}
