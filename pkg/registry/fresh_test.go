package registry_test

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
)

// Whoever catches up sees what another process had confirmed before, however
// many ask at once.
func TestCatchUpShowsWhatWasConfirmedBefore(t *testing.T) {
	conn := brokertest.New(t)
	sealer := newSealer(t)
	writer, _ := open(t, conn, registry.Options{Sealer: sealer})
	reader, _ := open(t, conn, registry.Options{Sealer: sealer})
	fill(t, writer)
	for i := range 50 {
		c := shopChannel()
		c.Name = strconv.Itoa(i)
		_, err := writer.PutChannel(t.Context(), c, registry.Present)
		require.NoError(t, err)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				s, err := reader.CatchUp(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if got, _ := s.Channel(c.ID); got.Name != c.Name {
					t.Errorf("change %d: the channel's name is %s", i, got.Name)
				}
			})
		}
		all.Wait()
	}
}

func TestCatchUpWithoutABroker(t *testing.T) {
	conn, stop := brokertest.Start(t, t.TempDir())
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	asks, _ := open(t, conn, registry.Options{Sealer: newSealer(t)})
	stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := asks.CatchUp(ctx)
	require.ErrorIs(t, err, broker.ErrUnavailable)
}

func TestOnlyWriterSeesItsOwn(t *testing.T) {
	r, _ := open(t, brokertest.New(t), registry.Options{Sealer: newSealer(t), OnlyWriter: true})
	revision := fill(t, r)
	s, err := r.CatchUp(t.Context())
	require.NoError(t, err)
	require.Equal(t, revision, s.Revision())
}

// BenchmarkCatchUp is one caller after another, and many at once.
func BenchmarkCatchUp(b *testing.B) {
	r, _ := open(b, brokertest.New(b), registry.Options{Sealer: newSealer(b)})
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			_, err := r.CatchUp(b.Context())
			require.NoError(b, err)
		}
	})
	b.Run("many", func(b *testing.B) {
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := r.CatchUp(b.Context()); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
