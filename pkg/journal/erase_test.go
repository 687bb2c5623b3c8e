package journal_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/topology"
)

// TestErase: what was recorded before a flush is erased, and that of others is
// not.
func TestErase(t *testing.T) {
	conn := brokertest.New(t)
	w, _, _ := start(t, conn, journal.Options{Queue: 2000})
	anna, ben := chat.KeyOf("shop", "anna"), chat.KeyOf("shop", "ben")
	for i := range 500 {
		w.Turn(turn("anna", fmt.Sprint("a", i)))
		w.Delivery(delivery("ben", i+1, chat.OutcomeDelivered))
	}
	require.NoError(t, w.Flush(t.Context()))
	_, err := conn.Publish(t.Context(), broker.Message{Subject: "journal.shop.crm." + anna.String(), Data: []byte("as it was")})
	require.NoError(t, err)
	n, err := journal.Count(t.Context(), conn, "shop", anna)
	require.NoError(t, err)
	require.EqualValues(t, 501, n)

	n, err = journal.Erase(t.Context(), conn, "shop", anna)
	require.NoError(t, err)
	require.EqualValues(t, 501, n, "older entries have their endpoint in the subject")
	n, err = journal.Erase(t.Context(), conn, "shop", anna)
	require.NoError(t, err)
	require.Zero(t, n)
	left, err := conn.Count(t.Context(), topology.StreamJournal, "")
	require.NoError(t, err)
	require.EqualValues(t, 500, left)
	got, err := journal.NewReader(conn).Conversation(t.Context(), "shop", ben, 1000)
	require.NoError(t, err)
	require.Len(t, got, 500)
	conn.Close()
	_, err = journal.Erase(t.Context(), conn, "shop", ben)
	require.ErrorIs(t, err, broker.ErrUnavailable)
}

// TestFlush waits for what was refused, and for what takes long; without Run for
// as long as it is allowed to.
func TestFlush(t *testing.T) {
	w, reg, _ := start(t, &losesOne{}, journal.Options{})
	w.Turn(turn("anna", "1"))
	require.NoError(t, w.Flush(t.Context()))
	var entries float64
	for _, n := range count(t, reg) {
		entries += n
	}
	require.EqualValues(t, 1, entries, "it was given up, or written")

	idle, err := journal.NewWriter(&losesOne{}, journal.Options{Queue: 1}, prometheus.NewRegistry())
	require.NoError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, idle.Flush(ended), context.Canceled)
	require.ErrorIs(t, idle.Flush(ended), context.Canceled, "the queue is full too")
}
