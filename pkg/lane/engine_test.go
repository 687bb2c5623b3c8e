package lane_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handler is a stage for tests: a message's text is "endpoint conversation
// place"; each endpoint does what its script says.
type handler struct {
	mu        sync.Mutex
	allClosed bool
	shared    string // the destination of all groups; empty: each its own
	routed    int
	script    map[string]func(t *lane.Task) lane.Verdict
	policy    map[string]lane.Policy
	paused    map[string]string
	age       map[string]time.Duration // endpoint → how old its messages are when they come
	lasts     map[string]time.Duration // endpoint → how long its messages do, by themselves
	// past is where a conversation has come to: what is below is superseded; asked
	// is how often that was asked.
	past       map[string]uint64
	asked      int
	superseded []uint64            // places that ended so
	seen       map[string][]uint64 // lane → places handled with Done, in order
	tries      map[string]int
	ended      map[chat.Outcome]int
	failed     []int             // status of each attempt that was reported and had one
	epochs     map[uint64]uint64 // place → its session's, else 1
	change     chan struct{}
	expire     func(*lane.Task) lane.Verdict // nil: it has expired
	newer      map[uint64]bool               // places that only a newer version reads
}

func newHandler() *handler {
	return &handler{
		script: map[string]func(*lane.Task) lane.Verdict{}, policy: map[string]lane.Policy{}, lasts: map[string]time.Duration{}, paused: map[string]string{},
		past: map[string]uint64{}, age: map[string]time.Duration{},
		seen: map[string][]uint64{}, tries: map[string]int{}, ended: map[chat.Outcome]int{},
		change: make(chan struct{}),
	}
}

var quick = retry.Schedule{time.Millisecond, 2 * time.Millisecond, 300 * time.Millisecond}

// many is a schedule that random failures don't use up, and that outlasts a
// test on the slowest machine.
var many = append(slices.Repeat(retry.Schedule{time.Millisecond, 3 * time.Millisecond}, 20), time.Hour)

func (h *handler) Destination(group string) string {
	if h.shared != "" {
		return h.shared
	}
	return group
}

func (h *handler) Policy(destination string) lane.Policy {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p, ok := h.policy[destination]; ok {
		return p
	}
	if h.allClosed {
		return lane.Policy{Schedule: quick, Closed: "for now"}
	}
	return lane.Policy{Schedule: quick}
}

func (h *handler) setPolicy(destination string, p lane.Policy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.policy[destination] = p
}

func (h *handler) Route(_ context.Context, m *lane.Message) ([]lane.Target, error) {
	h.mu.Lock()
	h.routed++
	close(h.change)
	h.change = make(chan struct{})
	h.mu.Unlock()
	var out []lane.Target
	groups, rest, _ := strings.Cut(string(m.Data), " ")
	for group := range strings.SplitSeq(groups, ",") {
		t, err := h.target(m, group, rest)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func (h *handler) Restore(m *lane.Message, group string) (lane.Target, error) {
	_, rest, _ := strings.Cut(string(m.Data), " ")
	return h.target(m, group, rest)
}

func (h *handler) target(m *lane.Message, group, rest string) (lane.Target, error) {
	conv, place, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(place, 10, 64)
	if err != nil {
		return lane.Target{}, fmt.Errorf("no place: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.newer[n] {
		return lane.Target{}, wire.ErrNewer
	}
	var expires time.Time
	if lasts, ok := h.lasts[group]; ok {
		expires = m.Time.Add(lasts)
	}
	return lane.Target{
		Created: m.Time.Add(-h.age[group]), Expires: expires,
		Lane: lane.ID{Group: group, Key: chat.KeyOf("c", conv)}, Place: chat.Ordinal{Epoch: max(h.epochs[n], 1), Counter: n},
		ChannelID: "c", ConversationID: conv, Counter: n,
		MessageID: chat.NewMessageID(time.UnixMilli(1), chat.KeyOf("c", conv), n),
	}, nil
}

func (h *handler) Handle(_ context.Context, t *lane.Task) lane.Verdict {
	h.mu.Lock()
	script := h.script[t.Lane.Group]
	h.tries[t.Lane.Group+" "+t.ConversationID]++
	h.mu.Unlock()
	v := lane.Done()
	if script != nil {
		v = script(t)
	}
	return v
}

func (h *handler) Paused(group string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.paused[group]
}

func (h *handler) Expire(_ context.Context, t *lane.Task) lane.Verdict {
	if h.expire != nil {
		return h.expire(t)
	}
	return lane.Expired()
}

func (h *handler) Superseded(_ context.Context, t *lane.Task) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	return t.Place.Counter < h.past[t.ConversationID]
}

func (h *handler) Ended(t *lane.Task, a *chat.Attempt, o chat.Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a != nil && a.Status != 0 {
		h.failed = append(h.failed, a.Status)
	}
	if o == chat.OutcomeDelivered {
		name := t.Lane.Group + " " + t.ConversationID
		h.seen[name] = append(h.seen[name], t.Place.Counter)
	}
	h.ended[o]++
	if t.Superseded {
		h.superseded = append(h.superseded, t.Place.Counter)
	}
	close(h.change)
	h.change = make(chan struct{})
}

// await waits until the handler has seen what the condition asks for.
func (h *handler) await(t *testing.T, condition func() bool) {
	t.Helper()
	for {
		h.mu.Lock()
		ok, change := condition(), h.change
		h.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-change:
		case <-t.Context().Done():
			require.Fail(t, "the condition was not met", "ended: %v", h.ended)
		}
	}
}

// memory is a ledger and a graveyard in memory.
type memory struct {
	mu      sync.Mutex
	marks   map[string]chat.Ordinal
	letters []*chat.DeadLetter
	full    bool
	deaf    bool // the ledger takes no marks
}

func (m *memory) Load(_ context.Context, name string) (chat.Ordinal, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.marks[name]
	return o, ok, nil
}

func (m *memory) Settle(_ context.Context, name string, o chat.Ordinal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deaf {
		return errors.New("the ledger is away")
	}
	m.marks[name] = o
	return nil
}

func (m *memory) Write(_ context.Context, d *chat.DeadLetter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return broker.ErrFull
	}
	m.letters = append(m.letters, d)
	return nil
}

