package botworker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{Partitions: 1})
	require.ErrorContains(t, err, "a part is missing")
	_, err = New(Options{})
	require.ErrorContains(t, err, "at least 1")
}

// finished is a journal that tells when so many turns have ended.
type finished struct {
	mu        sync.Mutex
	left      int
	processed map[string]int // ends, by input
	dead      []string
	done      chan struct{}
}

func (*finished) Flush(context.Context) error { return nil }

func (f *finished) Turn(t *chat.Turn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.Outcome == chat.OutcomeDead {
		f.dead = append(f.dead, t.Input.ID)
	}
	if t.Outcome == chat.OutcomeRetry {
		return
	}
	f.processed[t.Input.ID]++
	if f.left--; f.left == 0 {
		close(f.done)
	}
}

// TestConversationsInOrder runs the whole stage: engine, handler, sessions and
// broker, with a bot and a broker that fail at random, and a restart in between.
func TestConversationsInOrder(t *testing.T) {
	const conversations, messages = 20, 20
	r := newRig(t)
	journal := &finished{left: conversations * messages, processed: map[string]int{}, done: make(chan struct{})}
	half := make(chan struct{})
	answered := 0
	var mu sync.Mutex
	r.bot.script = func(_ context.Context, turn *bot.Turn) (*bot.Answer, error) {
		if rand.IntN(5) == 0 {
			return nil, errors.New("not now")
		}
		mu.Lock()
		defer mu.Unlock()
		if answered++; answered == conversations*messages/2 {
			close(half)
		}
		return says(turn, "1: "+textOf(turn.Input), "2: "+textOf(turn.Input)), nil
	}

	for n := range messages {
		for c := range conversations {
			r.publishUser(r.said(fmt.Sprint("c", c), fmt.Sprint(n)))
		}
	}

	run(t, r, journal, half)
	run(t, r, journal, journal.done)

	require.Empty(t, journal.dead)
	require.Len(t, journal.processed, conversations*messages)
	for id, times := range journal.processed {
		require.Equal(t, 1, times, id)
	}
	got := published(t, r)
	require.Len(t, got, conversations)
	for _, conversation := range got {
		checkConversation(t, conversation, messages)
	}
}

// TestPause: a paused bot, and the bot of a paused channel, run for nobody until
// they are resumed; then for all that waits, in order.
func TestPause(t *testing.T) {
	for name, pause := range map[string]func(r *rig, why string) error{
		"bot": func(r *rig, why string) error {
			_, _, err := r.registry.PutBot(t.Context(), chat.Bot{ID: botID, Kind: registry.BotEcho, Paused: why}, registry.Present)
			return err
		},
		"channel": func(r *rig, why string) error {
			_, err := r.registry.PutChannel(t.Context(), chat.Channel{ID: channel, BotID: botID, Paused: why}, registry.Present)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			require.NoError(t, pause(r, "moving"))
			require.Equal(t, "moving", r.h.Policy(botID).Closed+r.h.Paused(channel))
			require.Contains(t, r.handle(r.said("late", "hi")), "stall: ", "what was let through just before")
			require.Zero(t, r.bot.runs())

			const messages = 5
			for n := range messages {
				r.publishUser(r.said("c1", fmt.Sprint(n)))
			}
			journal := &finished{left: messages, processed: map[string]int{}, done: make(chan struct{})}
			resumed := make(chan error, 1)
			runs := 0 // while it was paused
			go func() {
				r.awaitParked(messages)
				runs = r.bot.runs()
				resumed <- pause(r, "")
			}()
			run(t, r, journal, journal.done)
			require.NoError(t, <-resumed)
			require.Zero(t, runs)
			checkConversation(t, published(t, r)["c1"], messages)
			require.Equal(t, messages, r.bot.runs())
		})
	}
}

