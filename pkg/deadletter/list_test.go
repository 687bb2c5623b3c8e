package deadletter_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// fill stores letters 0 to n-1, many at a time.
func fill(tb testing.TB, conn *broker.Conn, n int, letter func(n int) *chat.DeadLetter) {
	tb.Helper()
	js, err := jetstream.New(conn.NATS, jetstream.WithPublishAsyncMaxPending(4096))
	require.NoError(tb, err)
	for i := range n {
		d := letter(i)
		data, err := wire.EncodeDeadLetter(d)
		require.NoError(tb, err)
		subject := topology.DeadSubject(d.Stage, d.ChannelID, d.Destination, chat.KeyOf(d.ChannelID, d.ConversationID), d.MessageID)
		_, err = js.PublishAsync(subject, data, jetstream.WithStallWait(time.Minute))
		require.NoError(tb, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		require.Fail(tb, "the letters are not stored")
	}
	stream, err := js.Stream(tb.Context(), topology.StreamDead)
	require.NoError(tb, err)
	require.EqualValues(tb, n, stream.CachedInfo().State.Msgs)
}

// Letters of TestListMany: the sequence is n+1.
const (
	many     = 26_000
	oldUntil = 8_000 // the endpoint "old" has a quarter of the letters up to there
)

func manyLetter(n int) *chat.DeadLetter {
	d := letter("shop", "crm", fmt.Sprint("c", n%5000), uint64(n)+1)
	if n < oldUntil && n%4 == 0 {
		d.Destination = "old"
	}
	switch {
	case n%1000 == 10:
		d.Destination = "rare"
	case n%3000 == 11:
		d.Reason = "poison"
	case n == 12 || n == many-12:
		d.Attempts = append(d.Attempts, chat.Attempt{At: d.DiedAt, Status: 418})
	case n == 100:
		d.Stage, d.Destination = chat.StageUser, "pizza"
	}
	return d
}

// TestListMany lists what stands further back than a search reads at once, in
// every way that it looks: the letters must be those that a filter matches, and
// a page must not read all.
func TestListMany(t *testing.T) {
	store, conn := open(t)
	fill(t, conn, many, manyLetter)
	var all []deadletter.Letter
	require.NoError(t, store.Scan(t.Context(), deadletter.Filter{}, 0, 0, func(l deadletter.Letter) error {
		all = append(all, l)
		return nil
	}))
	require.Len(t, all, many)
	middle, later := all[many/2].StoredAt, all[many-50].StoredAt

	for name, f := range map[string]deadletter.Filter{
		"all":                           {},
		"stage":                         {Stage: chat.StageUser},
		"endpoint":                      {Destination: "crm"},
		"rare endpoint":                 {Destination: "rare"},
		"old endpoint":                  {Stage: chat.StageBot, Destination: "old"},
		"no endpoint":                   {Destination: "none"},
		"conversation":                  {ChannelID: "shop", ConversationID: "c10"},
		"conversation at an endpoint":   {ChannelID: "shop", ConversationID: "c12", Destination: "old"},
		"conversation with a reason":    {ChannelID: "shop", ConversationID: "c11", Reason: "poison"},
		"another channel":               {ChannelID: "kiosk", ConversationID: "c10"},
		"reason":                        {Reason: "poison"},
		"status":                        {Status: 418},
		"status of an endpoint":         {Destination: "old", Status: 418},
		"no such reason":                {Reason: "none"},
		"since":                         {After: middle},
		"until":                         {Before: middle},
		"between":                       {After: middle, Before: later},
		"old endpoint since":            {Destination: "old", After: all[oldUntil/2].StoredAt},
		"rare endpoint until":           {Destination: "rare", Before: middle},
		"reason between":                {Reason: "poison", After: middle, Before: later},
		"after the last":                {After: time.Now().Add(time.Hour)},
		"before the first":              {Before: all[0].StoredAt},
		"before the first, an endpoint": {Destination: "crm", Before: all[0].StoredAt},
	} {
		t.Run(name, func(t *testing.T) {
			var want []uint64
			for _, l := range slices.Backward(all) {
				if f.Matches(&l) {
					want = append(want, l.Seq)
				}
			}
			n, err := store.Count(t.Context(), f)
			require.NoError(t, err)
			require.EqualValues(t, len(want), n)
			require.Equal(t, want, listed(t, store, f, 1000))
		})
	}

	page, err := store.List(t.Context(), deadletter.Filter{Status: 418}, deadletter.Page{Limit: 10})
	require.NoError(t, err)
	require.Len(t, page.Letters, 1, "of two: the other is too far back for one page")
	require.NotZero(t, page.Next)
	page, err = store.List(t.Context(), deadletter.Filter{Status: 418}, deadletter.Page{Limit: 10, Before: page.Next})
	require.NoError(t, err)
	require.Len(t, page.Letters, 1)
	require.EqualValues(t, 13, page.Letters[0].Seq)
}

// listed reads a list to its end.
func listed(t *testing.T, store *deadletter.Store, f deadletter.Filter, limit int) (seqs []uint64) {
	t.Helper()
	for before := uint64(0); ; {
		page, err := store.List(t.Context(), f, deadletter.Page{Before: before, Limit: limit})
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Letters), limit)
		for _, l := range page.Letters {
			seqs = append(seqs, l.Seq)
		}
		if page.Next == 0 {
			return seqs
		}
		require.True(t, before == 0 || page.Next < before, "it gets on")
		before = page.Next
	}
}