// rig is a broker with an engine that can be stopped and started.
type rig struct {
	t       *testing.T
	conn    *broker.Conn
	handler *handler
	owner   func(partition.Owner) partition.Owner // nil: as it is
	memory  *memory
	stop    func()
	engine  *lane.Engine
	sole    bool

	rates    lane.Rates
	metrics  *prometheus.Registry // of the engine that was started last
	inFlight int
	// refuseDone says that no command can be removed.
	refuseDone bool
	// erased is the stage's part of an erasure; nil: it has none.
	erased func(lane.ID, chat.Ordinal) error
}

// withEachSource runs a test with a consumer, and without one where the engine
// has the work queue to itself.
func withEachSource(t *testing.T, test func(r *rig)) {
	t.Helper()
	for name, sole := range map[string]bool{"consumer": false, "sole": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.sole = sole
			test(r)
		})
	}
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{t: t, conn: brokertest.New(t), handler: newHandler(), memory: &memory{marks: map[string]chat.Ordinal{}}}
}

func (r *rig) start() {
	r.t.Helper()
	log := zaptest.NewLogger(r.t, zaptest.Level(zap.ErrorLevel))
	sole, err := partition.NewSole(r.t.Context(), r.conn.JS, chat.StageBot, brokertest.Layout.Partitions, "test")
	require.NoError(r.t, err)
	var owner partition.Owner = sole
	r.metrics = prometheus.NewRegistry()
	r.engine = lane.New(lane.Options{
		Stage: chat.StageBot, Rates: r.rates, MaxInFlight: r.inFlight, Marks: r.memory, Replays: r.memory, Graveyard: r.memory, ReconcileEvery: 100 * time.Millisecond, Log: log, Metrics: r.metrics,
		Erased: func(_ context.Context, id lane.ID, upTo chat.Ordinal) error {
			if r.erased == nil {
				return nil
			}
			return r.erased(id, upTo)
		},
		Commands: func(p int) lane.Commands {
			commands := lane.NewJetStreamCommands(r.conn, chat.StageBot, p)
			if r.refuseDone {
				return deafCommands{commands}
			}
			return commands
		},
		Open: func(ctx context.Context, p int) (lane.Store, error) {
			store, err := lane.NewJetStream(ctx, r.conn, chat.StageBot, p)
			if err != nil {
				return nil, err
			}
			store.Sole = r.sole
			return store, nil
		},
	}, r.handler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	if r.owner != nil {
		owner = r.owner(owner)
	}
	go func() { done <- r.engine.Run(ctx, owner) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(r.t, <-done)
		})
	}
	r.t.Cleanup(r.stop)
}

