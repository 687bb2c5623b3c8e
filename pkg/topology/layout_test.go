package topology_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

var t0 = time.UnixMilli(1_700_000_000_000)

func TestLayoutIsChecked(t *testing.T) {
	good := topology.Layout{Partitions: topology.DefaultPartitions, Replicas: 1, Store: topology.MinStore}
	require.NoError(t, good.Validate())
	for want, change := range map[string]func(*topology.Layout){
		"set it to 1..256":           func(l *topology.Layout) { l.Partitions = 0 },
		"partitions is 257":          func(l *topology.Layout) { l.Partitions = 257 },
		"set it to 1, 3 or 5":        func(l *topology.Layout) { l.Replicas = 2 },
		"give it at least 268435456": func(l *topology.Layout) { l.Store-- },
		"too little for each of 256": func(l *topology.Layout) { l.Partitions = 256 },
		"an age limit is negative":   func(l *topology.Layout) { l.AuditAge = -1 },
	} {
		l := good
		change(&l)
		require.ErrorContains(t, l.Validate(), want)
	}
}

func TestAdviceOnTheStoreIsRight(t *testing.T) {
	for _, partitions := range []int{16, 17, 100, 256} {
		l := topology.Layout{Partitions: partitions, Replicas: 1, Store: topology.MinStore}
		_, advice, ok := strings.Cut(l.Validate().Error(), "give it at least ")
		require.True(t, ok)
		mib, err := strconv.ParseInt(strings.Fields(advice)[0], 10, 64)
		require.NoError(t, err)
		l.Store = mib << 20
		require.NoError(t, l.Validate())
	}
}

func TestLimitsStayBelowTheStore(t *testing.T) {
	for _, l := range []topology.Layout{
		{Partitions: 1, Replicas: 1, Store: topology.MinStore},
		{Partitions: 8, Replicas: 1, Store: topology.MinStore + 999},
		{Partitions: 7, Replicas: 3, Store: 10 << 30},
		{Partitions: 256, Replicas: 5, Store: 1 << 40},
	} {
		require.NoError(t, l.Validate())
		var sum int64
		for _, s := range l.Streams() {
			require.Positive(t, s.MaxBytes, s.Name)
			sum += s.MaxBytes
		}
		for _, b := range l.Buckets() {
			require.Positive(t, b.MaxBytes, b.Bucket)
			sum += b.MaxBytes
		}
		require.LessOrEqual(t, sum, l.Store/10*8)
		require.Greater(t, sum, l.Store/10*7)
	}
}

func TestStreamsRefuseInsteadOfForgetting(t *testing.T) {
	for _, s := range brokertest.Layout.Streams() {
		require.Equal(t, brokertest.Layout.Replicas, s.Replicas, s.Name)
		if s.Name == topology.StreamJournal || s.Name == topology.StreamAudit {
			require.Equal(t, jetstream.DiscardOld, s.Discard)
			continue
		}
		require.Equal(t, jetstream.DiscardNew, s.Discard, s.Name)
	}
}

// Reads at a replica lag, so only what has none may be read directly.
func TestDirectReads(t *testing.T) {
	direct := map[string]bool{topology.StreamSessions: true}
	for _, stage := range []chat.Stage{chat.StageUser, chat.StageBot} {
		direct[topology.ParkedStream(stage)] = true
		for p := range brokertest.Layout.Partitions {
			direct[topology.HotStream(stage, p)] = true
		}
	}
	for _, replicas := range []int{1, 3, 5} {
		l := brokertest.Layout
		l.Replicas = replicas
		for _, s := range l.Streams() {
			require.Equal(t, replicas == 1 && direct[s.Name], s.AllowDirect, "%s, %d copies", s.Name, replicas)
		}
	}
}