func TestMatches(t *testing.T) {
	at := time.UnixMilli(1785240000000)
	l := deadletter.Letter{Seq: 1, StoredAt: at, DeadLetter: *letter("shop", "crm", "1", 1)}
	l.Attempts = []chat.Attempt{{Status: 500}, {Status: 503}}
	for _, c := range []struct {
		filter deadletter.Filter
		want   bool
	}{
		{deadletter.Filter{}, true},
		{deadletter.Filter{Stage: chat.StageBot, ChannelID: "shop", Destination: "crm", ConversationID: "1", Reason: "exhausted", Status: 503, After: at, Before: at.Add(1)}, true},
		{deadletter.Filter{Stage: chat.StageUser}, false},
		{deadletter.Filter{ChannelID: "kiosk"}, false},
		{deadletter.Filter{Destination: "old"}, false},
		{deadletter.Filter{ChannelID: "shop", ConversationID: "2"}, false},
		{deadletter.Filter{Reason: "poison"}, false},
		{deadletter.Filter{Status: 500}, false},
		{deadletter.Filter{After: at.Add(1)}, false},
		{deadletter.Filter{Before: at}, false},
	} {
		require.Equal(t, c.want, c.filter.Matches(&l), "%+v", c.filter)
	}
	l.Attempts = nil
	require.False(t, deadletter.Filter{Status: 503}.Matches(&l))
}

func TestScan(t *testing.T) {
	store, conn := open(t)
	last, err := store.Last(t.Context())
	require.NoError(t, err)
	require.Zero(t, last)
	scan := func(f deadletter.Filter, from, upTo uint64) (seqs []uint64) {
		require.NoError(t, store.Scan(t.Context(), f, from, upTo, func(l deadletter.Letter) error {
			seqs = append(seqs, l.Seq)
			return nil
		}))
		return seqs
	}
	require.Empty(t, scan(deadletter.Filter{}, 0, 0))

	fill(t, conn, 10, func(n int) *chat.DeadLetter { return letter("shop", fmt.Sprint("ep", n%2), "1", uint64(n)+1) })
	last, err = store.Last(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 10, last)
	require.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, scan(deadletter.Filter{}, 0, 0))
	require.Equal(t, []uint64{3, 4, 5}, scan(deadletter.Filter{}, 3, 5))
	require.Equal(t, []uint64{4, 6, 8}, scan(deadletter.Filter{Destination: "ep1"}, 3, 8))
	require.Empty(t, scan(deadletter.Filter{}, 11, 0))
	require.Equal(t, []uint64{10}, scan(deadletter.Filter{}, 10, 99))

	stream, err := conn.JS.Stream(t.Context(), topology.StreamDead)
	require.NoError(t, err)
	require.NoError(t, stream.DeleteMsg(t.Context(), 4))
	require.NoError(t, stream.DeleteMsg(t.Context(), 10))
	require.Equal(t, []uint64{3, 5, 6}, scan(deadletter.Filter{}, 3, 6))
	n, err := store.Count(t.Context(), deadletter.Filter{})
	require.NoError(t, err)
	require.EqualValues(t, 8, n)

	// What comes while it runs is not of it.
	var seqs []uint64
	require.NoError(t, store.Scan(t.Context(), deadletter.Filter{}, 8, 0, func(l deadletter.Letter) error {
		seqs = append(seqs, l.Seq)
		return store.Write(t.Context(), letter("shop", "late", "1", l.Seq))
	}))
	require.Equal(t, []uint64{8, 9}, seqs)

	stop := errors.New("stop")
	calls := 0
	require.Equal(t, stop, store.Scan(t.Context(), deadletter.Filter{}, 0, 0, func(deadletter.Letter) error { calls++; return stop }))
	require.Equal(t, 1, calls)
}

