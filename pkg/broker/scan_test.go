package broker_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestScan(t *testing.T) {
	conn := brokertest.New(t)
	var all []uint64
	for i := range 600 {
		seq, err := conn.Publish(t.Context(), broker.Message{Subject: fmt.Sprintf("journal.shop.ep.%d", i%2), Data: fmt.Append(nil, i)})
		require.NoError(t, err)
		if i%2 == 1 {
			all = append(all, seq)
		}
	}
	scan := func(ctx context.Context, filter string, from uint64, most int) (seqs []uint64, err error) {
		err = conn.Scan(ctx, topology.StreamJournal, filter, from, func(m broker.Stored) bool {
			require.Equal(t, fmt.Append(nil, m.Seq-1), m.Data)
			require.Equal(t, "journal.shop.ep.1", m.Subject)
			require.False(t, m.Time.IsZero())
			seqs = append(seqs, m.Seq)
			return len(seqs) < most
		})
		return seqs, err
	}
	for _, c := range []struct {
		from uint64
		most int
		want []uint64
	}{
		{0, 1000, all},
		{all[100], 1000, all[100:]},
		{all[100] - 1, 2, all[100:102]},
		{601, 10, nil},
	} {
		got, err := scan(t.Context(), "journal.*.*.1", c.from, c.most)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	n, err := conn.Count(t.Context(), topology.StreamJournal, "journal.*.*.1")
	require.NoError(t, err)
	require.EqualValues(t, 300, n)
	n, err = conn.Count(t.Context(), topology.StreamJournal, "journal.*.*.2")
	require.NoError(t, err)
	require.Zero(t, n)

	stream, err := conn.JS.Stream(t.Context(), topology.StreamJournal)
	require.NoError(t, err)
	require.Zero(t, stream.CachedInfo().State.Consumers, "no consumer stays behind")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = scan(ctx, "journal.>", 0, 1)
	require.ErrorIs(t, err, broker.ErrUnavailable)
	_, err = conn.Count(t.Context(), "NOWHERE", "journal.>")
	require.ErrorIs(t, err, broker.ErrUnavailable)
}
