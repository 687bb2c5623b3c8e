package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a broker with dead letters, and processes that may run jobs.
type rig struct {
	*testing.T
	conn    *broker.Conn
	letters *deadletter.Store
	store   *Store
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, conn: brokertest.New(t)}
	var err error
	r.letters, err = deadletter.New(t.Context(), r.conn)
	require.NoError(t, err)
	r.store, err = NewStore(t.Context(), r.conn)
	require.NoError(t, err)
	return r
}

// process is a runner under a name; it runs until stop is called, or the test ends.
func (r *rig) process(name string, change ...func(*Options)) (runner *Runner, stop func()) {
	r.Helper()
	o := Options{
		Store: r.store, Letters: r.letters, Publisher: r.conn, Partitions: brokertest.Layout.Partitions,
		Instance: name, Log: zaptest.NewLogger(r), Metrics: prometheus.NewRegistry(),
	}
	for _, c := range change {
		c(&o)
	}
	runner, err := New(o)
	require.NoError(r, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.ErrorIs(r, <-done, context.Canceled)
	})
	r.Cleanup(stop)
	return runner, stop
}

// dies stores a letter of an endpoint.
func (r *rig) dies(endpoint, conversation string, n uint64, change ...func(*chat.DeadLetter)) *chat.DeadLetter {
	r.Helper()
	key := chat.KeyOf("shop", conversation)
	at := time.UnixMilli(1785240000000 + int64(n)).UTC()
	m := &chat.BotMessage{
		ID: chat.NewMessageID(at, key, n), ChannelID: "shop", ConversationID: conversation, InputID: "in", CreatedAt: at,
		Ordinal: chat.Ordinal{Epoch: 1, Counter: n, InputAt: at.UnixMilli()}, Event: chat.EventMessage, Message: []byte(`{"text":"hi"}`),
	}
	data, err := wire.EncodeBotMessage(m)
	require.NoError(r, err)
	d := &chat.DeadLetter{
		MessageID: m.ID, Stage: chat.StageBot, ChannelID: "shop", Destination: endpoint, ConversationID: conversation,
		Counter: n, Reason: "exhausted", DiedAt: at, Data: data,
	}
	for _, c := range change {
		c(d)
	}
	require.NoError(r, r.letters.Write(r.Context(), d))
	return d
}

// userDies stores a letter of a bot.
func (r *rig) userDies(conversation string, n int64) *chat.DeadLetter {
	r.Helper()
	at := time.UnixMilli(1785240000000 + n).UTC()
	key := chat.KeyOf("shop", conversation)
	m := &chat.UserMessage{
		ID: chat.NewMessageID(at, key, uint64(n)), ChannelID: "shop", ConversationID: conversation, AcceptedAt: at,
		Input: chat.Input{Kind: chat.InputText, Body: []byte(`"hi"`)},
	}
	data, err := wire.EncodeUserMessage(m)
	require.NoError(r, err)
	d := &chat.DeadLetter{MessageID: m.ID, Stage: chat.StageUser, ChannelID: "shop", Destination: "bot", ConversationID: conversation, Reason: "exhausted", DiedAt: at, Data: data}
	require.NoError(r, r.letters.Write(r.Context(), d))
	return d
}

// stored is a message that a replay has stored.
type stored struct {
	id, replay, to, place string
}

