package broker

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

func add(f *Feed, seqs ...uint64) {
	for _, seq := range seqs {
		f.add(seq, &nats.Msg{Data: []byte(strconv.FormatUint(seq, 10))})
	}
}

func seqsOf(run []Fed) []uint64 {
	var out []uint64
	for _, m := range run {
		out = append(out, m.Seq)
	}
	return out
}

func requireTaken(t *testing.T, f *Feed, from uint64, want []uint64, wantBehind bool) {
	t.Helper()
	run, behind := f.Take(from)
	require.Equal(t, want, seqsOf(run))
	require.Equal(t, wantBehind, behind)
}

func TestFeedHandsOnWhatFollows(t *testing.T) {
	f := &Feed{more: make(chan struct{}, 1)}
	requireTaken(t, f, 1, nil, false)
	add(f, 1, 2, 3, 5, 6)
	<-f.More()
	requireTaken(t, f, 2, []uint64{2, 3}, false)
	requireTaken(t, f, 4, nil, true)
	requireTaken(t, f, 4, nil, true) // for as long as something stands behind the gap
	requireTaken(t, f, 5, []uint64{5, 6}, false)
	requireTaken(t, f, 7, nil, false)
	require.Zero(t, f.bytes)

	f.miss()
	<-f.More()
	requireTaken(t, f, 7, nil, true)
	requireTaken(t, f, 7, nil, false) // who was told looks until there is no more
	add(f, 7, 9, 8)                   // out of order: left to the stream
	requireTaken(t, f, 7, []uint64{7}, false)
	requireTaken(t, f, 8, nil, true)
}

func TestFeedIsBounded(t *testing.T) {
	f := &Feed{more: make(chan struct{}, 1)}
	for seq := range uint64(feedMessages + 10) {
		add(f, seq+1)
	}
	run, behind := f.Take(1)
	require.Len(t, run, feedMessages)
	require.False(t, behind)
	add(f, feedMessages+11)
	requireTaken(t, f, feedMessages+1, nil, true)
	requireTaken(t, f, feedMessages+11, []uint64{feedMessages + 11}, false)

	f = &Feed{more: make(chan struct{}, 1)}
	for seq := range uint64(4) {
		f.add(seq+1, &nats.Msg{Data: make([]byte, feedBytes/2)})
	}
	requireTaken(t, f, 1, []uint64{1, 2}, false)
	requireTaken(t, f, 3, nil, true)
}

func TestFollow(t *testing.T) {
	conn := onPlatter(t, &platter{})
	publish := func(data string, header map[string]string) uint64 {
		seq, err := conn.Publish(t.Context(), Message{Subject: "a.x", Data: []byte(data), Headers: header})
		require.NoError(t, err)
		return seq
	}
	publish("before", nil)
	f := conn.Follow("A")
	began := time.Now()
	publish("one", nil)
	publish("two", map[string]string{"K": "v"})
	_, err := conn.Publish(t.Context(), Message{Subject: "b.x", Data: []byte("another's")})
	require.NoError(t, err)
	_, err = conn.Publish(t.Context(), Message{Subject: "a.x", ExpectLast: new(uint64), Data: []byte("refused")})
	require.ErrorIs(t, err, ErrConflict)
	requireTaken(t, f, 1, nil, true)
	run, _ := f.Take(2)
	require.Equal(t, []uint64{2, 3}, seqsOf(run))
	require.Equal(t, "one", string(run[0].Data))
	require.Equal(t, "v", run[1].Header.Get("K"))
	require.WithinRange(t, run[0].Time, began, time.Now())

	next := conn.Follow("A")
	conn.Unfollow(f) // the former's end is nothing to the next
	publish("three", nil)
	requireTaken(t, next, 4, []uint64{4}, false)
	requireTaken(t, f, 4, nil, false)
	conn.Unfollow(next)
	publish("four", nil)
	requireTaken(t, next, 5, nil, false)
}

// What nobody waits for any more is stored all the same; what was not answered
// may be.
func TestFeedKnowsOfWhatWasGivenUp(t *testing.T) {
	p := &publisher{life: "0", prefix: "i.", names: map[string]string{}, feeds: map[string]*Feed{}}
	f := &Feed{stream: "A", more: make(chan struct{}, 1)}
	p.follow(f)
	answer := func(s *seat, seq int) {
		p.answered(&nats.Msg{Subject: s.reply, Data: []byte(`{"stream":"A","seq":` + strconv.Itoa(seq) + `}`)})
	}

	abandoned, err := p.sit(&nats.Msg{Data: []byte("kept")})
	require.NoError(t, err)
	p.abandon(abandoned)
	answer(abandoned, 1)
	run, _ := f.Take(1)
	require.Equal(t, "kept", string(run[0].Data))

	late, err := p.sit(&nats.Msg{Data: []byte("late")})
	require.NoError(t, err)
	p.failBefore(time.Time{}, errNoAnswer)
	require.ErrorIs(t, (<-late.answer).err, errNoAnswer)
	requireTaken(t, f, 2, nil, true)
	answer(late, 2)
	run, _ = f.Take(2)
	require.Equal(t, "late", string(run[0].Data))
}

// A wait for everything ends with the disk's failure.
func TestSyncEndsWhenTheDiskFails(t *testing.T) {
	broken := errors.New("input/output error")
	p := &platter{}
	conn := onPlatter(t, p)
	p.mu.Lock()
	p.fails = broken
	p.mu.Unlock()
	_, err := conn.Publish(t.Context(), Message{Subject: "a.x", Later: true})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.ErrorIs(t, conn.Sync(ctx), broken)
}
