package broker_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

func options(dir string) broker.ServerOptions {
	return broker.ServerOptions{Dir: dir, MaxStore: 1 << 30, MaxMemory: 64 << 20, SyncInterval: time.Minute}
}

func TestOneServerADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when", "missing")
	first, err := broker.StartServer(options(dir), zap.NewNop())
	require.NoError(t, err)
	_, err = broker.StartServer(options(dir), zap.NewNop())
	require.ErrorIs(t, err, broker.ErrLocked)
	require.ErrorContains(t, err, dir)
	require.ErrorContains(t, err, "choose another --data-dir")
	require.NoError(t, first.Close(t.Context()))

	second, err := broker.StartServer(options(dir), zap.NewNop())
	require.NoError(t, err, "who stops lets go of it")
	require.NoError(t, second.Close(t.Context()))
}

func TestRestartKeepsMessages(t *testing.T) {
	dir := t.TempDir()
	conn, stop := brokertest.Start(t, dir)
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	for range 100 {
		_, err := conn.Publish(t.Context(), broker.Message{Subject: subject, Data: []byte("kept")})
		require.NoError(t, err)
	}
	stop()
	conn, _ = brokertest.Start(t, dir)
	stream, err := conn.JS.Stream(t.Context(), topology.HotStream(chat.StageUser, 1))
	require.NoError(t, err)
	require.EqualValues(t, 100, stream.CachedInfo().State.Msgs)
	seq, err := conn.Publish(t.Context(), broker.Message{Subject: subject})
	require.NoError(t, err)
	require.EqualValues(t, 101, seq)
}

func TestSyncAlways(t *testing.T) {
	o := options(t.TempDir())
	o.SyncAlways, o.SyncInterval = true, 0
	srv, err := broker.StartServer(o, zap.NewNop())
	require.NoError(t, err)
	defer func() { require.NoError(t, srv.Close(t.Context())) }()
	conn, err := srv.Connect("test", zap.NewNop())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	_, err = conn.Publish(t.Context(), broker.Message{Subject: subject})
	require.NoError(t, err)
	require.Empty(t, srv.ClientURL(), "it doesn't listen")
}

func TestListen(t *testing.T) {
	o := options(t.TempDir())
	o.Listen = "127.0.0.1:0"
	srv, err := broker.StartServer(o, zap.NewNop())
	require.NoError(t, err)
	defer func() { require.NoError(t, srv.Close(t.Context())) }()
	conn, err := broker.Connect(srv.ClientURL(), "outside", zap.NewNop())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.Ready())
}

func TestStartThatFailsSaysWhyAndLetsGo(t *testing.T) {
	dir := t.TempDir()
	inTheWay := filepath.Join(dir, "jetstream")
	require.NoError(t, os.WriteFile(inTheWay, nil, 0o600))
	_, err := broker.StartServer(options(dir), zap.NewNop())
	require.ErrorContains(t, err, "Can't start JetStream")

	taken, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed below
	require.NoError(t, err)
	defer taken.Close()
	require.NoError(t, os.Remove(inTheWay))
	o := options(dir)
	o.Listen = taken.Addr().String()
	_, err = broker.StartServer(o, zap.NewNop())
	require.ErrorContains(t, err, "address already in use")

	for want, change := range map[string]func(*broker.ServerOptions){
		"is no address: write it like 127.0.0.1:4222": func(o *broker.ServerOptions) { o.Listen = "nowhere" },
		"has no port number":                          func(o *broker.ServerOptions) { o.Listen = "127.0.0.1:x" },
		"needs a directory and limits":                func(o *broker.ServerOptions) { o.MaxStore = 0 },
		"making the data directory":                   func(o *broker.ServerOptions) { o.Dir = filepath.Join(dir, "lock", "x") },
	} {
		o := options(dir)
		change(&o)
		_, err := broker.StartServer(o, zap.NewNop())
		require.ErrorContains(t, err, want)
	}

	srv, err := broker.StartServer(options(dir), zap.NewNop())
	require.NoError(t, err, "none of them has kept the lock")
	require.NoError(t, srv.Close(t.Context()))
}

func TestConnectShowsNoPassword(t *testing.T) {
	unused, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	require.NoError(t, err)
	addr := unused.Addr().String()
	require.NoError(t, unused.Close())
	for url, want := range map[string]string{
		"nats://joe:s3cret@" + addr:                          "NATS at " + addr,
		"joe:s3cret@" + addr + ", nats://joe:s3cret@" + addr: addr + "," + addr,
		"nats://joe:s3cret/x@127.0.0.1:4222":                 "the NATS URL can't be read: write it like nats://host:4222",
		"nats://joe:s3cret@host:port":                        "the NATS URL can't be read",
	} {
		_, err := broker.Connect(url, "test", zap.NewNop())
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "s3cret")
	}
}