func (r *rig) publish(endpoints, conv string, place int) {
	r.t.Helper()
	key := chat.KeyOf("c", conv)
	_, err := r.conn.Publish(r.t.Context(), broker.Message{
		Subject: topology.HotSubject(chat.StageBot, key.Partition(brokertest.Layout.Partitions), "c", key),
		Data:    fmt.Appendf(nil, "%s %s %d", endpoints, conv, place),
	})
	require.NoError(r.t, err)
}

// requireEmpty asserts that nothing waits any more, hot or parked.
func (r *rig) requireEmpty() {
	r.t.Helper()
	defer r.stop()
	names := []string{topology.ParkedStream(chat.StageBot)}
	for p := range brokertest.Layout.Partitions {
		names = append(names, topology.HotStream(chat.StageBot, p))
	}
	for _, name := range names {
		stream, err := r.conn.JS.Stream(r.t.Context(), name)
		require.NoError(r.t, err)
		require.Eventually(r.t, func() bool {
			info, err := stream.Info(r.t.Context())
			return err == nil && info.State.Msgs == 0
		}, 20*time.Second, 5*time.Millisecond, "%s is not empty", name)
	}
}

func upTo(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i + 1)
	}
	return out
}

func TestOrderAndOnceUnderRandomFailures(t *testing.T) {
	withEachSource(t, testOrderAndOnceUnderRandomFailures)
}

func testOrderAndOnceUnderRandomFailures(r *rig) {
	t := r.t
	const convs, messages = 40, 50
	r.handler.script["e1"] = func(*lane.Task) lane.Verdict {
		if rand.IntN(5) == 0 {
			return lane.Retry(0, errors.New("no"))
		}
		return lane.Done()
	}
	r.handler.policy["e1"] = lane.Policy{Schedule: many}
	r.start()
	for i := range messages {
		for c := range convs {
			r.publish("e1,e2", strconv.Itoa(c), i+1)
		}
		if i == messages/2 { // a hand-over in the middle
			r.stop()
			r.start()
		}
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] >= 2*convs*messages })
	for c := range convs {
		require.Equal(t, upTo(messages), r.handler.seen["e1 "+strconv.Itoa(c)])
		require.Equal(t, upTo(messages), r.handler.seen["e2 "+strconv.Itoa(c)])
	}
	r.requireEmpty()
}

func TestExhaustedBecomesDeadLetterAndTheLaneGoesOn(t *testing.T) {
	withEachSource(t, testExhaustedBecomesDeadLetterAndTheLaneGoesOn)
}

func testExhaustedBecomesDeadLetterAndTheLaneGoesOn(r *rig) {
	t := r.t
	r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
		if task.Place.Counter == 2 {
			return lane.Retry(0, errors.New("answered 500")).With(lane.Detail{Status: 500})
		}
		return lane.Done()
	}
	r.start()
	for i := range 3 {
		r.publish("e", "a", i+1)
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2 })
	require.Equal(t, []uint64{1, 3}, r.handler.seen["e a"])
	require.Equal(t, len(quick)+1+2, r.handler.tries["e a"])
	require.Len(t, r.handler.failed, len(quick)+1, "each attempt is reported")
	require.Len(t, r.memory.letters, 1)
	letter := r.memory.letters[0]
	require.Equal(t, lane.ReasonExhausted, letter.Reason)
	require.Equal(t, "e", letter.Destination)
	require.EqualValues(t, 2, letter.Counter)
	require.Equal(t, len(quick)+1, letter.AttemptCount)
	require.Len(t, letter.Attempts, len(quick)+1)
	require.Equal(t, 500, letter.Attempts[0].Status)
	require.Equal(t, "e a 2", string(letter.Data))
	r.requireEmpty()
}

func TestHoldKeepsTheLane(t *testing.T) { withEachSource(t, testHoldKeepsTheLane) }

func testHoldKeepsTheLane(r *rig) {
	t := r.t
	r.handler.policy["e"] = lane.Policy{Schedule: quick, Hold: true}
	r.handler.script["e"] = func(*lane.Task) lane.Verdict { return lane.Retry(0, errors.New("no")) }
	r.start()
	r.publish("e", "a", 1)
	r.publish("e", "a", 2)
	r.publish("f", "a", 1)
	r.handler.await(t, func() bool {
		return r.handler.ended[chat.OutcomeRetry] == len(quick)+1 && r.handler.ended[chat.OutcomeDelivered] == 1
	})
	r.stop()
	require.Empty(t, r.memory.letters)
	require.Equal(t, len(quick)+1, r.handler.tries["e a"])
	held, all, err := lane.NewWaiting(r.conn, brokertest.Layout.Partitions).Held(t.Context(), chat.StageBot)
	require.NoError(t, err)
	require.True(t, all)
	require.EqualValues(t, 1, held)
}

