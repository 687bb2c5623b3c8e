package journal_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// pages reads a list page by page, and returns how many those were.
func pages(t *testing.T, r *journal.Reader, f journal.Filter, p journal.Page) (all []journal.Entry, unreadable, n int) {
	t.Helper()
	for {
		page, err := r.Attempts(t.Context(), f, p)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Entries), p.Limit)
		all, unreadable, n = append(all, page.Entries...), unreadable+page.Unreadable, n+1
		if page.Next == 0 {
			return all, unreadable, n
		}
		require.True(t, p.Before == 0 || page.Next < p.Before, "a page goes on behind the one before")
		require.False(t, page.Reached.IsZero())
		p.Before = page.Next
	}
}

func TestAttempts(t *testing.T) {
	r, conn := shop(t, 100)
	key := chat.KeyOf("shop", "7")
	scanned := func(f journal.Filter, since, until time.Time) (want []journal.Entry) {
		f.Deliveries = true
		require.NoError(t, r.Scan(t.Context(), f, since, until, 0, func(e journal.Entry) error {
			if e.Unreadable == nil {
				want = append(want, e)
			}
			return nil
		}))
		slices.Reverse(want)
		return want
	}
	for name, f := range map[string]journal.Filter{
		"all": {}, "channel": {ChannelID: "shop"}, "other channel": {ChannelID: "other"}, "endpoint": {EndpointID: "crm"},
		"status": {Status: 503}, "outcome": {Outcome: chat.OutcomeRetry}, "nobody's": {EndpointID: "none"},
		"conversation": {ChannelID: "shop", Key: &key}, "message": {Key: &key, MessageID: "msg_7_bot"},
	} {
		t.Run(name, func(t *testing.T) {
			want := scanned(f, time.Time{}, time.Time{})
			for _, limit := range []int{3, 7, 1000} {
				got, _, _ := pages(t, r, f, journal.Page{Limit: limit})
				require.Equal(t, want, got)
			}
		})
	}
	all, _, _ := pages(t, r, journal.Filter{}, journal.Page{Limit: 100})
	require.Len(t, all, 200)
	since, until := all[150].StoredAt, all[50].StoredAt
	got, _, _ := pages(t, r, journal.Filter{}, journal.Page{Since: since, Until: until, Limit: 9})
	require.Equal(t, scanned(journal.Filter{}, since, until), got)

	conn.Close()
	_, err := r.Attempts(t.Context(), journal.Filter{}, journal.Page{})
	require.ErrorIs(t, err, broker.ErrUnavailable)
}

// What is looked at for a page is bounded: a rare endpoint takes several, of
// which all but the last find nothing.
func TestAttemptsOfARareEndpoint(t *testing.T) {
	conn := brokertest.New(t)
	fill(t, conn, 50_000, func(i int) *chat.Delivery {
		d := delivery("1", i+1, chat.OutcomeDelivered)
		if i == 3 {
			d.EndpointID = "rare"
		}
		return d
	})
	r := journal.NewReader(conn)
	page, err := r.Attempts(t.Context(), journal.Filter{EndpointID: "rare"}, journal.Page{})
	require.NoError(t, err)
	require.Empty(t, page.Entries)
	require.EqualValues(t, 30_001, page.Next)
	found, _, n := pages(t, r, journal.Filter{EndpointID: "rare"}, journal.Page{Limit: 50})
	require.Len(t, found, 1)
	require.Equal(t, 3, n)
}

// fill writes deliveries, many at a time.
func fill(t testing.TB, conn *broker.Conn, n int, of func(i int) *chat.Delivery) {
	t.Helper()
	var ms []broker.Message
	for i := range n {
		d := of(i)
		data, err := wire.EncodeDelivery(d)
		require.NoError(t, err)
		ms = append(ms, broker.Message{Subject: topology.JournalSubject(d.ChannelID, chat.KeyOf(d.ChannelID, d.ConversationID)), Data: data, Later: true})
		if len(ms) == 500 || i == n-1 {
			_, err := conn.PublishAll(t.Context(), ms...)
			require.NoError(t, err)
			ms = ms[:0]
		}
	}
}
