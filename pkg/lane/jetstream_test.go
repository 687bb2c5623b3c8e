package lane_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/topology"
)

// A connection that was lost takes acknowledgements with it, and a server that
// was started again has forgotten its consumers: the partition begins anew,
// with the oldest message that remains.
func TestReconnectEndsTheSource(t *testing.T) {
	conn := brokertest.New(t)
	store, err := lane.NewJetStream(t.Context(), conn, chat.StageBot, 0)
	require.NoError(t, err)
	_, err = conn.Publish(t.Context(), broker.Message{
		Subject: topology.HotSubject(chat.StageBot, 0, "c", chat.ConversationKey{}), Data: []byte("one"),
	})
	require.NoError(t, err)

	source, err := store.Open(t.Context(), 1)
	require.NoError(t, err)
	first, err := source.Next(t.Context())
	require.NoError(t, err)
	require.NoError(t, conn.NATS.ForceReconnect())
	_, err = source.Next(t.Context())
	require.ErrorContains(t, err, "the connection was lost")
	require.NoError(t, source.Close(t.Context(), false))

	source, err = store.Open(t.Context(), 1)
	require.NoError(t, err)
	again, err := source.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, first.Seq, again.Seq)
	require.NoError(t, source.Close(t.Context(), true))
}
