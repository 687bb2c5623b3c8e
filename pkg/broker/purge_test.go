package broker_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestPurge(t *testing.T) {
	conn := brokertest.New(t)
	for i := range 10 {
		_, err := conn.Publish(t.Context(), broker.Message{Subject: fmt.Sprintf("journal.shop.ep%d.x%d", i, i%2), Data: []byte("x")})
		require.NoError(t, err)
	}
	for _, want := range []uint64{5, 0} {
		n, err := conn.Purge(t.Context(), topology.StreamJournal, "journal.shop.*.x1")
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	left, err := conn.Count(t.Context(), topology.StreamJournal, "")
	require.NoError(t, err)
	require.EqualValues(t, 5, left)
	_, err = conn.Purge(t.Context(), "NONE", "x")
	require.ErrorIs(t, err, broker.ErrUnavailable)
	require.ErrorContains(t, err, "stream not found")
}
