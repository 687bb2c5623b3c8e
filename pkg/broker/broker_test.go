package broker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestPublish(t *testing.T) {
	conn := brokertest.New(t)
	subject := topology.HotSubject(chat.StageUser, 1, "shop", chat.KeyOf("shop", "1"))
	seq, err := conn.Publish(t.Context(), broker.Message{Subject: subject, Data: []byte("a")})
	require.NoError(t, err)
	require.EqualValues(t, 1, seq)

	zero := uint64(0)
	_, err = conn.Publish(t.Context(), broker.Message{Subject: subject, Data: []byte("b"), ExpectLast: &zero})
	require.ErrorIs(t, err, broker.ErrConflict)
	_, err = conn.Publish(t.Context(), broker.Message{Subject: "nobody.listens", Data: []byte("b")})
	require.ErrorIs(t, err, broker.ErrUnavailable)
}
