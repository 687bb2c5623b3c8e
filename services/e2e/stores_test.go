package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The stores come back where they were: what tests of faults stand on.
func TestStoresRestart(t *testing.T) {
	nats := StartNATS(t, binaries)
	url := nats.URL
	nats.Kill()
	require.False(t, nats.Running())
	nats.Start()
	require.Equal(t, url, nats.URL)
	require.True(t, nats.Running())
	nats.Kill()

	redis := StartRedis(t)
	redis.Kill()
	redis.Start()
	require.True(t, redis.Running())
	redis.Stop()
}
