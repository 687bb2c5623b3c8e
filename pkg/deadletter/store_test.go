package deadletter_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/topology"
)

func open(t *testing.T) (*deadletter.Store, *broker.Conn) {
	t.Helper()
	conn := brokertest.New(t)
	store, err := deadletter.New(t.Context(), conn)
	require.NoError(t, err)
	return store, conn
}

func letter(channel, destination, conversation string, n uint64) *chat.DeadLetter {
	at := time.UnixMilli(1785240000000).UTC()
	key := chat.KeyOf(channel, conversation)
	return &chat.DeadLetter{
		MessageID: chat.NewMessageID(at, key, n), Stage: chat.StageBot, ChannelID: channel,
		Destination: destination, ConversationID: conversation, Counter: n, Reason: "exhausted",
		DiedAt: at, AttemptCount: 1, Attempts: []chat.Attempt{{At: at, Status: 500, Excerpt: []byte("oops")}},
		Data: []byte("envelope"),
	}
}

func TestWriteAndGet(t *testing.T) {
	store, _ := open(t)
	first, second := letter("shop", "ep1", "1", 1), letter("shop", "ep2", "1", 1)
	require.Equal(t, first.MessageID, second.MessageID)
	_, err := store.Get(t.Context(), first.MessageID)
	require.ErrorIs(t, err, deadletter.ErrNotFound)

	require.NoError(t, store.Write(t.Context(), first))
	require.NoError(t, store.Write(t.Context(), second))
	require.NoError(t, store.Write(t.Context(), letter("shop", "ep1", "1", 2)))
	again := *first
	again.Reason = "another"
	require.NoError(t, store.Write(t.Context(), &again))

	got, err := store.Get(t.Context(), first.MessageID)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, *first, got[0].DeadLetter, "the first one stays")
	require.Equal(t, *second, got[1].DeadLetter)
	require.Less(t, got[0].Seq, got[1].Seq)
	require.False(t, got[0].StoredAt.IsZero())

	n, err := store.Count(t.Context(), deadletter.Filter{})
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
}

// TestWithoutAnID: what could not be decoded is found by the id it was given.
func TestWithoutAnID(t *testing.T) {
	store, _ := open(t)
	d := &chat.DeadLetter{MessageID: "seq-bot-3-17", Stage: chat.StageBot, ChannelID: "shop", Reason: "undecodable", Data: []byte{0xff}}
	require.NoError(t, store.Write(t.Context(), d))
	require.NoError(t, store.Write(t.Context(), d))
	got, err := store.Get(t.Context(), "seq-bot-3-17")
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, *d, got[0].DeadLetter)

	for _, id := range []string{"", "a.b", "*", ">", "a b", "seq-bot-3-18"} {
		_, err := store.Get(t.Context(), id)
		require.ErrorIs(t, err, deadletter.ErrNotFound, id)
	}
	for _, id := range []string{"", "a.b", "*", "a b"} {
		d.MessageID = id
		require.Error(t, store.Write(t.Context(), d), id)
	}
}

func TestFull(t *testing.T) {
	store, conn := open(t)
	stream, err := conn.JS.Stream(t.Context(), topology.StreamDead)
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	config.MaxMsgs = 1
	_, err = conn.JS.UpdateStream(t.Context(), config)
	require.NoError(t, err)
	require.NoError(t, store.Write(t.Context(), letter("shop", "ep", "1", 1)))
	require.NoError(t, store.Write(t.Context(), letter("shop", "ep", "1", 1)), "it is there")
	require.ErrorIs(t, store.Write(t.Context(), letter("shop", "ep", "1", 2)), broker.ErrFull)
}

// TestLarge: a message near the broker's limit still fits, without excerpts.
func TestLarge(t *testing.T) {
	store, _ := open(t)
	d := letter("shop", "ep", "1", 1)
	d.Data = bytes.Repeat([]byte("x"), broker.MaxPayload-20<<10)
	for range 9 {
		d.Attempts = append(d.Attempts, chat.Attempt{Status: 500, Excerpt: bytes.Repeat([]byte("y"), 4<<10)})
	}
	require.NoError(t, store.Write(t.Context(), d))
	require.NotEmpty(t, d.Attempts[9].Excerpt, "the caller's letter is untouched")
	got, err := store.Get(t.Context(), d.MessageID)
	require.NoError(t, err)
	require.Equal(t, d.Data, got[0].Data)
	require.Len(t, got[0].Attempts, 10)
	require.Empty(t, got[0].Attempts[9].Excerpt)
}

