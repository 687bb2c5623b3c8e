package lane_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/retry"
)

// fate is what became of a message in one lane.
type fate struct {
	place     uint64
	kind      string
	delivered int
	dead      bool
	expired   bool
	counted   int   // attempts that count
	durable   int   // of which a state record tells
	open      *life // where something of it is under way
	excused   int   // crashes while something of it was under way
	forgiven  bool  // a crash came since the last attempt
}

func (f *fate) ended() bool { return f.delivered > 0 || f.dead || f.expired }

// modelLane is what the model knows of a lane.
type modelLane struct {
	fates   []*fate // in order of publication
	first   int     // of fates that has not ended, or before it
	busy    *life   // whose handler is at it
	history []string
}

// world outlives every engine: the broker, the ledger, the graveyard, the
// customers, and what must be true of them.
type world struct {
	mu        sync.Mutex
	rng       *rand.Rand
	steps     int64
	began     time.Time
	failure   string
	stage     chat.Stage
	lossy     bool // the ledger fails and forgets
	faults    float64
	panics    float64
	full      bool
	parts     []*modelPart
	parkedSeq uint64
	marks     map[string]chat.Ordinal
	lanes     map[lane.ID]*modelLane
	rubbish   map[string]bool   // undecodable messages, true once buried
	replays   map[string]bool   // replays, true once delivered
	places    map[string]uint64 // conversation → last place
	target    map[string]string // group → destination
	policy    map[string]lane.Policy
	trouble   map[string]float64 // destination → share of failures
}

// note adds to a lane's history; the mutex is held.
func (w *world) note(id lane.ID, format string, args ...any) {
	l := w.laneOf(id)
	l.history = append(l.history, fmt.Sprintf("%12s ", time.Since(w.began))+fmt.Sprintf(format, args...))
}

func (w *world) laneOf(id lane.ID) *modelLane {
	l := w.lanes[id]
	if l == nil {
		l = &modelLane{}
		w.lanes[id] = l
	}
	return l
}

// violated keeps the first failure with its lane's history; the mutex is held.
func (w *world) violated(id lane.ID, format string, args ...any) {
	w.note(id, "VIOLATED "+format, args...)
	if w.failure == "" {
		w.failure = fmt.Sprintf("lane %s: "+format+"\n", append([]any{id}, args...)...) + strings.Join(w.laneOf(id).history, "\n")
	}
}

func (w *world) fateOf(id lane.ID, data []byte) *fate {
	_, _, place, kind := modelData(data)
	n, _ := strconv.ParseUint(place, 10, 64)
	l := w.laneOf(id)
	for i := len(l.fates) - 1; i >= 0; i-- {
		if l.fates[i].place == n {
			return l.fates[i]
		}
	}
	f := &fate{place: n, kind: kind} // a replay's, or one that no lane should have
	return f
}

// buried notes a dead letter; the mutex is held.
func (w *world) buried(l *life, d *chat.DeadLetter) {
	if _, ok := w.rubbish[string(d.Data)]; ok {
		w.rubbish[string(d.Data)] = true
		return
	}
	groups, conv, _, kind := modelData(d.Data)
	if _, ok := w.replays[kind]; ok {
		w.replays[kind] = true
		return
	}
	for _, group := range groups {
		if !strings.HasPrefix(d.Destination, group) {
			continue
		}
		id := lane.ID{Group: group, Key: chat.KeyOf("c", conv)}
		w.note(id, "life %d: dead letter of %q: %s (%s)", l.number, d.Data, d.Reason, d.Error)
		f := w.fateOf(id, d.Data)
		w.inOrder(id, f)
		f.dead, f.open = true, l
	}
}

// inOrder asserts that all that came before a message has ended.
func (w *world) inOrder(id lane.ID, f *fate) {
	l := w.laneOf(id)
	for l.first < len(l.fates) && l.fates[l.first].ended() {
		l.first++
	}
	if !f.ended() && l.first < len(l.fates) && l.fates[l.first].place < f.place {
		w.violated(id, "%d is handled while %d has not ended", f.place, l.fates[l.first].place)
	}
}

// life is one process: an engine, its handler, its owner and its ledger.
type life struct {
	world  *world
	number int
	dead   bool // crashed: nothing that it does has an effect any more
	engine *lane.Engine
	cancel context.CancelCauseFunc
	done   chan error
	limit  time.Time // of its leases
}