func TestEnsure(t *testing.T) {
	conn, _ := brokertest.Start(t, t.TempDir())
	l := brokertest.Layout
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, l))
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, l), "once more changes nothing")
	limit := func(name string) int64 {
		stream, err := conn.JS.Stream(t.Context(), name)
		require.NoError(t, err)
		return stream.CachedInfo().Config.MaxBytes
	}
	for _, s := range l.Streams() {
		require.Equal(t, s.MaxBytes, limit(s.Name), s.Name)
	}

	// Messages survive a change of the limits, also to less than they take.
	key := chat.KeyOf("shop", "1")
	subject := topology.HotSubject(chat.StageUser, 0, "shop", key)
	const waiting = 50
	for range waiting {
		_, err := conn.Publish(t.Context(), broker.Message{Subject: subject, Data: make([]byte, 1<<20-1024)})
		require.NoError(t, err)
	}
	l.Store, l.JournalAge = topology.MinStore, time.Hour
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, l))
	for _, s := range l.Streams() {
		require.Equal(t, s.MaxBytes, limit(s.Name), s.Name)
	}
	stream, err := conn.JS.Stream(t.Context(), topology.HotStream(chat.StageUser, 0))
	require.NoError(t, err)
	require.Greater(t, stream.CachedInfo().State.Bytes, uint64(stream.CachedInfo().Config.MaxBytes))
	require.EqualValues(t, waiting, stream.CachedInfo().State.Msgs, "accepted means kept")
	_, err = conn.Publish(t.Context(), broker.Message{Subject: subject, Data: []byte("x")})
	require.ErrorIs(t, err, broker.ErrFull)

	l.Partitions = 3
	err = topology.Ensure(t.Context(), conn.JS, l)
	require.EqualError(t, err, "the deployment has 2 partitions, this process was told 3: start it with --partitions 2")
	_, err = conn.JS.Stream(t.Context(), topology.HotStream(chat.StageUser, 2))
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound, "a refused layout makes nothing")
	l.Partitions = 0
	require.ErrorContains(t, topology.Ensure(t.Context(), conn.JS, l), "partitions is 0")
}

func TestEnsureTakesOverLeasesWithDirectReads(t *testing.T) {
	conn, _ := brokertest.Start(t, t.TempDir())
	_, err := conn.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: topology.BucketLeases, History: 1, LimitMarkerTTL: time.Minute})
	require.NoError(t, err)
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	kv, err := conn.JS.KeyValue(t.Context(), topology.BucketLeases)
	require.NoError(t, err)
	_, err = kv.Create(t.Context(), "user.0", []byte("one"), jetstream.KeyTTL(time.Hour))
	require.NoError(t, err)
	_, err = kv.Create(t.Context(), "user.0", []byte("two"))
	require.ErrorIs(t, err, jetstream.ErrKeyExists)
	entry, err := kv.Get(t.Context(), "user.0")
	require.NoError(t, err)
	require.Equal(t, "one", string(entry.Value()))
	require.NoError(t, kv.Delete(t.Context(), "user.0"))
	status, err := kv.Status(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, status.History())
	require.Equal(t, time.Minute, status.LimitMarkerTTL())
}

// A store of a version that had no audit gets it at the next start, and its
// entries are synced and can't be removed.
func TestEnsureAddsTheAudit(t *testing.T) {
	conn, _ := brokertest.Start(t, t.TempDir())
	l := brokertest.Layout
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, l))
	require.NoError(t, conn.JS.DeleteStream(t.Context(), topology.StreamAudit))
	journal, err := conn.JS.Stream(t.Context(), topology.StreamJournal)
	require.NoError(t, err)
	former := journal.CachedInfo().Config
	former.MaxBytes = l.Store / 1000 * 60
	_, err = conn.JS.UpdateStream(t.Context(), former)
	require.NoError(t, err)

	require.NoError(t, topology.Ensure(t.Context(), conn.JS, l))
	stream, err := conn.JS.Stream(t.Context(), topology.StreamAudit)
	require.NoError(t, err)
	require.Equal(t, 400*24*time.Hour, stream.CachedInfo().Config.MaxAge)
	seq, err := conn.Publish(t.Context(), broker.Message{Subject: topology.AuditSubject("endpoint"), Data: []byte("{}")})
	require.NoError(t, err)
	require.Error(t, stream.DeleteMsg(t.Context(), seq))
	require.Error(t, stream.Purge(t.Context()))
	require.NotContains(t, topology.Unsynced(), topology.StreamAudit)
}

func TestEnsureSaysWhereThereIsNoRoom(t *testing.T) {
	conn, _ := brokertest.Start(t, t.TempDir())
	l := brokertest.Layout
	l.Store *= 4
	require.ErrorContains(t, topology.Ensure(t.Context(), conn.JS, l), "lower --store-max")
}

func TestWhereAConversationStandsIsFixed(t *testing.T) {
	// What is stored depends on it: a change here strands every conversation.
	key := chat.KeyOf("shop", "1")
	require.Equal(t, 6, key.Partition(8))
	require.Equal(t, "user.6.shop.974b0a55c4fe7ea63029e8d83e2f08b7", topology.HotSubject(chat.StageUser, 6, "shop", key))
	require.Equal(t, "session.6.974b0a55c4fe7ea63029e8d83e2f08b7", topology.SessionSubject(6, key))
	require.Equal(t, "USER_6", topology.HotStream(chat.StageUser, 6))
	require.Equal(t, "BOT_PARKED", topology.ParkedStream(chat.StageBot))
}
