package broker_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestKV(t *testing.T) {
	dir := t.TempDir()
	conn, stop := brokertest.Start(t, dir)
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	_, err := conn.KV(t.Context(), "NOWHERE")
	require.Error(t, err)
	kv, err := conn.KV(t.Context(), topology.BucketLedger)
	require.NoError(t, err)

	_, ok, err := kv.Get(t.Context(), "a.b")
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, kv.Put(t.Context(), "a.b", []byte("1")))
	require.NoError(t, kv.Put(t.Context(), "a.b", []byte("2")))
	value, ok, err := kv.Get(t.Context(), "a.b")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "2", string(value))

	// What Put writes is what the bucket's own interface reads.
	bucket, err := conn.JS.KeyValue(t.Context(), topology.BucketLedger)
	require.NoError(t, err)
	require.NoError(t, bucket.Delete(t.Context(), "a.b"))
	_, ok, err = kv.Get(t.Context(), "a.b")
	require.NoError(t, err)
	require.False(t, ok)

	for _, key := range []string{"", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "é"} {
		require.ErrorIs(t, kv.Put(t.Context(), key, nil), jetstream.ErrInvalidKey, key)
		_, _, err = kv.Get(t.Context(), key)
		require.ErrorIs(t, err, jetstream.ErrInvalidKey, key)
	}

	stop()
	require.ErrorIs(t, kv.Put(t.Context(), "a.b", nil), broker.ErrUnavailable)
	_, _, err = kv.Get(t.Context(), "a.b")
	require.ErrorIs(t, err, broker.ErrUnavailable)
}
