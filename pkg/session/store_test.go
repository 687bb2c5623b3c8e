package session_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

var key = chat.KeyOf("shop", "1")

func open(t *testing.T) (*session.Store, *broker.Conn) {
	t.Helper()
	conn := brokertest.New(t)
	store, err := session.New(t.Context(), conn, brokertest.Layout.Partitions)
	require.NoError(t, err)
	return store, conn
}

func record(counter uint64) *chat.Session {
	return &chat.Session{ChannelID: "shop", ConversationID: "1", Epoch: 9, Counter: counter}
}

func TestSaveAndLoad(t *testing.T) {
	store, _ := open(t)
	rec, revision, err := store.Load(t.Context(), key)
	require.NoError(t, err)
	require.Nil(t, rec)
	require.Zero(t, revision)

	first, err := store.Save(t.Context(), key, record(1), 0)
	require.NoError(t, err)
	_, err = store.Save(t.Context(), chat.KeyOf("shop", "2"), record(7), 0)
	require.NoError(t, err)
	second, err := store.Save(t.Context(), key, record(2), first)
	require.NoError(t, err)
	require.Greater(t, second, first)

	rec, revision, err = store.Load(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, second, revision)
	require.Equal(t, record(2), rec)
}

func TestFenced(t *testing.T) {
	store, _ := open(t)
	first, err := store.Save(t.Context(), key, record(1), 0)
	require.NoError(t, err)
	second, err := store.Save(t.Context(), key, record(2), first)
	require.NoError(t, err)

	for name, stale := range map[string]uint64{"none": 0, "the one before": first, "one to come": second + 1} {
		t.Run(name, func(t *testing.T) {
			_, err := store.Save(t.Context(), key, record(99), stale)
			require.ErrorIs(t, err, broker.ErrConflict)
			rec, revision, err := store.Load(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, second, revision)
			require.Equal(t, record(2), rec)
		})
	}
}

// TestOneOfManyWins: of concurrent writes over one revision, one is stored.
func TestOneOfManyWins(t *testing.T) {
	store, _ := open(t)
	revision := uint64(0)
	for range 20 {
		won := make(chan uint64, 8)
		var group sync.WaitGroup
		for n := range uint64(8) {
			group.Go(func() {
				got, err := store.Save(t.Context(), key, record(n), revision)
				if err == nil {
					won <- got
				}
			})
		}
		group.Wait()
		require.Len(t, won, 1)
		revision = <-won
	}
}

// TestGone: however a record went, there is none, at revision 0.
func TestGone(t *testing.T) {
	for name, remove := range map[string]func(*testing.T, jetstream.Stream, uint64){
		"purged": func(t *testing.T, s jetstream.Stream, _ uint64) {
			t.Helper()
			require.NoError(t, s.Purge(t.Context(), jetstream.WithPurgeSubject(topology.SessionSubject(key.Partition(2), key))))
		},
		"all purged": func(t *testing.T, s jetstream.Stream, _ uint64) {
			t.Helper()
			require.NoError(t, s.Purge(t.Context()))
		},
		"deleted": func(t *testing.T, s jetstream.Stream, seq uint64) {
			t.Helper()
			require.NoError(t, s.DeleteMsg(t.Context(), seq))
		},
		"expired": func(*testing.T, jetstream.Stream, uint64) {},
	} {
		t.Run(name, func(t *testing.T) {
			store, conn := open(t)
			stream, err := conn.JS.Stream(t.Context(), topology.StreamSessions)
			require.NoError(t, err)
			config := stream.CachedInfo().Config
			if name == "expired" {
				config.MaxAge, config.Duplicates = 200*time.Millisecond, 100*time.Millisecond
				_, err = conn.JS.UpdateStream(t.Context(), config)
				require.NoError(t, err)
			}
			revision, err := store.Save(t.Context(), key, record(1), 0)
			require.NoError(t, err)
			remove(t, stream, revision)
			require.Eventually(t, func() bool {
				rec, rev, err := store.Load(t.Context(), key)
				return err == nil && rec == nil && rev == 0
			}, 10*time.Second, 10*time.Millisecond)

			_, err = store.Save(t.Context(), key, record(2), revision)
			require.ErrorIs(t, err, broker.ErrConflict, "the lost record's revision counts no more")
			again, err := store.Save(t.Context(), key, record(2), 0)
			require.NoError(t, err)
			require.Greater(t, again, revision)
		})
	}
}

func TestTooLarge(t *testing.T) {
	store, _ := open(t)
	rec := record(1)
	rec.Variables = json.RawMessage(`"` + strings.Repeat("x", session.MaxBytes) + `"`)
	_, err := store.Save(t.Context(), key, rec, 0)
	require.ErrorIs(t, err, session.ErrTooLarge)
	rec.Variables = rec.Variables[:session.MaxBytes-100]
	_, err = store.Save(t.Context(), key, rec, 0)
	require.NoError(t, err)
}

func TestUndecodable(t *testing.T) {
	store, conn := open(t)
	broken, err := conn.Publish(t.Context(), broker.Message{
		Subject: topology.SessionSubject(key.Partition(2), key), Data: []byte("{}"),
	})
	require.NoError(t, err)
	_, revision, err := store.Load(t.Context(), key)
	require.ErrorIs(t, err, wire.ErrUndecodable)
	require.Equal(t, broken, revision)
	_, err = store.Save(t.Context(), key, record(1), revision)
	require.NoError(t, err)
}

func TestKeptOverRestart(t *testing.T) {
	dir := t.TempDir()
	conn, stop := brokertest.Start(t, dir)
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	store, err := session.New(t.Context(), conn, 2)
	require.NoError(t, err)
	saved, err := store.Save(t.Context(), key, record(1), 0)
	require.NoError(t, err)
	stop()

	_, _, err = store.Load(t.Context(), key)
	require.ErrorIs(t, err, broker.ErrUnavailable)

	conn, _ = brokertest.Start(t, dir)
	store, err = session.New(t.Context(), conn, 2)
	require.NoError(t, err)
	rec, revision, err := store.Load(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, saved, revision)
	require.Equal(t, record(1), rec)
}