// TestBotsFollowTheConfiguration: a bot in use is made anew when its
// configuration changes, from the one before, though nobody talks to it; at the
// end it is closed.
func TestBotsFollowTheConfiguration(t *testing.T) {
	r := newRig(t)
	r.publishUser(r.said("c1", "0"))
	journal := &finished{left: 1, processed: map[string]int{}, done: make(chan struct{})}
	var made []*kept
	again := make(chan struct{})
	build := func(_ *chat.Bot, former bot.Bot) (bot.Bot, error) {
		made = append(made, &kept{})
		if len(made) == 2 {
			require.Same(t, made[0], former)
			close(again)
		}
		return made[len(made)-1], nil
	}
	changed := make(chan error, 1)
	go func() {
		<-journal.done
		_, _, err := r.registry.PutBot(t.Context(), chat.Bot{ID: botID, Kind: registry.BotEcho, Name: "new"}, registry.Present)
		changed <- err
	}()
	run(t, r, journal, again, func(o *Options) { o.NewBot = build })
	require.NoError(t, <-changed)
	require.True(t, made[1].closed)
}

// publishUser puts a message into its work queue.
func (r *rig) publishUser(m *lane.Message) {
	r.t.Helper()
	key := r.task(m).Lane.Key
	subject := topology.HotSubject(chat.StageUser, key.Partition(r.h.Partitions), channel, key)
	_, err := r.conn.Publish(r.t.Context(), broker.Message{Subject: subject, Data: m.Data})
	require.NoError(r.t, err)
}

// awaitParked waits until so many messages are parked.
func (r *rig) awaitParked(n uint64) {
	for {
		stream, err := r.conn.JS.Stream(r.t.Context(), topology.ParkedStream(chat.StageUser))
		if err != nil || stream.CachedInfo().State.Msgs == n {
			return
		}
		runtime.Gosched()
	}
}

// run runs the service until the channel is closed.
func run(t *testing.T, r *rig, journal Journal, until <-chan struct{}, change ...func(*Options)) {
	t.Helper()
	o := r.options()
	o.Journal, o.Metrics = journal, prometheus.NewRegistry()
	// The hour at its end, which no message gets to, says how long one may wait.
	o.Schedule = append(slices.Repeat(retry.Schedule{time.Millisecond}, 20), time.Hour)
	var err error
	o.Owner, err = partition.NewSole(t.Context(), r.conn.JS, chat.StageUser, brokertest.Layout.Partitions, "test")
	require.NoError(t, err)
	o.Replays = noMarks{}
	o.Graveyard, err = deadletter.New(t.Context(), r.conn)
	require.NoError(t, err)
	for _, c := range change {
		c(&o)
	}
	svc, err := New(o)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	select {
	case <-until:
	case err := <-ended:
		require.Fail(t, "the service ended by itself", "%v", err)
	}
	stop()
	require.NoError(t, <-ended)
}

// published reads what the stage published, by conversation. What was published
// again is the same message, and is left out.
func published(t *testing.T, r *rig) map[string][]*chat.BotMessage {
	t.Helper()
	got := map[string][]*chat.BotMessage{}
	for p := range r.h.Partitions {
		stream, err := r.conn.JS.Stream(t.Context(), topology.HotStream(chat.StageBot, p))
		require.NoError(t, err)
		for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
			raw, err := stream.GetMsg(t.Context(), seq)
			require.NoError(t, err)
			m, err := wire.DecodeBotMessage(raw.Data)
			require.NoError(t, err)
			require.Equal(t, topology.HotSubject(chat.StageBot, p, channel, m.Key()), raw.Subject)
			before := got[m.ConversationID]
			if !slices.ContainsFunc(before, func(b *chat.BotMessage) bool { return b.ID == m.ID }) {
				got[m.ConversationID] = append(before, m)
			}
		}
	}
	return got
}

// checkConversation asserts that each input was answered, in order, and that
// the counters have no gap.
func checkConversation(t *testing.T, got []*chat.BotMessage, messages int) {
	t.Helper()
	require.Len(t, got, 2*messages)
	said := texts(t, got)
	for i, m := range got {
		require.EqualValues(t, i+1, m.Ordinal.Counter)
		require.Equal(t, got[0].Ordinal.Epoch, m.Ordinal.Epoch)
		require.Equal(t, fmt.Sprintf("%d: %d", i%2+1, i/2), said[i])
	}
}

// noMarks is a ledger that is away.
type noMarks struct{}

var errNoLedger = errors.New("no ledger")

func (noMarks) Load(context.Context, string) (chat.Ordinal, bool, error) {
	return chat.Ordinal{}, false, errNoLedger
}

func (noMarks) Settle(context.Context, string, chat.Ordinal) error { return errNoLedger }