// hot lists what stands in a stage's work queues, by conversation.
func (r *rig) hot(stage chat.Stage) map[string][]stored {
	r.Helper()
	out := map[string][]stored{}
	for p := range brokertest.Layout.Partitions {
		stream, err := r.conn.JS.Stream(r.Context(), topology.HotStream(stage, p))
		require.NoError(r, err)
		info := stream.CachedInfo().State
		for seq := max(1, info.FirstSeq); seq <= info.LastSeq; seq++ {
			m, err := stream.GetMsg(r.Context(), seq)
			require.NoError(r, err)
			s := stored{replay: m.Header.Get(topology.HeaderReplay), to: m.Header.Get(topology.HeaderReplayTo), place: m.Header.Get(topology.HeaderReplayPlace)}
			var conversation string
			if stage == chat.StageBot {
				bm, err := wire.DecodeBotMessage(m.Data)
				require.NoError(r, err)
				s.id, conversation = bm.ID, bm.ConversationID
			} else {
				um, err := wire.DecodeUserMessage(m.Data)
				require.NoError(r, err)
				s.id, conversation = um.ID, um.ConversationID
			}
			out[conversation] = append(out[conversation], s)
		}
	}
	return out
}

func (r *rig) await(id string, condition func(*Job) bool) (j *Job) {
	r.Helper()
	require.Eventually(r, func() bool {
		var err error
		j, err = r.store.Get(r.Context(), id)
		return err == nil && condition(j)
	}, 30*time.Second, 5*time.Millisecond)
	return j
}

func (r *rig) ended(id string) *Job {
	r.Helper()
	return r.await(id, func(j *Job) bool { return j.State.Ended() })
}

func (r *rig) left() (n uint64) {
	r.Helper()
	n, err := r.letters.Count(r.Context(), deadletter.Filter{})
	require.NoError(r, err)
	return n
}

func (r *rig) create(runner *Runner, j Job) *Job {
	r.Helper()
	j.By = "anna"
	made, err := runner.Create(r.Context(), j)
	require.NoError(r, err)
	return made
}

// A replay stores what its filter finds in order of counters, whatever the order of
// death, and names one destination.
func TestReplayInOrder(t *testing.T) {
	r := newRig(t)
	want := map[string][]string{}
	for n := uint64(10); n >= 1; n-- { // died in the wrong order, as after a replay
		for _, conversation := range []string{"a", "b", "c"} {
			d := r.dies("ep", conversation, n)
			want[conversation] = append([]string{d.MessageID}, want[conversation]...)
		}
		r.dies("other", "a", n)
	}
	user := []*chat.DeadLetter{r.userDies("u", 2), r.userDies("u", 1)}
	require.EqualValues(t, 42, r.left())

	runner, _ := r.process("p1")
	preview, err := runner.Preview(t.Context(), Job{Action: Replay, Filter: deadletter.Filter{Destination: "ep"}})
	require.NoError(t, err)
	require.EqualValues(t, 30, preview.Total)
	require.Zero(t, preview.Left)
	require.Len(t, preview.Sample, sampled)
	require.EqualValues(t, 42, r.left(), "a preview changes nothing")

	j := r.create(runner, Job{Action: Replay, Filter: deadletter.Filter{Destination: "ep"}})
	later := r.dies("ep", "a", 99)
	j = r.ended(j.ID)
	require.Equal(t, Done, j.State)
	require.Equal(t, Progress{Counted: true, Total: 30, Done: 30}, j.Progress)
	require.Empty(t, j.Runner)
	require.False(t, j.EndedAt.IsZero())
	hot := r.hot(chat.StageBot)
	for conversation, ids := range want {
		for i, s := range hot[conversation] {
			at := 1785240000001 + i
			require.Equal(t, stored{ids[i], j.ID, "ep", fmt.Sprintf("1.%d.%d", i+1, at)}, s)
		}
		require.Len(t, hot[conversation], len(ids))
	}
	require.EqualValues(t, 13, r.left(), "the other endpoint's, the bot's, and what has died since")
	_, err = r.letters.Get(t.Context(), later.MessageID)
	require.NoError(t, err)

	j = r.ended(r.create(runner, Job{Action: Replay, Filter: deadletter.Filter{Stage: chat.StageUser}}).ID)
	require.EqualValues(t, 2, j.Done)
	said := r.hot(chat.StageUser)["u"]
	require.Len(t, said, 2)
	require.Equal(t, []string{user[1].MessageID, user[0].MessageID}, []string{said[0].id, said[1].id})
	require.Empty(t, said[0].to, "a bot is its channel's")
	require.NotEmpty(t, said[0].place)

	jobs, err := r.store.List(t.Context())
	require.NoError(t, err)
	require.Len(t, jobs, 2)
	require.Equal(t, *j, jobs[0], "the newest first")
}

