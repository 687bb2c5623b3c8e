package health

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

const patience = 20 * time.Second

// What a Board expects of a store, over both.
func TestStores(t *testing.T) {
	t.Run("memory", func(t *testing.T) { testStore(t, newMemory()) })
	t.Run("bucket", func(t *testing.T) {
		bucket, err := NewBucket(t.Context(), brokertest.New(t), zap.NewNop())
		require.NoError(t, err)
		testStore(t, bucket)
	})
}

func testStore(t *testing.T, s Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seen, alive := make(chan Entry, 100), make(chan int, 100)
	watch := func() <-chan error {
		ended := make(chan error, 1)
		go func() {
			ended <- s.Watch(ctx, func(e Entry) { seen <- e }, func() { alive <- len(seen) })
		}()
		return ended
	}
	ended := watch()
	require.Zero(t, receive(t, alive), "nothing is there")

	key, other := topology.HealthKey(chat.StageBot, "crm"), topology.HealthKey(chat.StageBot, "erp")
	e, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, Entry{Key: key}, e)

	one := Record{Open: true, At: epoch.UTC(), Openings: 1, NextProbe: after(time.Second).UTC(), Failures: 10, FailingSince: epoch.UTC(), LastFailure: epoch.UTC()}
	first, err := s.Put(t.Context(), key, one, 0)
	require.NoError(t, err)
	require.Equal(t, Entry{key, one, first}, receive(t, seen))
	_, err = s.Put(t.Context(), key, one, 0)
	require.ErrorIs(t, err, broker.ErrConflict)
	two := Record{At: after(time.Second).UTC(), LastSuccess: after(time.Second).UTC()}
	_, err = s.Put(t.Context(), key, two, first+1)
	require.ErrorIs(t, err, broker.ErrConflict)
	second, err := s.Put(t.Context(), key, two, first)
	require.NoError(t, err)
	require.Greater(t, second, first)
	_, err = s.Put(t.Context(), key, one, first)
	require.ErrorIs(t, err, broker.ErrConflict)
	require.Equal(t, Entry{key, two, second}, receive(t, seen))
	e, err = s.Get(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, Entry{key, two, second}, e)

	third, err := s.Put(t.Context(), other, one, 0)
	require.NoError(t, err)
	require.Equal(t, Entry{other, one, third}, receive(t, seen))

	cancel()
	require.ErrorIs(t, receive(t, ended), context.Canceled)
	ctx = t.Context()
	ctx, cancel = context.WithCancel(ctx)
	ended = watch()
	require.Equal(t, 2, receive(t, alive), "all that is there comes first")
	got := map[string]Entry{}
	for range 2 {
		e := receive(t, seen)
		got[e.Key] = e
	}
	require.Equal(t, map[string]Entry{key: {key, two, second}, other: {other, one, third}}, got)
	cancel()
	require.ErrorIs(t, receive(t, ended), context.Canceled)
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		require.Fail(t, "nothing came")
	}
	return v
}

// A record that has gone says which revision comes before the next, and whether
// or not its marker is still there the next can be written.
func TestBucketRecordsThatHaveGone(t *testing.T) {
	conn := brokertest.New(t)
	bucket, err := NewBucket(t.Context(), conn, zap.NewNop())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	seen, ended := make(chan Entry, 10), make(chan error, 1)
	go func() { ended <- bucket.Watch(ctx, func(e Entry) { seen <- e }, func() {}) }()

	revision, err := bucket.Put(t.Context(), "bot.crm", Record{At: epoch.UTC()}, 0)
	require.NoError(t, err)
	receive(t, seen)
	require.NoError(t, bucket.kv.Delete(t.Context(), "bot.crm"))
	gone := Entry{Key: "bot.crm", Revision: revision + 1}
	require.Equal(t, gone, receive(t, seen))
	e, err := bucket.Get(t.Context(), "bot.crm")
	require.NoError(t, err)
	require.Equal(t, gone, e)
	revision, err = bucket.Put(t.Context(), "bot.crm", Record{At: epoch.UTC()}, e.Revision)
	require.NoError(t, err)
	receive(t, seen)

	require.NoError(t, bucket.stream.Purge(t.Context()))
	e, err = bucket.Get(t.Context(), "bot.crm")
	require.NoError(t, err)
	require.Equal(t, Entry{Key: "bot.crm"}, e)
	_, err = bucket.Put(t.Context(), "bot.crm", Record{}, revision)
	require.ErrorIs(t, err, broker.ErrConflict)
	_, err = bucket.Put(t.Context(), "bot.crm", Record{}, e.Revision)
	require.NoError(t, err)
	receive(t, seen)

	_, err = conn.Publish(t.Context(), broker.Message{Subject: topology.KeySubject(topology.BucketHealth, "bot.erp"), Data: []byte("{")})
	require.NoError(t, err)
	e = receive(t, seen)
	require.Equal(t, Entry{Key: "bot.erp", Revision: e.Revision}, e, "what can't be read counts as none")
	cancel()
	require.ErrorIs(t, receive(t, ended), context.Canceled)
}

// How long a record is kept, by what the server has been told.
func TestBucketRecordsAge(t *testing.T) {
	bucket, err := NewBucket(t.Context(), brokertest.New(t), zap.NewNop())
	require.NoError(t, err)
	for want, r := range map[string]Record{"1h0m0s": {At: epoch}, "720h0m0s": {Open: true, At: epoch}} {
		_, err := bucket.Put(t.Context(), "bot."+want, r, 0)
		require.NoError(t, err)
		msg, err := bucket.stream.GetLastMsgForSubject(t.Context(), topology.KeySubject(topology.BucketHealth, "bot."+want))
		require.NoError(t, err)
		require.Equal(t, want, msg.Header.Get("Nats-TTL"))
	}
}

func TestBucketThatIsAway(t *testing.T) {
	conn, stop := brokertest.Start(t, t.TempDir())
	_, err := NewBucket(t.Context(), conn, zap.NewNop())
	require.ErrorContains(t, err, "bucket HEALTH")
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	bucket, err := NewBucket(t.Context(), conn, zap.NewNop())
	require.NoError(t, err)
	stop()
	_, err = bucket.Put(t.Context(), "bot.crm", Record{}, 0)
	require.ErrorIs(t, err, broker.ErrUnavailable)
	require.False(t, errors.Is(err, broker.ErrConflict))
	_, err = bucket.Get(t.Context(), "bot.crm")
	require.ErrorIs(t, err, broker.ErrUnavailable)
	require.Error(t, bucket.Watch(t.Context(), func(Entry) {}, func() { require.Fail(t, "it is not alive") }))
}