// TestScanUndecodable: what can't be read is told of, whatever is looked for in
// the letters, unless its subject says that it is another's.
func TestScanUndecodable(t *testing.T) {
	store, conn := open(t)
	require.NoError(t, store.Write(t.Context(), letter("shop", "ep", "1", 1)))
	_, err := conn.Publish(t.Context(), broker.Message{
		Subject: topology.DeadSubject(chat.StageBot, "shop", "ep", chat.KeyOf("shop", "1"), "msg_x"), Data: []byte("{}"),
	})
	require.NoError(t, err)
	for _, c := range []struct {
		filter            deadletter.Filter
		good, undecodable int
		count             uint64
	}{
		{deadletter.Filter{}, 1, 1, 2},
		{deadletter.Filter{ChannelID: "shop", ConversationID: "1"}, 1, 1, 2},
		{deadletter.Filter{ChannelID: "shop", ConversationID: "2"}, 0, 0, 0},
		{deadletter.Filter{Reason: "exhausted"}, 1, 1, 1},
		{deadletter.Filter{Reason: "poison"}, 0, 1, 0},
		{deadletter.Filter{Destination: "other"}, 0, 0, 0},
	} {
		good, undecodable := 0, 0
		require.NoError(t, store.Scan(t.Context(), c.filter, 0, 0, func(l deadletter.Letter) error {
			if l.Undecodable == nil {
				good++
				return nil
			}
			undecodable++
			require.ErrorIs(t, l.Undecodable, wire.ErrUndecodable)
			require.EqualValues(t, 2, l.Seq)
			require.False(t, l.StoredAt.IsZero())
			require.Equal(t, chat.DeadLetter{Stage: chat.StageBot, ChannelID: "shop", Destination: "ep", MessageID: "msg_x"}, l.DeadLetter)
			require.Equal(t, c.filter.Reason == "", c.filter.Matches(&l))
			return nil
		}))
		require.Equal(t, c.good, good, "%+v", c.filter)
		require.Equal(t, c.undecodable, undecodable, "%+v", c.filter)
		n, err := store.Count(t.Context(), c.filter)
		require.NoError(t, err)
		require.Equal(t, c.count, n, "%+v", c.filter)
		page, err := store.List(t.Context(), c.filter, deadletter.Page{})
		require.NoError(t, err)
		require.Len(t, page.Letters, c.good)
		require.Equal(t, c.undecodable, page.Undecodable)
	}
}

func TestBadFilter(t *testing.T) {
	store, _ := open(t)
	for want, f := range map[string]deadletter.Filter{
		"give its channel": {ConversationID: "1"},
		`"a.b" is no id`:   {Destination: "a.b"},
		`">" is no id`:     {ChannelID: ">", ConversationID: "1"},
	} {
		_, err := store.List(t.Context(), f, deadletter.Page{})
		require.ErrorContains(t, err, want)
		_, err = store.Count(t.Context(), f)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, store.Scan(t.Context(), f, 0, 0, nil), want)
	}
}