func TestPanicAndUndecodableBecomeDeadLetters(t *testing.T) {
	withEachSource(t, testPanicAndUndecodableBecomeDeadLetters)
}

func testPanicAndUndecodableBecomeDeadLetters(r *rig) {
	t := r.t
	r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
		if task.Place.Counter == 1 {
			panic("boom")
		}
		return lane.Done()
	}
	r.start()
	r.publish("e", "a", 1)
	key := chat.KeyOf("c", "a")
	_, err := r.conn.Publish(t.Context(), broker.Message{
		Subject: topology.HotSubject(chat.StageBot, key.Partition(2), "c", key), Data: []byte("rubbish"),
	})
	require.NoError(t, err)
	r.publish("e", "a", 2)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 1 })
	r.requireEmpty()
	reasons := map[string]string{}
	for _, l := range r.memory.letters {
		reasons[l.Reason] = string(l.Data)
	}
	require.Equal(t, map[string]string{lane.ReasonPanic: "e a 1", lane.ReasonUndecodable: "rubbish"}, reasons)
}

func TestSlowLaneOverflowsAndHarmsNobody(t *testing.T) {
	withEachSource(t, testSlowLaneOverflowsAndHarmsNobody)
}

func testSlowLaneOverflowsAndHarmsNobody(r *rig) {
	t := r.t
	open := make(chan struct{})
	r.handler.script["slow"] = func(*lane.Task) lane.Verdict {
		<-open
		return lane.Done()
	}
	r.start()
	const slow, others = 600, 200 // more than a partition's window
	for i := range slow {
		r.publish("slow", "a", i+1)
	}
	for i := range others {
		r.publish("fast", "b"+strconv.Itoa(i), 1)
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == others })
	close(open)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == others+slow })
	require.Equal(t, upTo(slow), r.handler.seen["slow a"])
	require.Equal(t, slow, r.handler.tries["slow a"])
	r.requireEmpty()
}

func TestClosedDestinationParksAndWakesInOrder(t *testing.T) {
	withEachSource(t, testClosedDestinationParksAndWakesInOrder)
}

func testClosedDestinationParksAndWakesInOrder(r *rig) {
	t := r.t
	r.handler.policy["e"] = lane.Policy{Schedule: quick, Closed: "disabled"}
	r.start()
	for i := range 20 {
		r.publish("e,f", "a", i+1)
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 20 })
	require.Zero(t, r.handler.tries["e a"])
	r.stop()
	r.start() // the parked lane is found again
	r.publish("e,f", "a", 21)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 21 })
	r.handler.setPolicy("e", lane.Policy{Schedule: quick})
	r.engine.Wake("e")
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 42 })
	require.Equal(t, upTo(21), r.handler.seen["e a"])
	r.requireEmpty()
}

func TestRestartNeitherForgetsNorRepeatsAnAttempt(t *testing.T) {
	withEachSource(t, testRestartNeitherForgetsNorRepeatsAnAttempt)
}

func testRestartNeitherForgetsNorRepeatsAnAttempt(r *rig) {
	t := r.t
	r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond}}
	var mu sync.Mutex
	var numbers []int
	r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
		mu.Lock()
		defer mu.Unlock()
		numbers = append(numbers, task.Number)
		return lane.Retry(0, errors.New("no"))
	}
	r.start()
	r.publish("e", "a", 1)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeRetry] >= 2 })
	r.stop()
	r.start()
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDead] == 1 })
	require.Equal(t, []int{1, 2, 3, 4}, numbers)
	require.Len(t, r.memory.letters, 1)
	require.Equal(t, 4, r.memory.letters[0].AttemptCount)
	r.requireEmpty()
}

func TestClosedDestinationLeavesTheWindowOpenAfterARestart(t *testing.T) {
	withEachSource(t, testClosedDestinationLeavesTheWindowOpenAfterARestart)
}

