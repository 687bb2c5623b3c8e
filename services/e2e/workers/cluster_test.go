package workers

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/services/e2e"
)

// Where nobody says how many copies a stream has, a cluster of three keeps
// three of each, and a later start changes nothing; what the servers can't keep
// is refused at the start.
func TestReplicas(t *testing.T) {
	t.Parallel()
	cluster, single := e2e.StartNATSCluster(t, binaries, 3), e2e.StartNATS(t, binaries)
	redis := e2e.StartRedis(t)
	for _, test := range []struct {
		nats *e2e.NATS
		want int
	}{
		{cluster[0], 3},
		{single, 1},
	} {
		s := e2e.NewSystem(t, binaries)
		env := e2e.Environment(test.nats.URL, redis.URL)
		ops := s.Add("ops", "ops", env)
		ops.Start()
		require.Equal(t, test.want, leastReplicas(t, test.nats.URL))
		ops.Stop()
		ops.Start()
		require.Equal(t, test.want, leastReplicas(t, test.nats.URL), "as before")
		ops.Stop()
		require.Contains(t, binaries.Fail(t, env, "ops", "--replicas", "5"), "can't keep 5 copies of a stream: have as many servers")
	}
}

// leastReplicas is how many copies each stream has at least.
func leastReplicas(t *testing.T, url string) int {
	t.Helper()
	conn, err := broker.Connect(url, "test", zap.NewNop())
	require.NoError(t, err)
	defer conn.Close()
	least, streams := 99, 0
	for info := range conn.JS.ListStreams(t.Context()).Info() {
		least = min(least, info.Config.Replicas)
		streams++
	}
	require.Greater(t, streams, 20)
	return least
}

// A process that is started before NATS waits for it.
func TestStartBeforeNATS(t *testing.T) {
	t.Parallel()
	s := e2e.NewSystem(t, binaries)
	s.NATS, s.Redis = e2e.StartNATS(t, binaries), e2e.StartRedis(t)
	env := e2e.Environment(s.NATS.URL, s.Redis.URL)
	s.NATS.Kill()
	s.Redis.Kill()
	for _, command := range []string{"ops", "delivery-worker", "bot-worker", "ingest"} {
		s.Add(command, command, env).Launch()
	}
	for _, service := range s.Services {
		require.Eventually(t, func() bool { return service.Says("NATS is not there; waiting for it") }, e2e.ReadyWithin, 20*time.Millisecond, service.Name())
		require.True(t, service.Running())
		require.False(t, service.Ready())
	}
	s.NATS.Start()
	for _, service := range s.Services {
		service.AwaitReady()
	}
	shop := e2e.NewCustomer(t, s, "shop", "echo")
	shop.Say("anna", "hello")
	shop.Await(1)
	s.Redis.Start()
}