func (w *world) start(number int) *life {
	l := &life{world: w, number: number, done: make(chan error, 1)}
	o := lane.Options{
		Stage: w.stage, MaxInFlight: 1 + w.roll(30), DrainTimeout: 5 * time.Second, Graveyard: l,
		Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
		Open: func(_ context.Context, p int) (lane.Store, error) { return &modelStore{life: l, part: w.parts[p]}, nil },
	}
	if w.stage == chat.StageBot {
		o.Marks = l
	}
	l.engine = lane.New(o, l)
	ctx, cancel := context.WithCancelCause(context.Background())
	l.cancel = cancel
	go func() { l.done <- l.engine.Run(ctx, l) }()
	return l
}

// handOver drains the life.
func (l *life) handOver() error {
	l.cancel(partition.ErrHandOver)
	return <-l.done
}

// crash ends the life where it stands.
func (l *life) crash() {
	w := l.world
	w.mu.Lock()
	l.dead = true
	for id, ml := range w.lanes {
		for _, f := range ml.fates {
			f.forgiven = true
			if f.open == l {
				w.note(id, "life %d crashes with %d under way", l.number, f.place)
				f.excused, f.open = f.excused+1, nil
			}
		}
	}
	w.mu.Unlock()
	l.cancel(partition.ErrLapsed)
}

func (l *life) isDead() bool {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	return l.dead
}

// Run implements partition.Owner.
func (l *life) Run(ctx context.Context, hold func(context.Context, partition.Lease) error) error {
	var g errgroup.Group
	for p := range l.world.parts {
		g.Go(func() error { return hold(ctx, modelLease{life: l, partition: p}) })
	}
	return g.Wait()
}

type modelLease struct {
	life      *life
	partition int
}

func (l modelLease) Stage() chat.Stage                          { return l.life.world.stage }
func (l modelLease) Partition() int                             { return l.partition }
func (l modelLease) Epoch() uint64                              { return uint64(l.life.number) }
func (l modelLease) Verify(context.Context) error               { return nil }
func (l modelLease) Careful() bool                              { return false }
func (l modelLease) Suspect() (uint64, int)                     { return 0, 0 }
func (l modelLease) NoteInFlight(context.Context, uint64) error { return nil }

// Deadline is near now and then, as if a renewal were late.
func (l modelLease) Deadline() time.Time {
	if l.life.world.roll(50) == 0 {
		return time.Now().Add(time.Second)
	}
	return time.Now().Add(time.Hour)
}

// Route implements lane.Handler.
func (l *life) Route(_ context.Context, m *lane.Message) ([]lane.Target, error) {
	groups, _, _, kind := modelData(m.Data)
	switch kind {
	case "route-panics":
		panic("route")
	case "route-fails":
		return nil, errors.New("route")
	}
	var out []lane.Target
	for _, group := range groups {
		out = append(out, l.place(m, group))
	}
	return out, nil
}

// Restore implements lane.Handler.
func (l *life) Restore(m *lane.Message, group string) (lane.Target, error) {
	switch _, _, _, kind := modelData(m.Data); kind {
	case "restore-panics":
		panic("restore")
	case "restore-fails":
		return lane.Target{}, errors.New("restore")
	}
	return l.place(m, group), nil
}

func (l *life) place(m *lane.Message, group string) lane.Target {
	_, conv, place, _ := modelData(m.Data)
	n, _ := strconv.ParseUint(place, 10, 64)
	return lane.Target{
		Lane: lane.ID{Group: group, Key: chat.KeyOf("c", conv)}, Place: chat.Ordinal{Epoch: 1, Counter: n},
		ChannelID: "c", ConversationID: conv, Counter: n, MessageID: conv + "-" + place,
	}
}

// Destination implements lane.Handler.
func (l *life) Destination(group string) string {
	l.maybePanic()
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	return l.world.target[group]
}

// Policy implements lane.Handler.
func (l *life) Policy(destination string) lane.Policy {
	l.maybePanic()
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	return l.world.policy[destination]
}

func (l *life) maybePanic() {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	if l.world.rng.Float64() < l.world.panics {
		panic("at random")
	}
}

// Ended implements lane.Handler.
func (l *life) Ended(t *lane.Task, _ *chat.Attempt, o chat.Outcome) {
	w := l.world
	w.mu.Lock()
	if f := w.fateOf(t.Lane, t.Message.Data); !l.dead && f.open == l && o != chat.OutcomeRetry {
		f.open = nil
	}
	w.mu.Unlock()
	l.maybePanic()
}