func TestNamedMessages(t *testing.T) {
	r := newRig(t)
	first, second := r.dies("ep", "a", 1), r.dies("ep", "a", 2)
	r.dies("ep", "a", 3)
	r.dies("other", "a", 1)
	runner, _ := r.process("p1")
	j := r.create(runner, Job{Action: Replay, Filter: deadletter.Filter{Destination: "ep"}, Messages: []string{second.MessageID, first.MessageID, "msg_none"}})
	j = r.ended(j.ID)
	require.Equal(t, Progress{Counted: true, Total: 2, Done: 2}, j.Progress)
	hot := r.hot(chat.StageBot)["a"]
	require.Equal(t, []string{first.MessageID, second.MessageID}, []string{hot[0].id, hot[1].id})
	require.EqualValues(t, 2, r.left())
}

// What can't be decoded stays where it is, until it is discarded.
func TestWhatCantBeSentAgain(t *testing.T) {
	r := newRig(t)
	r.dies("ep", "a", 1)
	r.dies("ep", "a", 2, func(d *chat.DeadLetter) { d.Data = []byte{0xff} })
	_, err := r.conn.Publish(t.Context(), broker.Message{
		Subject: topology.DeadSubject(chat.StageBot, "shop", "ep", chat.KeyOf("shop", "a"), "msg_x"), Data: []byte("{}"),
	})
	require.NoError(t, err)
	runner, _ := r.process("p1")
	p, err := runner.Preview(t.Context(), Job{Action: Replay})
	require.NoError(t, err)
	require.Equal(t, []uint64{3, 2}, []uint64{p.Total, p.Left})
	j := r.ended(r.create(runner, Job{Action: Replay}).ID)
	require.Equal(t, Progress{Counted: true, Total: 3, Done: 1, Left: 2}, j.Progress)
	require.EqualValues(t, 2, r.left())

	_, err = runner.Create(t.Context(), Job{Action: Discard})
	require.ErrorContains(t, err, "say why")
	j = r.ended(r.create(runner, Job{Action: Discard, Reason: "from a test", Filter: deadletter.Filter{Reason: "exhausted"}}).ID)
	require.Equal(t, Progress{Counted: true, Total: 2, Done: 1, Left: 1}, j.Progress, "nobody knows why the other died")
	j = r.ended(r.create(runner, Job{Action: Discard, Reason: "from a test"}).ID)
	require.Equal(t, Progress{Counted: true, Total: 1, Done: 1}, j.Progress)
	require.Zero(t, r.left())
	require.Len(t, r.hot(chat.StageBot)["a"], 1)
}

// stuck is a store of letters whose removals don't come through after so many, as
// in a process that is killed.
type stuck struct {
	*deadletter.Store
	mu    sync.Mutex
	after int
	at    chan struct{}
}

func (s *stuck) Remove(ctx context.Context, seq uint64) error {
	s.mu.Lock()
	s.after--
	after := s.after
	s.mu.Unlock()
	switch {
	case after > 0:
		return s.Store.Remove(ctx, seq)
	case after == 0:
		close(s.at)
	}
	<-ctx.Done()
	return ctx.Err()
}