func TestList(t *testing.T) {
	store, conn := open(t)
	empty, err := store.List(t.Context(), deadletter.Filter{}, deadletter.Page{})
	require.NoError(t, err)
	require.Empty(t, empty.Letters)

	// 1 to 40 of one endpoint, with 160 of another in between.
	for n := uint64(1); n <= 40; n++ {
		require.NoError(t, store.Write(t.Context(), letter("shop", "rare", fmt.Sprint(n%3), n)))
		for i := range uint64(4) {
			require.NoError(t, store.Write(t.Context(), letter("shop", "often", "1", 1000+4*n+i)))
		}
	}
	user := letter("kiosk", "bot", "1", 5000)
	user.Stage = chat.StageUser
	require.NoError(t, store.Write(t.Context(), user))

	for _, c := range []struct {
		filter deadletter.Filter
		count  int
	}{
		{deadletter.Filter{}, 201},
		{deadletter.Filter{Stage: chat.StageBot}, 200},
		{deadletter.Filter{Stage: chat.StageUser}, 1},
		{deadletter.Filter{ChannelID: "shop", Destination: "rare"}, 40},
		{deadletter.Filter{Destination: "bot"}, 1},
		{deadletter.Filter{ChannelID: "kiosk", Destination: "rare"}, 0},
	} {
		n, err := store.Count(t.Context(), c.filter)
		require.NoError(t, err)
		require.EqualValues(t, c.count, n)
		for _, limit := range []int{0, 9, 40, 5000} {
			require.Len(t, pages(t, store, c.filter, limit), c.count, "%+v by %d", c.filter, limit)
		}
	}
	rare := pages(t, store, deadletter.Filter{Destination: "rare"}, 7)
	for i, l := range rare {
		require.EqualValues(t, 40-i, l.Counter, "newest first")
	}

	stream, err := conn.JS.Stream(t.Context(), topology.StreamDead)
	require.NoError(t, err)
	for _, l := range rare[10:30] {
		require.NoError(t, stream.DeleteMsg(t.Context(), l.Seq))
	}
	require.Len(t, pages(t, store, deadletter.Filter{Destination: "rare"}, 7), 20, "with holes")
	_, err = store.List(t.Context(), deadletter.Filter{Destination: "a.b"}, deadletter.Page{})
	require.Error(t, err)
	_, err = store.Count(t.Context(), deadletter.Filter{ChannelID: ">"})
	require.Error(t, err)
}

// pages reads a list to its end, and checks that each page is as full as it can be.
func pages(t *testing.T, store *deadletter.Store, f deadletter.Filter, limit int) []deadletter.Letter {
	t.Helper()
	var all []deadletter.Letter
	for before := uint64(0); ; {
		got, err := store.List(t.Context(), f, deadletter.Page{Before: before, Limit: limit})
		require.NoError(t, err)
		for _, l := range got.Letters {
			require.True(t, len(all) == 0 || l.Seq < all[len(all)-1].Seq, "newest first, none twice")
			all = append(all, l)
		}
		if got.Next == 0 {
			return all
		}
		require.True(t, limit == 0 && len(got.Letters) == 50 || len(got.Letters) == limit)
		before = got.Next
	}
}

func TestUndecodableLetter(t *testing.T) {
	store, conn := open(t)
	require.NoError(t, store.Write(t.Context(), letter("shop", "ep", "1", 1)))
	_, err := conn.Publish(t.Context(), broker.Message{
		Subject: topology.DeadSubject(chat.StageBot, "shop", "ep", chat.KeyOf("shop", "1"), "msg_x"), Data: []byte("{}"),
	})
	require.NoError(t, err)
	got, err := store.List(t.Context(), deadletter.Filter{}, deadletter.Page{})
	require.NoError(t, err)
	require.Len(t, got.Letters, 1)
	require.Equal(t, 1, got.Undecodable)
}

func TestUnavailable(t *testing.T) {
	conn, stop := brokertest.Start(t, t.TempDir())
	_, err := deadletter.New(t.Context(), conn)
	require.True(t, errors.Is(err, jetstream.ErrStreamNotFound))
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	store, err := deadletter.New(t.Context(), conn)
	require.NoError(t, err)
	stop()
	require.ErrorIs(t, store.Write(t.Context(), letter("shop", "ep", "1", 1)), broker.ErrUnavailable)
	_, err = store.Get(t.Context(), "msg_1")
	require.ErrorIs(t, err, broker.ErrUnavailable)
	_, err = store.List(t.Context(), deadletter.Filter{}, deadletter.Page{})
	require.ErrorIs(t, err, broker.ErrUnavailable)
	_, err = store.Count(t.Context(), deadletter.Filter{})
	require.ErrorIs(t, err, broker.ErrUnavailable)
}

// A message that dies in a replay takes its former letter's place, which the
// replay may not have removed yet.
func TestReplayedLetterTakesTheFormersPlace(t *testing.T) {
	store, conn := open(t)
	first := letter("shop", "ep", "1", 1)
	require.NoError(t, store.Write(t.Context(), first))
	before, err := store.Get(t.Context(), first.MessageID)
	require.NoError(t, err)

	again := *first
	again.Reason, again.Headers = "waited", map[string]string{topology.HeaderReplay: "r1"}
	for range 2 { // the second changes nothing
		require.NoError(t, store.Write(t.Context(), &again))
	}
	require.NoError(t, store.Write(t.Context(), first), "nor does a repeat of the first")
	got, err := store.Get(t.Context(), first.MessageID)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, again, got[0].DeadLetter)
	require.Equal(t, before[0].Seq+1, got[0].Seq)

	require.NoError(t, store.Remove(t.Context(), before[0].Seq), "as the replay does that found it")
	_, err = store.Get(t.Context(), first.MessageID)
	require.NoError(t, err)

	other := again
	other.Headers = map[string]string{topology.HeaderReplay: "r2"}
	require.NoError(t, store.Remove(t.Context(), got[0].Seq))
	require.NoError(t, store.Write(t.Context(), &other), "where it has gone")
	stream, err := conn.JS.Stream(t.Context(), topology.StreamDead)
	require.NoError(t, err)
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, info.State.Msgs)
}
