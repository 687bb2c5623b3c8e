package operating

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/services/e2e"
)

// A dead letter that is written is counted, listed and scanned at once, though
// readers are at any of three replicas.
func TestDeadLettersOfAReplicatedCluster(t *testing.T) {
	t.Parallel()
	conn, err := broker.Connect(e2e.StartNATSCluster(t, binaries, 3)[1].URL, "test", zap.NewNop())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, topology.Layout{Partitions: 1, Replicas: 3, Store: 1 << 30}))
	store, err := deadletter.New(t.Context(), conn)
	require.NoError(t, err)

	for n := uint64(1); n <= 100; n++ {
		at := time.Now()
		d := &chat.DeadLetter{
			MessageID: chat.NewMessageID(at, chat.KeyOf("shop", "anna"), n), Stage: chat.StageBot, ChannelID: "shop", ConversationID: "anna",
			Destination: fmt.Sprint("ep", n%2), Counter: n, Reason: "exhausted", DiedAt: at,
		}
		require.NoError(t, store.Write(t.Context(), d))
		f := deadletter.Filter{Destination: d.Destination}
		want := (n + 1) / 2

		count, err := store.Count(t.Context(), f)
		require.NoError(t, err)
		require.Equal(t, want, count)
		page, err := store.List(t.Context(), f, deadletter.Page{Limit: 1})
		require.NoError(t, err)
		require.Equal(t, n, page.Letters[0].Counter)
		scanned := uint64(0)
		require.NoError(t, store.Scan(t.Context(), f, 0, 0, func(deadletter.Letter) error { scanned++; return nil }))
		require.Equal(t, want, scanned)
	}
}