// A process that dies after a letter was stored again, and before it was removed,
// leaves a message that is stored twice, with one place: its lane knows that.
func TestKilledInBetween(t *testing.T) {
	r := newRig(t)
	const conversations, each = 20, 10
	for n := uint64(1); n <= each; n++ {
		for c := range conversations {
			r.dies("ep", fmt.Sprint(c), n)
		}
	}
	letters := &stuck{Store: r.letters, after: 77, at: make(chan struct{})}
	first, stop := r.process("p1", func(o *Options) { o.Letters = letters })
	j := r.create(first, Job{Action: Replay})
	<-letters.at
	stop()
	require.Less(t, r.left(), uint64(conversations*each))
	r.process("p2", func(o *Options) { o.Sole = true })
	j = r.ended(j.ID)
	require.Equal(t, Progress{Counted: true, Total: conversations * each, Done: conversations * each}, j.Progress)
	require.Zero(t, r.left())
	twice := 0
	for c, all := range r.hot(chat.StageBot) {
		last := 0
		for _, s := range all {
			var epoch, n, at int
			_, err := fmt.Sscanf(s.place, "%d.%d.%d", &epoch, &n, &at)
			require.NoError(t, err)
			require.LessOrEqual(t, n, last+1, "conversation %s leaves none out", c)
			if n <= last {
				twice++
			}
			last = max(last, n)
		}
		require.Equal(t, each, last)
	}
	require.Positive(t, twice)
	require.LessOrEqual(t, twice, lanesAtOnce)
}

func TestPauseResumeCancel(t *testing.T) {
	r := newRig(t)
	for n := uint64(1); n <= 200; n++ {
		r.dies("ep", "a", n)
	}
	runner, _ := r.process("p1")
	j := r.create(runner, Job{Action: Replay, Rate: 20})
	r.await(j.ID, func(j *Job) bool { return j.Done >= 5 })
	paused, err := r.store.Pause(t.Context(), j.ID)
	require.NoError(t, err)
	require.Equal(t, Paused, paused.State)
	j = r.await(j.ID, func(j *Job) bool { return j.Runner == "" })
	require.Equal(t, Paused, j.State)
	require.Equal(t, 200-j.Done, r.left(), "what it has done is noted")
	require.Less(t, j.Done, uint64(200))

	_, err = r.store.Resume(t.Context(), j.ID)
	require.NoError(t, err)
	before := j.Done
	r.await(j.ID, func(j *Job) bool { return j.Done >= before+5 })
	cancelled, err := r.store.Cancel(t.Context(), j.ID)
	require.NoError(t, err)
	require.Equal(t, Cancelled, cancelled.State)
	again, err := r.store.Cancel(t.Context(), j.ID)
	require.NoError(t, err)
	require.Equal(t, cancelled.EndedAt.UnixNano(), again.EndedAt.UnixNano())
	_, err = r.store.Resume(t.Context(), j.ID)
	require.ErrorIs(t, err, ErrEnded)
	j = r.await(j.ID, func(j *Job) bool { return j.Runner == "" })
	require.Equal(t, 200-j.Done, r.left())
	require.Positive(t, r.left())
	_, err = r.store.Pause(t.Context(), "rpl_none")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = r.store.Get(t.Context(), "a.b")
	require.ErrorIs(t, err, ErrNotFound)
}

// full is a broker that takes nothing until it is emptied.
type full struct {
	Publisher
	emptied chan struct{}
}

func (f full) Publish(ctx context.Context, m broker.Message) (uint64, error) {
	select {
	case <-f.emptied:
		return f.Publisher.Publish(ctx, m)
	default:
		return 0, fmt.Errorf("publishing: %w", broker.ErrFull)
	}
}

// Where nothing is taken, a job waits, says why, and removes nothing.
func TestNoRoom(t *testing.T) {
	r := newRig(t)
	for n := uint64(1); n <= 10; n++ {
		r.dies("ep", "a", n)
	}
	f := full{r.conn, make(chan struct{})}
	runner, _ := r.process("p1", func(o *Options) { o.Publisher = f })
	j := r.create(runner, Job{Action: Replay})
	j = r.await(j.ID, func(j *Job) bool { return j.Error != "" })
	require.Contains(t, j.Error, broker.ErrFull.Error())
	require.Equal(t, Running, j.State)
	require.EqualValues(t, 10, r.left())
	close(f.emptied)
	j = r.ended(j.ID)
	require.Equal(t, Done, j.State)
	require.Empty(t, j.Error)
	require.Zero(t, r.left())
}

