package lane_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
)

// mortal is a process that can die: its handler's work is cut off, and what it
// holds lapses without being released.
type mortal struct {
	*handler
	fails  bool // the poison's first attempt fails, those after it end the process
	sole   *partition.Sole
	died   chan struct{}
	die    func()
	ended  chan struct{} // a value for each partition that isn't worked on any more
	buried chan struct{} // closed at the test's end
}

func newMortal(t *testing.T, r *rig) *mortal {
	t.Helper()
	sole, err := partition.NewSole(t.Context(), r.conn.JS, chat.StageBot, brokertest.Layout.Partitions, "test")
	require.NoError(t, err)
	m := &mortal{
		handler: r.handler, sole: sole,
		died: make(chan struct{}), ended: make(chan struct{}, brokertest.Layout.Partitions), buried: make(chan struct{}),
	}
	m.die = sync.OnceFunc(func() { close(m.died) })
	return m
}

// Run implements partition.Owner.
func (m *mortal) Run(ctx context.Context, hold func(context.Context, partition.Lease) error) error {
	return m.sole.Run(ctx, func(ctx context.Context, l partition.Lease) error {
		held, end := context.WithCancelCause(ctx)
		go func() {
			select {
			case <-m.died:
				end(partition.ErrLapsed)
			case <-held.Done():
			}
		}()
		err := hold(held, mortalLease{l, m})
		end(nil)
		m.ended <- struct{}{}
		select {
		case <-m.died:
			<-m.buried // a dead process releases nothing
		default:
		}
		return err
	})
}

const killer = "killer" // an endpoint whose messages can't be routed

// Route implements lane.Handler.
func (m *mortal) Route(ctx context.Context, msg *lane.Message) ([]lane.Target, error) {
	if strings.HasPrefix(string(msg.Data), killer) {
		m.die()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return m.handler.Route(ctx, msg)
}

// Handle implements lane.Handler: the second message of the conversation poison
// ends the process at one of its two endpoints. Some others take long, so that
// they are in flight then.
func (m *mortal) Handle(ctx context.Context, t *lane.Task) lane.Verdict {
	if t.ConversationID == "poison" && t.Place.Counter == 2 && t.Destination == "e1" {
		if m.fails && t.Number == 1 {
			return lane.Retry(0, errors.New("not yet"))
		}
		m.die()
		<-ctx.Done()
		return lane.Stall(ctx.Err())
	}
	if n, _ := strconv.Atoi(t.ConversationID); n%4 == 1 {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return lane.Stall(ctx.Err())
		}
	}
	return m.handler.Handle(ctx, t)
}

// mortalLease is not written any more once its holder is dead.
type mortalLease struct {
	partition.Lease
	of *mortal
}

func (l mortalLease) NoteInFlight(ctx context.Context, works []partition.Work) error {
	select {
	case <-l.of.died:
		return partition.ErrLapsed
	default:
		return l.Lease.NoteInFlight(ctx, works)
	}
}

// live runs an engine as a process of its own until it dies or the condition is
// met, and reports whether it died.
func (r *rig) live(fails bool, marks lane.Marks, condition func() bool) (died bool) {
	r.t.Helper()
	m := newMortal(r.t, r)
	m.fails = fails
	engine := lane.New(lane.Options{
		Stage: chat.StageBot, Marks: marks, Graveyard: r.memory, Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
		Open: func(ctx context.Context, p int) (lane.Store, error) {
			return lane.NewJetStream(ctx, r.conn, chat.StageBot, p)
		},
	}, m)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx, m) }()
	stop := func() {
		cancel()
		close(m.buried)
		require.NoError(r.t, <-done)
	}
	for {
		r.handler.mu.Lock()
		ok, change := condition(), r.handler.change
		r.handler.mu.Unlock()
		if ok {
			stop()
			return false
		}
		select {
		case <-change:
		case <-m.died:
			for range brokertest.Layout.Partitions {
				<-m.ended
			}
			r.t.Cleanup(stop)
			return true
		case <-r.t.Context().Done():
			require.Fail(r.t, "the condition was not met", "ended: %v", r.handler.ended)
		}
	}
}

// noMarks is a ledger that is away.
type noMarks struct{}

var errAway = errors.New("away")