// Handle implements lane.Handler: one attempt, with every outcome there is.
func (l *life) Handle(ctx context.Context, t *lane.Task) lane.Verdict {
	w := l.world
	took, ok := l.begin(t)
	if !ok {
		return lane.Stall(errCrashed)
	}
	if took.Patient {
		time.Sleep(took.Duration)
	} else {
		sleepFor(ctx, took.Duration)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.dead {
		return lane.Stall(errCrashed)
	}
	w.laneOf(t.Lane).busy = nil
	return w.judge(ctx, l, t)
}

type spell struct {
	time.Duration
	Patient bool // takes no notice of its context
}

// begin checks that a message may be handled now, and says how long it takes.
func (l *life) begin(t *lane.Task) (spell, bool) {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.dead {
		return spell{}, false
	}
	w.steps++
	ml := w.laneOf(t.Lane)
	if ml.busy != nil && !ml.busy.dead {
		w.violated(t.Lane, "two handlers at once")
	}
	ml.busy = l
	f := w.fateOf(t.Lane, t.Message.Data)
	w.note(t.Lane, "life %d: attempt %d of %q to %s", l.number, t.Number, t.Message.Data, t.Destination)
	if t.Message.Replay == "" {
		w.inOrder(t.Lane, f)
		w.numbered(t, f)
		f.open = l
	}
	d := time.Duration(w.rng.ExpFloat64() * float64(pick(w.rng, 0, 0, time.Millisecond, 20*time.Millisecond, 200*time.Millisecond)))
	if w.rng.IntN(500) == 0 {
		d = pick(w.rng, 2*time.Second, 7*time.Second)
	}
	return spell{Duration: d, Patient: d < 6*time.Second && w.rng.IntN(3) == 0}, true
}

// numbered asserts that the attempt's number follows; the mutex is held.
func (w *world) numbered(t *lane.Task, f *fate) {
	switch {
	case f.ended():
		return
	case t.Number == f.counted+1:
	case f.forgiven && t.Number > f.durable && t.Number <= f.counted:
	default:
		w.violated(t.Lane, "attempt %d of %d follows attempt %d (%d stored)", t.Number, f.place, f.counted, f.durable)
	}
	f.counted, f.forgiven = t.Number-1, false
}

// judge ends an attempt; the mutex is held.
func (w *world) judge(ctx context.Context, l *life, t *lane.Task) lane.Verdict {
	f := w.fateOf(t.Lane, t.Message.Data)
	dice := w.rng.Float64()
	failed := w.rng.Float64() < w.trouble[t.Destination]
	switch {
	case ctx.Err() != nil && dice < .7:
		return pick(w.rng, lane.Stall(ctx.Err()), lane.Retry(0, ctx.Err()), lane.Dead("cut", ctx.Err()))
	case t.Message.Replay != "" && failed:
		return lane.Retry(0, errRefused)
	case t.Message.Replay != "":
		w.replays[t.Message.Replay] = true
		return lane.Done()
	case ctx.Err() == nil && failed:
		f.counted++
		return lane.Retry(0, errRefused)
	case ctx.Err() == nil && dice < .01:
		f.counted++
		return lane.Dead("no", errRefused)
	case ctx.Err() == nil && dice < .02:
		f.counted++
		panic("handle")
	case dice < .04:
		return lane.Stall(errRefused)
	case ctx.Err() == nil && dice < .05:
		w.note(t.Lane, "expired")
		f.expired = true
		return lane.Expired()
	}
	w.deliver(l, t, f)
	return lane.Done()
}

func (w *world) deliver(l *life, t *lane.Task, f *fate) {
	if w.stage == chat.StageUser && f.delivered > 0 { // its session knows
		return
	}
	w.note(t.Lane, "life %d: delivered %d", l.number, f.place)
	if f.delivered++; f.delivered > 1+f.excused && !w.lossy {
		w.violated(t.Lane, "%d is delivered again", f.place)
	}
}

// schedules that are used up soon, late, and never within a test.
var modelSchedules = []retry.Schedule{
	{time.Millisecond, 20 * time.Millisecond},
	{time.Millisecond, 5 * time.Millisecond, 50 * time.Millisecond, time.Second, 10 * time.Second},
	{10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, time.Second, time.Minute, time.Hour},
}