// A job belongs to who renews it.
func TestIsFree(t *testing.T) {
	r := &Runner{seen: map[string]sight{}}
	at := time.Unix(1, 0)
	rec := &record{Job: Job{ID: "rpl_1", Runner: "p1"}, revision: 7}
	require.False(t, r.isFree(rec, at))
	require.False(t, r.isFree(rec, at.Add(taken-1)))
	require.True(t, r.isFree(rec, at.Add(taken)))
	rec.revision++
	require.False(t, r.isFree(rec, at.Add(taken)), "it was renewed")
	require.True(t, r.isFree(rec, at.Add(2*taken)))
	rec.Runner, rec.revision = "", 9
	require.True(t, r.isFree(rec, at), "nobody has it")
	r.Sole, rec.Runner = true, "p1"
	require.True(t, r.isFree(rec, at), "nobody else can be there")
}

// Two processes don't run one job; one that finds another's record gives way.
func TestOneRunsAJob(t *testing.T) {
	r := newRig(t)
	for n := uint64(1); n <= 100; n++ {
		r.dies("ep", "a", n)
	}
	one, _ := r.process("p1")
	r.process("p2")
	j := r.create(one, Job{Action: Replay, Rate: 40})
	r.await(j.ID, func(j *Job) bool { return j.Done > 0 })
	_, err := r.store.change(t.Context(), j.ID, func(rec *record) error { rec.Runner = "somebody"; return nil })
	require.NoError(t, err)
	r.await(j.ID, func(j *Job) bool { return j.Runner != "somebody" }) // they take it over
	j = r.ended(j.ID)
	require.Equal(t, Done, j.State)
	require.Zero(t, r.left())
	require.EqualValues(t, 100, j.Total)
	require.EqualValues(t, 100, j.Done)
}

func TestJobsAreBounded(t *testing.T) {
	r := newRig(t)
	runner, err := New(Options{
		Store: r.store, Letters: r.letters, Publisher: r.conn, Partitions: 2, Instance: "p", Log: zaptest.NewLogger(t), Metrics: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	for want, j := range map[string]Job{
		"the action is":     {Action: "burn"},
		"the rate is -1":    {Action: Replay, Rate: -1},
		"1001 messages are": {Action: Replay, Messages: make([]string, MaxMessages+1)},
		"reason has 501":    {Action: Discard, Reason: strings.Repeat("x", MaxReason+1)},
		"say why":           {Action: Discard},
	} {
		_, err := runner.Create(t.Context(), j)
		require.ErrorContains(t, err, want)
		_, err = runner.Preview(t.Context(), j)
		require.ErrorContains(t, err, want)
	}
	for range maxOpen {
		r.create(runner, Job{Action: Replay})
	}
	_, err = runner.Create(t.Context(), Job{Action: Replay})
	require.ErrorIs(t, err, ErrTooMany)
	_, err = New(Options{})
	require.Error(t, err)
}

func TestUnavailable(t *testing.T) {
	conn, stop := brokertest.Start(t, t.TempDir())
	_, err := NewStore(t.Context(), conn)
	require.True(t, errors.Is(err, jetstream.ErrStreamNotFound))
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	store, err := NewStore(t.Context(), conn)
	require.NoError(t, err)
	stop()
	_, err = store.Get(t.Context(), "rpl_1")
	require.ErrorIs(t, err, broker.ErrUnavailable)
	_, err = store.List(t.Context())
	require.ErrorIs(t, err, broker.ErrUnavailable)
	_, err = store.Pause(t.Context(), "rpl_1")
	require.ErrorIs(t, err, broker.ErrUnavailable)
}
