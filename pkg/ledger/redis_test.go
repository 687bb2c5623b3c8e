package ledger_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/ledger"
	"github.com/parleyhq/parley/pkg/ledger/ledgertest"
	"github.com/parleyhq/parley/pkg/ledger/redistest"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const lane = "ep_1.00112233445566778899aabbccddeeff"

func TestBucket(t *testing.T) {
	conn := brokertest.New(t)
	ledgertest.Run(t, func(t *testing.T) ledger.Ledger {
		t.Helper()
		kv, err := conn.KV(t.Context(), topology.BucketLedger)
		require.NoError(t, err)
		return ledger.NewBucket(kv)
	})
}

func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	ledgertest.Run(t, func(t *testing.T) ledger.Ledger {
		t.Helper()
		l, _ := open(t, server.URL, ledger.RedisOptions{})
		return l
	})
}

// TestMiniredis: serve runs on it where there is no Redis.
func TestMiniredis(t *testing.T) {
	server := miniredis.RunT(t)
	ledgertest.Run(t, func(t *testing.T) ledger.Ledger {
		t.Helper()
		l, _ := open(t, "redis://"+server.Addr(), ledger.RedisOptions{})
		return l
	})
	key := "parley:ledger:{" + lane + "}"
	l, _ := open(t, "redis://"+server.Addr(), ledger.RedisOptions{TTL: time.Hour})
	require.NoError(t, l.Settle(t.Context(), lane, mark(1)))
	require.Equal(t, time.Hour, server.TTL(key))
}

func open(t testing.TB, url string, o ledger.RedisOptions) (*ledger.Redis, redis.UniversalClient) {
	t.Helper()
	client, err := ledger.Connect(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	l := ledger.NewRedis(client, o)
	t.Cleanup(l.Close)
	return l, client
}

func mark(n uint64) chat.Ordinal { return chat.Ordinal{Epoch: 9, Counter: n, InputAt: int64(n)} }

// TestRedisGone: calls fail instead of hanging, and work again when Redis does.
func TestRedisGone(t *testing.T) {
	for name, outage := range map[string]struct{ begin, end func(*redistest.Server) }{
		"stopped": {(*redistest.Server).Stop, (*redistest.Server).Restart},
		"frozen":  {(*redistest.Server).Freeze, (*redistest.Server).Thaw},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			l, _ := open(t, server.URL, ledger.RedisOptions{Timeout: 300 * time.Millisecond})
			require.NoError(t, l.Settle(t.Context(), lane, mark(1)))

			outage.begin(server)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			require.Error(t, l.Ping(ctx))
			// Were each to wait for its time-out, these would outlast the context.
			for range 2000 {
				require.Error(t, l.Settle(ctx, lane, mark(2)))
			}
			_, _, err := l.Load(ctx, lane)
			require.Error(t, err)
			require.NoError(t, ctx.Err())

			outage.end(server)
			require.Eventually(t, func() bool { return l.Settle(t.Context(), lane, mark(3)) == nil },
				20*time.Second, 10*time.Millisecond)
			got, ok, err := l.Load(t.Context(), lane)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, mark(3), got)
			require.NoError(t, l.Ping(t.Context()))
		})
	}
}

// TestRedisEmptied: no marks and no scripts, as after a restart without a disk.
func TestRedisEmptied(t *testing.T) {
	server := redistest.Start(t)
	l, client := open(t, server.URL, ledger.RedisOptions{})
	require.NoError(t, l.Settle(t.Context(), lane, mark(5)))
	require.NoError(t, client.FlushAll(t.Context()).Err())
	require.NoError(t, client.ScriptFlush(t.Context()).Err())

	_, ok, err := l.Load(t.Context(), lane)
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, l.Settle(t.Context(), lane, mark(2)))
	got, _, err := l.Load(t.Context(), lane)
	require.NoError(t, err)
	require.Equal(t, mark(2), got)
}

func TestRedisReplacesWhatIsNoMark(t *testing.T) {
	l, client := open(t, "redis://"+miniredis.RunT(t).Addr(), ledger.RedisOptions{})
	require.NoError(t, client.Set(t.Context(), "parley:ledger:{"+lane+"}", "nonsense", 0).Err())
	_, _, err := l.Load(t.Context(), lane)
	require.ErrorContains(t, err, "is no mark")
	require.NoError(t, l.Settle(t.Context(), lane, mark(1)))
	_, ok, err := l.Load(t.Context(), lane)
	require.NoError(t, err)
	require.True(t, ok)
}

func TestRedisClosed(t *testing.T) {
	l, _ := open(t, "redis://"+miniredis.RunT(t).Addr(), ledger.RedisOptions{})
	l.Close()
	require.ErrorIs(t, l.Settle(t.Context(), lane, mark(1)), ledger.ErrClosed)
}

func TestCallersContext(t *testing.T) {
	l, _ := open(t, "redis://"+miniredis.RunT(t).Addr(), ledger.RedisOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// The call may have been answered before the context was looked at.
	for err := error(nil); err == nil; err = l.Settle(ctx, lane, mark(1)) {
		require.ErrorIs(t, ctx.Err(), context.Canceled)
	}
	require.NoError(t, l.Settle(t.Context(), lane, mark(2)), "another caller's is none of its business")
}

func TestConnect(t *testing.T) {
	for url, cluster := range map[string]bool{
		"redis://127.0.0.1:6379":                       false,
		"redis://user:secret@127.0.0.1:6379/3":         false,
		"redis://127.0.0.1:7000?addr=127.0.0.1%3A7001": true,
	} {
		client, err := ledger.Connect(url)
		require.NoError(t, err)
		_, is := client.(*redis.ClusterClient)
		require.Equal(t, cluster, is, url)
		require.NoError(t, client.Close())
	}
	for _, url := range []string{"", "http://127.0.0.1", "redis://:secret@127.0.0.1:a", "127.0.0.1:6379"} {
		_, err := ledger.Connect(url)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "secret")
	}
}

func BenchmarkRedisSettle(b *testing.B) {
	l, _ := open(b, redistest.Start(b).URL, ledger.RedisOptions{Timeout: 10 * time.Second})
	benchmark(b, l)
}

func BenchmarkBucketSettle(b *testing.B) {
	kv, err := brokertest.New(b).KV(b.Context(), topology.BucketLedger)
	require.NoError(b, err)
	benchmark(b, ledger.NewBucket(kv))
}

// benchmark settles with 256 callers, each on a lane of its own.
func benchmark(b *testing.B, l ledger.Ledger) {
	b.Helper()
	b.ReportAllocs()
	const callers = 256
	var group sync.WaitGroup
	for c := range callers {
		name := "ep_1." + chat.KeyOf("shop", string(rune('A'+c))).String()
		group.Go(func() {
			for i := range b.N/callers + 1 {
				if err := l.Settle(b.Context(), name, mark(uint64(i+1))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}