func (noMarks) Load(context.Context, string) (chat.Ordinal, bool, error) {
	return chat.Ordinal{}, false, errAway
}
func (noMarks) Settle(context.Context, string, chat.Ordinal) error { return errAway }

func TestPoisonIsFoundAndNobodyElseIsHarmed(t *testing.T) {
	const convs, messages = 60, 4
	for _, test := range []struct {
		name   string
		poison string // its endpoints
		lanes  int    // that it doesn't get through
		marks  bool
		fails  bool // once, before it ends the process
	}{
		{"while it is handled", "e1,e2", 1, true, false},
		{"while it is handled, without a ledger", "e1,e2", 1, false, false},
		{"while it is routed", killer, 2, true, false},
		{"when it is tried again", "e1,e2", 1, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			for place := range messages {
				for c := range convs {
					r.publish("e1,e2", strconv.Itoa(c), place+1)
				}
				if place == 1 {
					r.publish(test.poison, "poison", 2)
				} else {
					r.publish("e1,e2", "poison", place+1)
				}
			}
			var marks lane.Marks = r.memory
			if !test.marks {
				marks = noMarks{}
			}
			deaths := 0
			for r.live(test.fails, marks, func() bool {
				places := 0
				for _, seen := range r.handler.seen {
					places += len(firsts(seen))
				}
				return places == 2*(convs+1)*messages-test.lanes // the letter is written by the end of the drain
			}) {
				deaths++
				require.LessOrEqual(t, deaths, 5, "two make the owner careful, the third leaves suspects, the fourth and fifth one of them")
			}
			require.Len(t, r.memory.letters, 1, "nobody else is given up")
			letter := r.memory.letters[0]
			require.Equal(t, lane.ReasonPoison, letter.Reason)
			require.Equal(t, test.poison+" poison 2", string(letter.Data))
			require.Contains(t, letter.Error, "process ended")
			for name, seen := range r.handler.seen {
				want := upTo(messages)
				if name == "e1 poison" || name == "e2 poison" && test.lanes == 2 {
					want = []uint64{1, 3, 4}
				}
				require.Equal(t, want, firsts(seen), name)
			}
			r.start()
			r.requireEmpty()
		})
	}
}

// firsts drops what comes again: it was in flight when its process died.
func firsts(places []uint64) []uint64 {
	var out []uint64
	for _, p := range places {
		if len(out) == 0 || p > out[len(out)-1] {
			out = append(out, p)
		}
	}
	return out
}

// carefulOwner's leases are careful, and can't take it that an attempt has ended.
type carefulOwner struct {
	partition.Owner
	noting chan struct{} // takes one when that is tried
	back   chan struct{} // closed when the broker is back
}

// Run implements partition.Owner.
func (o carefulOwner) Run(ctx context.Context, hold func(context.Context, partition.Lease) error) error {
	return o.Owner.Run(ctx, func(ctx context.Context, l partition.Lease) error {
		return hold(ctx, &carefulLease{Lease: l, of: o})
	})
}

type carefulLease struct {
	partition.Lease
	of       carefulOwner
	attempts atomic.Bool // one is noted, and not only the routing of messages
}

func (*carefulLease) Careful() bool { return true }

func (l *carefulLease) NoteInFlight(ctx context.Context, works []partition.Work) error {
	if slices.ContainsFunc(works, func(w partition.Work) bool { return w.Lane != "" }) {
		l.attempts.Store(true)
		return nil
	}
	if len(works) > 0 || !l.attempts.Load() {
		return nil
	}
	select {
	case l.of.noting <- struct{}{}:
	default:
	}
	select {
	case <-l.of.back:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// What was confirmed is on record before the lease says that it isn't in flight
// any more: that may wait for a broker that is away, and the process may end
// meanwhile.
func TestMarkBeforeTheNote(t *testing.T) {
	r := newRig(t)
	owner := carefulOwner{noting: make(chan struct{}, 1), back: make(chan struct{})}
	r.owner = func(o partition.Owner) partition.Owner {
		owner.Owner = o
		return owner
	}
	r.publish("e", "a", 1)
	r.start()
	defer close(owner.back)
	<-owner.noting
	mark, ok, err := r.memory.Load(t.Context(), lane.ID{Group: "e", Key: chat.KeyOf("c", "a")}.String())
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1, mark.Counter)
}
