package journal_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func turn(conversation, id string) *chat.Turn {
	return &chat.Turn{
		At: time.UnixMilli(1785240000000).UTC(), BotID: "echo", Outcome: chat.OutcomeProcessed,
		Input: chat.UserMessage{
			ID: id, ChannelID: "shop", ConversationID: conversation, Input: chat.Input{Kind: chat.InputIntro},
		},
	}
}

func delivery(conversation string, attempt int, outcome chat.Outcome) *chat.Delivery {
	return &chat.Delivery{
		At: time.UnixMilli(1785240000000).UTC(), ChannelID: "shop", ConversationID: conversation,
		MessageID: "msg_1", EndpointID: "ep", AttemptNumber: attempt, Outcome: outcome,
	}
}

// start makes a writer and runs it; the returned function stops it and waits.
func start(t *testing.T, p journal.Publisher, o journal.Options) (*journal.Writer, *prometheus.Registry, func()) {
	t.Helper()
	reg := prometheus.NewRegistry()
	w, err := journal.NewWriter(p, o, reg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(stop)
	return w, reg, stop
}

func count(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Len(t, families, 1)
	counts := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		if v := m.GetCounter().GetValue(); v != 0 {
			counts[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = v
		}
	}
	return counts
}

func TestWriteAndRead(t *testing.T) {
	conn := brokertest.New(t)
	w, reg, stop := start(t, conn, journal.Options{Queue: 2000})
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Len(t, families[0].GetMetric(), 6, "every label value is there from the start")

	want := []journal.Entry{{Turn: turn("1", "msg_1")}}
	w.Turn(want[0].Turn)
	w.Turn(turn("2", "msg_2"))
	for n := 1; n < 1200; n++ {
		d := delivery("1", n, chat.OutcomeRetry)
		want = append(want, journal.Entry{Delivery: d})
		w.Delivery(d)
	}
	stop()

	r := journal.NewReader(conn)
	key := chat.KeyOf("shop", "1")
	got, err := r.Conversation(t.Context(), "shop", key, 2000)
	require.NoError(t, err)
	require.Equal(t, want, contents(t, got))
	got, err = r.Conversation(t.Context(), "shop", key, 3)
	require.NoError(t, err)
	require.Equal(t, want[len(want)-3:], contents(t, got))
	got, err = r.Conversation(t.Context(), "shop", chat.KeyOf("shop", "none"), 3)
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = conn.Publish(t.Context(), broker.Message{Subject: topology.JournalSubject("shop", key), Data: []byte("{}")})
	require.NoError(t, err)
	_, err = r.Conversation(t.Context(), "shop", key, 3)
	require.ErrorIs(t, err, wire.ErrUndecodable)
}

// contents leaves out where and when entries were stored, which must rise.
func contents(t *testing.T, entries []journal.Entry) []journal.Entry {
	t.Helper()
	out := make([]journal.Entry, len(entries))
	last := journal.Entry{StoredAt: time.Now().Add(-time.Hour)}
	for i, e := range entries {
		require.Greater(t, e.Seq, last.Seq)
		require.False(t, e.StoredAt.Before(last.StoredAt))
		last, out[i] = e, journal.Entry{Turn: e.Turn, Delivery: e.Delivery, Unreadable: e.Unreadable}
	}
	return out
}

// A conversation has one subject, for the broker keeps each in memory; entries
// that have their endpoint in the subject are read as well.
func TestOneSubjectAConversation(t *testing.T) {
	conn := brokertest.New(t)
	key := chat.KeyOf("shop", "1")
	former := delivery("1", 1, chat.OutcomeRetry)
	data, err := wire.EncodeDelivery(former)
	require.NoError(t, err)
	_, err = conn.Publish(t.Context(), broker.Message{Subject: "journal.shop.ep." + key.String(), Data: data})
	require.NoError(t, err)

	w, _, stop := start(t, conn, journal.Options{})
	want := []journal.Entry{{Delivery: former}}
	for n := range 3 {
		e := turn("1", "msg_1")
		d := delivery("1", 2, chat.OutcomeDelivered)
		d.EndpointID = string(rune('a' + n))
		w.Turn(e)
		w.Delivery(d)
		want = append(want, journal.Entry{Turn: e}, journal.Entry{Delivery: d})
	}
	stop()
	got, err := journal.NewReader(conn).Conversation(t.Context(), "shop", key, 9)
	require.NoError(t, err)
	require.Equal(t, want, contents(t, got))
	stream, err := conn.JS.Stream(t.Context(), topology.StreamJournal)
	require.NoError(t, err)
	require.EqualValues(t, 2, stream.CachedInfo().State.NumSubjects, "that of the former entry, and one")
}

func TestModes(t *testing.T) {
	for mode, want := range map[journal.Mode]map[string]float64{
		"":                   {"turn written": 2, "delivery written": 6},
		journal.ModeAll:      {"turn written": 2, "delivery written": 6},
		journal.ModeFailures: {"turn written": 1, "delivery written": 4},
		journal.ModeOff:      {},
	} {
		t.Run("mode "+string(mode), func(t *testing.T) {
			w, reg, stop := start(t, &publisher{}, journal.Options{Mode: mode})
			w.Turn(turn("1", "msg_1"))
			failed := turn("1", "msg_2")
			failed.Outcome = chat.OutcomeDead
			w.Turn(failed)
			for _, o := range []chat.Outcome{
				chat.OutcomeDelivered, chat.OutcomeFiltered,
				chat.OutcomeRetry, chat.OutcomeDead, chat.OutcomeExpired, chat.OutcomeUnrouted,
			} {
				w.Delivery(delivery("1", 1, o))
			}
			stop()
			require.Equal(t, want, count(t, reg))
		})
	}
	_, err := journal.NewWriter(&publisher{}, journal.Options{Mode: "some"}, prometheus.NewRegistry())
	require.ErrorContains(t, err, "set it to all, failures or off")
}

// publisher holds every group until its gate opens (nil: at once).
type publisher struct {
	gate    chan struct{}
	err     error
	started atomic.Int64
	last    atomic.Uint64
	lose    atomic.Uint64 // so many of the next group are not stored
}

func (p *publisher) PublishAll(ctx context.Context, ms ...broker.Message) (uint64, error) {
	p.started.Add(1)
	if p.gate != nil {
		select {
		case <-p.gate:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return p.last.Add(uint64(len(ms)) - p.lose.Swap(0)), p.err
}

func TestDropsUnderPressure(t *testing.T) {
	p := &publisher{gate: make(chan struct{})}
	w, reg, stop := start(t, p, journal.Options{Queue: 4})
	w.Turn(turn("1", "msg_0"))
	require.Eventually(t, func() bool { return p.started.Load() == 1 }, 10*time.Second, time.Millisecond)
	for range 10 { // 4 fit the queue
		w.Turn(turn("1", "msg_1"))
	}
	require.Equal(t, map[string]float64{"turn dropped": 6}, count(t, reg))
	close(p.gate)
	stop()
	require.Equal(t, map[string]float64{"turn dropped": 6, "turn written": 5}, count(t, reg), "what was queued is written")
}

func TestDrainIsBounded(t *testing.T) {
	p := &publisher{gate: make(chan struct{})}
	w, reg, stop := start(t, p, journal.Options{DrainTimeout: time.Millisecond})
	w.Turn(turn("1", "msg_0"))
	require.Eventually(t, func() bool { return p.started.Load() == 1 }, 10*time.Second, time.Millisecond)
	for range 9 {
		w.Turn(turn("1", "msg_1"))
	}
	stop()
	require.Equal(t, map[string]float64{"turn failed": 1, "turn dropped": 9}, count(t, reg))
}

func TestFailuresAreCounted(t *testing.T) {
	w, reg, stop := start(t, &publisher{err: errors.New("full")}, journal.Options{})
	w.Delivery(delivery("1", 1, chat.OutcomeDelivered))
	w.Turn(&chat.Turn{})
	stop()
	require.Equal(t, map[string]float64{"delivery failed": 1, "turn failed": 1}, count(t, reg))
}

// inGroups writes a first entry, holds it, queues n more, lets go and stops.
func inGroups(t *testing.T, p *publisher, n int) map[string]float64 {
	t.Helper()
	p.gate = make(chan struct{})
	w, reg, stop := start(t, p, journal.Options{})
	w.Turn(turn("1", "msg_0"))
	require.Eventually(t, func() bool { return p.started.Load() == 1 }, 10*time.Second, time.Millisecond)
	for range n {
		w.Delivery(delivery("1", 1, chat.OutcomeDelivered))
	}
	close(p.gate)
	stop()
	return count(t, reg)
}

func TestGroups(t *testing.T) {
	p := &publisher{}
	require.Equal(t, map[string]float64{"turn written": 1, "delivery written": 300}, inGroups(t, p, 300))
	require.EqualValues(t, 1+3, p.started.Load(), "what is queued is written together, 128 at most")
}

func TestGroupIsWrittenOnlyAsAWhole(t *testing.T) {
	lossy := &losesOne{group: 2}
	w, reg, stop := start(t, lossy, journal.Options{})
	for range 300 {
		w.Turn(turn("1", "msg_1"))
	}
	stop()
	counts := count(t, reg)
	require.EqualValues(t, lossy.lost, counts["turn failed"], "all of the group")
	require.EqualValues(t, 300-lossy.lost, counts["turn written"])
}

// losesOne is a broker that confirms each group and lacks one message of one of
// them.
type losesOne struct {
	publisher

	group int64
	lost  int // how many that group had
}

func (p *losesOne) PublishAll(ctx context.Context, ms ...broker.Message) (uint64, error) {
	if p.started.Load()+1 == p.group {
		p.lose.Store(1)
		p.lost = len(ms)
	}
	return p.publisher.PublishAll(ctx, ms...)
}

func TestAnEntryThatIsTooLargeFailsAlone(t *testing.T) {
	conn := brokertest.New(t)
	w, reg, stop := start(t, conn, journal.Options{})
	large := turn("1", "msg_2")
	large.Input.Input.Body = bytes.Repeat([]byte("1"), broker.MaxPayload)
	for _, e := range []*chat.Turn{turn("1", "msg_1"), large, turn("1", "msg_3")} {
		w.Turn(e)
	}
	stop()
	require.Equal(t, map[string]float64{"turn written": 2, "turn failed": 1}, count(t, reg))
	got, err := journal.NewReader(conn).Conversation(t.Context(), "shop", chat.KeyOf("shop", "1"), 9)
	require.NoError(t, err)
	require.Len(t, got, 2)
}
