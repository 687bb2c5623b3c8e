package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/topology"
)

// A connection that was lost is counted once it is back; the clocks of one
// machine don't differ.
func TestMonitor(t *testing.T) {
	server := brokertest.NewServer(t)
	conn := server.Connect("monitored")
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	reg := prometheus.NewRegistry()
	m := broker.NewMonitor(conn, topology.StreamDead, reg, zap.NewNop())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	server.Stop()
	server.Start()
	require.Eventually(t, func() bool { return conn.Ready() == nil && conn.NATS.Stats().Reconnects > 0 }, 20*time.Second, 5*time.Millisecond)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP parley_broker_reconnects_total Times that the connection to NATS was lost and made anew.
# TYPE parley_broker_reconnects_total counter
parley_broker_reconnects_total 1
`), "parley_broker_reconnects_total"))
	skew, err := conn.Skew(t.Context(), topology.StreamDead)
	require.NoError(t, err)
	require.Less(t, skew.Abs(), time.Second)
	stop()
	require.NoError(t, <-done)
}
