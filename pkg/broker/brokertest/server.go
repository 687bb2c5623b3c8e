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

// Server is a broker that can go away and come back at the same address, with
// what it had on disk.
type Server struct {
	t       testing.TB
	options broker.ServerOptions
	server  *broker.Server // nil while it is away
}

// NewServer starts a server with every stream and bucket in place. It is stopped
// when the test ends.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, options: broker.ServerOptions{
		Dir: t.TempDir(), MaxStore: Layout.Store, MaxMemory: 64 << 20, SyncInterval: time.Minute, Listen: "127.0.0.1:0",
	}}
	t.Cleanup(s.Stop)
	s.Start()
	s.options.Listen = s.server.ClientURL()[len("nats://"):]
	require.NoError(t, topology.Ensure(t.Context(), s.Connect("layout").JS, Layout))
	return s
}

// Start starts the server that was stopped.
func (s *Server) Start() {
	s.t.Helper()
	var err error
	s.server, err = broker.StartServer(s.options, zap.NewNop())
	require.NoError(s.t, err)
}

// Stop stops the server; it may be called more than once.
func (s *Server) Stop() {
	if s.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), 30*time.Second)
	defer cancel()
	require.NoError(s.t, s.server.Close(ctx))
	s.server = nil
}

// URL is where it listens.
func (s *Server) URL() string { return "nats://" + s.options.Listen }

// Connect returns a connection of its own, which is closed when the test ends.
func (s *Server) Connect(name string) *broker.Conn {
	s.t.Helper()
	conn, err := broker.Connect(s.URL(), name, zap.NewNop())
	require.NoError(s.t, err)
	s.t.Cleanup(conn.Close)
	return conn
}
