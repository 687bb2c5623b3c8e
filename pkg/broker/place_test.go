package broker_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestPlaces(t *testing.T) {
	conn := brokertest.New(t)
	span, err := conn.SpanOf(t.Context(), topology.StreamJournal)
	require.NoError(t, err)
	require.Equal(t, broker.Span{First: 1}, span)
	seq, err := conn.SeqAt(t.Context(), topology.StreamJournal, time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.EqualValues(t, 1, seq)

	for range 5 {
		_, err := conn.Publish(t.Context(), broker.Message{Subject: "journal.shop.-.1", Data: []byte("x")})
		require.NoError(t, err)
	}
	stream, err := conn.JS.Stream(t.Context(), topology.StreamJournal)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(t.Context(), jetstream.WithPurgeSequence(3)))
	span, err = conn.SpanOf(t.Context(), topology.StreamJournal)
	require.NoError(t, err)
	require.Equal(t, broker.Span{First: 3, Last: 5}, span)
	fourth, err := stream.GetMsg(t.Context(), 4)
	require.NoError(t, err)
	for at, want := range map[time.Time]uint64{
		fourth.Time.Add(-time.Hour): 3, fourth.Time: 4, fourth.Time.Add(time.Hour): 6,
	} {
		seq, err := conn.SeqAt(t.Context(), topology.StreamJournal, at)
		require.NoError(t, err)
		require.Equal(t, want, seq)
	}
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	require.Zero(t, info.State.Consumers, "no consumer stays behind")
	conn.Close()
	_, err = conn.SpanOf(t.Context(), topology.StreamJournal)
	require.ErrorIs(t, err, broker.ErrUnavailable)
	_, err = conn.SeqAt(t.Context(), topology.StreamJournal, time.Now())
	require.ErrorIs(t, err, broker.ErrUnavailable)
}
