package deadletter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/topology"
)

// What BenchmarkMillion lists.
const (
	millionLetters       = 1_000_000
	millionConversations = 20_000
	millionEndpoints     = 4
	millionRare          = 10_000  // one letter of so many has a reason and an endpoint of its own
	millionBurst         = 300_010 // from here on 50 are of one more conversation
	millionOld           = 20_000  // and one of ten of the first is of an endpoint that had no more
)

// BenchmarkMillion times what an operator asks of 1,000,000 letters of 20,000
// conversations, 50 of each, spread over the whole stream. "first-ms" is the
// first time, when the broker has to read the older letters again.
func BenchmarkMillion(b *testing.B) {
	conn := openLarge(b)
	fill(b, conn, millionLetters, millionth)
	store, err := deadletter.New(b.Context(), conn)
	require.NoError(b, err)
	half, err := store.List(b.Context(), deadletter.Filter{}, deadletter.Page{Before: millionLetters / 2, Limit: 1})
	require.NoError(b, err)
	middle := half.Letters[0].StoredAt

	for _, c := range []struct {
		name   string
		filter deadletter.Filter
		count  int // 0: unknown
	}{
		{"all", deadletter.Filter{}, millionLetters},
		{"endpoint", deadletter.Filter{Destination: "ep1"}, 0},
		{"rare-endpoint", deadletter.Filter{Destination: "rare"}, 100},
		{"old-endpoint", deadletter.Filter{Destination: "old"}, 2000},
		{"no-endpoint", deadletter.Filter{Destination: "none"}, 0},
		{"conversation", deadletter.Filter{ChannelID: "shop", ConversationID: "77"}, 50},
		{"burst-conversation", deadletter.Filter{ChannelID: "shop", ConversationID: "burst"}, 50},
		{"until-the-middle", deadletter.Filter{Before: middle}, 0},
		{"endpoint-until-the-middle", deadletter.Filter{Destination: "ep1", Before: middle}, 0},
		{"rare-reason", deadletter.Filter{Reason: "poison"}, millionLetters / millionRare},
	} {
		b.Run("page/"+c.name, func(b *testing.B) {
			begun := time.Now()
			page, err := store.List(b.Context(), c.filter, deadletter.Page{})
			require.NoError(b, err)
			cold := time.Since(begun)
			if c.count > 0 && c.filter.Reason == "" {
				require.Len(b, page.Letters, min(50, c.count))
			}
			for b.Loop() {
				_, err := store.List(b.Context(), c.filter, deadletter.Page{})
				require.NoError(b, err)
			}
			b.ReportMetric(float64(cold.Microseconds())/1000, "first-ms")
		})
		if c.filter.Reason != "" {
			continue
		}
		b.Run("count/"+c.name, func(b *testing.B) {
			for b.Loop() {
				n, err := store.Count(b.Context(), c.filter)
				require.NoError(b, err)
				if c.count > 0 {
					require.EqualValues(b, c.count, n)
				}
			}
		})
	}
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			n := 0
			require.NoError(b, store.Scan(b.Context(), deadletter.Filter{Reason: "poison"}, 0, 0, func(deadletter.Letter) error { n++; return nil }))
			require.Equal(b, millionLetters/millionRare, n)
		}
		b.ReportMetric(float64(b.N)*millionLetters/b.Elapsed().Seconds(), "letters/s")
	})
}

// openLarge is a broker whose stream of dead letters holds them all.
func openLarge(b *testing.B) *broker.Conn {
	b.Helper()
	const store = 20 << 30
	srv, err := broker.StartServer(broker.ServerOptions{
		Dir: b.TempDir(), MaxStore: store, MaxMemory: 64 << 20, SyncInterval: time.Minute,
	}, zap.NewNop())
	require.NoError(b, err)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.Context()), time.Minute)
		defer cancel()
		require.NoError(b, srv.Close(ctx))
	})
	conn, err := srv.Connect(b.Name(), zap.NewNop())
	require.NoError(b, err)
	b.Cleanup(conn.Close)
	require.NoError(b, topology.Ensure(b.Context(), conn.JS, topology.Layout{Partitions: 1, Replicas: 1, Store: store}))
	return conn
}

func millionth(n int) *chat.DeadLetter {
	if n >= millionBurst && n < millionBurst+50 {
		return letter("shop", "burst", "burst", uint64(n))
	}
	d := letter("shop", fmt.Sprintf("ep%d", n%millionEndpoints), fmt.Sprint(n%millionConversations), uint64(n))
	switch {
	case n%millionRare == millionRare/2:
		d.Reason, d.Destination = "poison", "rare"
	case n < millionOld && n%10 == 1:
		d.Destination = "old"
	}
	return d
}