func testClosedDestinationLeavesTheWindowOpenAfterARestart(r *rig) {
	t := r.t
	r.handler.policy["e"] = lane.Policy{Schedule: quick, Closed: "disabled"}
	r.start()
	const convs = 600 // more than the windows of both partitions
	for place := range 2 {
		for c := range convs {
			r.publish("e", strconv.Itoa(c), place+1)
		}
		r.publish("f", "a", place+1)
		r.publish("f", "b", place+1)
		r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2*(place+1) })
		r.stop()
		r.start()
	}
	r.handler.setPolicy("e", lane.Policy{Schedule: quick})
	r.engine.Wake("e")
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 4+2*convs })
	for c := range convs {
		require.Equal(t, upTo(2), r.handler.seen["e "+strconv.Itoa(c)])
	}
	r.requireEmpty()
}

func TestTimeWhileNobodyWorkedIsNoEvidence(t *testing.T) {
	withEachSource(t, testTimeWhileNobodyWorkedIsNoEvidence)
}

func testTimeWhileNobodyWorkedIsNoEvidence(r *rig) {
	t := r.t
	schedule := retry.Schedule{time.Millisecond, 300 * time.Millisecond, time.Millisecond}
	r.handler.policy["e"] = lane.Policy{Schedule: schedule}
	r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
		if task.Number <= len(schedule) {
			return lane.Retry(0, errors.New("no"))
		}
		return lane.Done()
	}
	r.start()
	r.publish("e", "a", 1)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeRetry] >= 2 })
	r.stop()
	stopped := time.Now()
	require.Eventually(t, func() bool { return time.Since(stopped) > 2*schedule.Total() }, 10*time.Second, 10*time.Millisecond)
	r.start()
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered]+r.handler.ended[chat.OutcomeDead] == 1 })
	require.Empty(t, r.memory.letters)
	r.requireEmpty()
}

func TestStateThatOutlivedItsMessagesIsDropped(t *testing.T) {
	withEachSource(t, testStateThatOutlivedItsMessagesIsDropped)
}

func testStateThatOutlivedItsMessagesIsDropped(r *rig) {
	t := r.t
	key := chat.KeyOf("c", "a")
	store, err := lane.NewJetStream(t.Context(), r.conn, chat.StageBot, key.Partition(brokertest.Layout.Partitions))
	require.NoError(t, err)
	id := lane.ID{Group: "e", Key: key}
	require.NoError(t, store.PutState(t.Context(), id, &chat.LaneState{HeadSeq: 1}))
	found, err := store.Lanes(t.Context())
	require.NoError(t, err)
	require.Equal(t, []lane.ParkedLane{{ID: id, HasState: true}}, found)
	r.start()
	r.requireEmpty()
}

func TestFullGraveyardHoldsTheLaneUntilItTakesTheLetter(t *testing.T) {
	withEachSource(t, testFullGraveyardHoldsTheLaneUntilItTakesTheLetter)
}

func testFullGraveyardHoldsTheLaneUntilItTakesTheLetter(r *rig) {
	t := r.t
	r.memory.full = true
	r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
		if task.Place.Counter == 1 {
			return lane.Dead("refused", errors.New("no"))
		}
		return lane.Done()
	}
	r.start()
	r.publish("e", "a", 1)
	r.publish("e", "a", 2)
	r.publish("f", "a", 1)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 1 })
	require.Empty(t, r.handler.seen["e a"])
	r.memory.mu.Lock()
	r.memory.full = false
	r.memory.mu.Unlock()
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2 })
	require.Len(t, r.memory.letters, 1)
	require.Equal(t, []uint64{2}, r.handler.seen["e a"])
	r.requireEmpty()
}

// What an owner before stored late is found and, as a copy of what was
// delivered, removed.
func TestStrayParkedMessageIsFound(t *testing.T) { withEachSource(t, testStrayParkedMessageIsFound) }

func testStrayParkedMessageIsFound(r *rig) {
	t := r.t
	r.start()
	r.publish("e", "a", 1)
	r.publish("e", "a", 2)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2 })
	key := chat.KeyOf("c", "a")
	store, err := lane.NewJetStream(t.Context(), r.conn, chat.StageBot, key.Partition(brokertest.Layout.Partitions))
	require.NoError(t, err)
	_, err = store.Append(t.Context(), lane.ID{Group: "e", Key: key}, &lane.Message{Seq: 1, Time: time.Now(), Data: []byte("e a 1")})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		found, err := store.Lanes(t.Context())
		return err == nil && len(found) == 0
	}, 20*time.Second, 10*time.Millisecond)
	r.publish("e", "a", 3)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 3 })
	require.Equal(t, upTo(3), r.handler.seen["e a"])
	r.requireEmpty()
}
