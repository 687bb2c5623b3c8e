package journal_test

import (
	"errors"
	"fmt"
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

// shop is a channel's journal: n conversations' turns, each with a delivery at
// the endpoint "crm" and one that fails at "archive", and behind all an entry
// that can't be read.
func shop(t *testing.T, n int) (*journal.Reader, *broker.Conn) {
	t.Helper()
	conn := brokertest.New(t)
	w, _, stop := start(t, conn, journal.Options{})
	for i := range n {
		id := fmt.Sprintf("msg_%d", i)
		e := turn(fmt.Sprint(i), id)
		e.Output = []chat.BotMessage{{ID: id + "_bot", ChannelID: "shop", ConversationID: fmt.Sprint(i), InputID: id}}
		w.Turn(e)
		for endpoint, status := range map[string]int{"crm": 200, "archive": 503} {
			d := delivery(fmt.Sprint(i), 1, chat.OutcomeDelivered)
			d.MessageID, d.EndpointID, d.Attempt = id+"_bot", endpoint, &chat.Attempt{Status: status}
			if status != 200 {
				d.Outcome = chat.OutcomeRetry
			}
			w.Delivery(d)
		}
	}
	stop()
	_, err := conn.Publish(t.Context(), broker.Message{Subject: topology.JournalSubject("shop", chat.KeyOf("shop", "0")), Data: []byte("{}")})
	require.NoError(t, err)
	return journal.NewReader(conn), conn
}

func TestScan(t *testing.T) {
	r, conn := shop(t, 2000) // more than is read at once
	scan := func(f journal.Filter, since, until time.Time, from uint64) (found []journal.Entry) {
		require.NoError(t, r.Scan(t.Context(), f, since, until, from, func(e journal.Entry) error {
			found = append(found, e)
			return nil
		}))
		return found
	}
	all := scan(journal.Filter{}, time.Time{}, time.Time{}, 0)
	require.Len(t, all, 6001)
	for i, e := range all {
		require.EqualValues(t, i+1, e.Seq)
	}
	require.ErrorIs(t, all[6000].Unreadable, wire.ErrUndecodable)
	require.Equal(t, all[4000:], scan(journal.Filter{}, time.Time{}, time.Time{}, 4001))
	require.Empty(t, scan(journal.Filter{}, time.Time{}, time.Time{}, 6002))

	// Several entries may be stored within the clock's resolution.
	cut := all[2000].StoredAt
	var before, after []journal.Entry
	for _, e := range all {
		if e.StoredAt.Before(cut) {
			before = append(before, e)
		} else {
			after = append(after, e)
		}
	}
	require.Equal(t, before, scan(journal.Filter{}, time.Time{}, cut, 0))
	require.Equal(t, after, scan(journal.Filter{}, cut, time.Time{}, 0))
	require.Empty(t, scan(journal.Filter{}, cut, cut, 0))

	key := chat.KeyOf("shop", "7")
	for name, c := range map[string]struct {
		filter journal.Filter
		want   int
	}{
		"channel":                {journal.Filter{ChannelID: "shop"}, 6001},
		"other channel":          {journal.Filter{ChannelID: "other"}, 0},
		"conversation":           {journal.Filter{Key: &key}, 3},
		"conversation's channel": {journal.Filter{ChannelID: "shop", Key: &key}, 3},
		"endpoint":               {journal.Filter{EndpointID: "crm"}, 2000},
		"outcome":                {journal.Filter{Outcome: chat.OutcomeRetry}, 2000},
		"status":                 {journal.Filter{Status: 503, Deliveries: true}, 2000},
		"user message":           {journal.Filter{MessageID: "msg_7"}, 1},
		"bot message":            {journal.Filter{MessageID: "msg_7_bot"}, 3},
		"its deliveries":         {journal.Filter{MessageID: "msg_7_bot", Deliveries: true}, 2},
		"turns":                  {journal.Filter{Turns: true, ChannelID: "shop", Outcome: chat.OutcomeProcessed}, 2000},
	} {
		t.Run(name, func(t *testing.T) {
			require.Len(t, scan(c.filter, time.Time{}, time.Time{}, 0), c.want)
		})
	}

	stop := errors.New("enough")
	n := 0
	require.ErrorIs(t, r.Scan(t.Context(), journal.Filter{}, time.Time{}, time.Time{}, 0, func(journal.Entry) error {
		n++
		return stop
	}), stop)
	require.Equal(t, 1, n)
	conn.Close()
	require.ErrorIs(t, r.Scan(t.Context(), journal.Filter{}, time.Time{}, time.Time{}, 0, nil), broker.ErrUnavailable)
}
