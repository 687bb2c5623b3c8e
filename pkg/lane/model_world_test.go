package lane_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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
)

// fate is what became of a message in one lane.
type fate struct {
	place     uint64
	kind      string
	delivered int
	dead      bool
	expired   bool
	erased    bool
	told      bool  // an operator wants it erased: it may be, any time
	gone      bool  // it was parked, and its owner has said that it is erased
	counted   int   // attempts that count
	durable   int   // of which a state record tells
	open      *life // where something of it is under way
	excused   int   // crashes while something of it was under way
	forgiven  bool  // a crash came since the last attempt
}

func (f *fate) ended() bool { return f.delivered > 0 || f.dead || f.expired || f.told }

// modelLane is what the model knows of a lane.
type modelLane struct {
	fates   []*fate // in order of publication
	first   int     // of fates that has not ended, or before it
	busy    *life   // whose handler is at it
	erased  uint64  // up to this place in the work queue, as the session knows
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
	sole      bool // the work queue is read without a consumer
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
	told      map[given]bool       // by operators
	commands  uint64               // so many were given
	erasures  int64                // messages that were erased
	paused    map[string]string    // group → why
	pausedAt  map[string]time.Time // since when
	trouble   map[string]float64   // destination → share of failures
	rates     lane.Rates
	attempts  map[string][]time.Time // by destination, in the last second and since its rate was set
	circuits  map[string]*modelCircuit
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
	for _, f := range slices.Backward(l.fates) {
		if f.place == n {
			return f
		}
	}
	return &fate{place: n, kind: kind} // one that the lane should not have
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
		w.commandBuried(id, f, d)
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

// paced asserts that a destination's rate is kept, but for the attempts that were
// allowed and had not begun: they have waited for the worker. The mutex is held.
func (w *world) paced(t *lane.Task) {
	rate := w.policy[t.Destination].Rate
	if !rate.Limits() {
		return
	}
	const allowed = 2 * 8 // by the caps before a change of the rate and after it
	at := append(w.attempts[t.Destination], time.Now())
	for time.Since(at[0]) >= rate.Per {
		at = at[1:]
	}
	w.attempts[t.Destination] = at
	if len(at) > rate.Count+rate.Burst+allowed {
		w.violated(t.Lane, "%d attempts at %s within a second, of %s", len(at), t.Destination, rate)
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
}

func (w *world) start(number int) *life {
	l := &life{world: w, number: number, done: make(chan error, 1)}
	o := lane.Options{
		Stage: w.stage, MaxInFlight: 1 + w.roll(30), DrainTimeout: 5 * time.Second, Graveyard: l, Rates: w.rates,
		Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
		Commands: func(p int) lane.Commands { return &modelCommands{life: l, part: w.parts[p]} },
		Open:     func(_ context.Context, p int) (lane.Store, error) { return &modelStore{life: l, part: w.parts[p]}, nil },
	}
	o.Erased = l.erased
	if o.Replays = l; w.stage == chat.StageBot {
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
		g.Go(func() error { return hold(ctx, l.newLease(p)) })
	}
	return g.Wait()
}

type modelLease struct {
	life      *life
	partition int
	careful   bool
	suspects  []partition.Work
	vanished  int
}

// newLease is that of an owner that is careful at random, and suspects what it
// happens to find.
func (l *life) newLease(p int) *modelLease {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	lease := &modelLease{life: l, partition: p, careful: w.rng.IntN(2) == 0}
	if w.rng.IntN(2) == 0 {
		return lease
	}
	lease.vanished = 1 + w.rng.IntN(3)
	for _, m := range w.parts[p].queue[:min(len(w.parts[p].queue), w.rng.IntN(20))] {
		groups, conv, _, _ := modelData(m.Data)
		id := lane.ID{Group: pick(w.rng, groups...), Key: chat.KeyOf("c", conv)}
		work := partition.Work{Seq: m.Seq, Lane: id.String()}
		if lease.vanished < 3 && w.rng.IntN(3) == 0 { // while it was routed: what ends there gets into no lane
			work.Lane = ""
		}
		lease.suspects = append(lease.suspects, work)
	}
	return lease
}

func (l *modelLease) Stage() chat.Stage                 { return l.life.world.stage }
func (l *modelLease) Partition() int                    { return l.partition }
func (l *modelLease) Epoch() uint64                     { return uint64(l.life.number) }
func (l *modelLease) Verify(context.Context) error      { return nil }
func (l *modelLease) Careful() bool                     { return l.careful }
func (l *modelLease) Suspects() ([]partition.Work, int) { return l.suspects, l.vanished }

func (l *modelLease) NoteInFlight(ctx context.Context, _ []partition.Work) error {
	return l.life.call(ctx, func() {})
}

// Deadline is near now and then, as if a renewal were late.
func (l *modelLease) Deadline() time.Time {
	if l.life.world.roll(50) == 0 {
		return time.Now().Add(time.Second)
	}
	return time.Now().Add(time.Hour)
}
