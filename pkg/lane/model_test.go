package lane_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/ratelimit"
)

// TestModel plays random stories against the engine, in bubbles whose time is
// free. PARLEY_MODEL_SEEDS says how many, PARLEY_MODEL_FIRST from which on.
func TestModel(t *testing.T) {
	first, seeds := envInt(t, "PARLEY_MODEL_FIRST", 1), envInt(t, "PARLEY_MODEL_SEEDS", 16)
	var steps, refused, erased atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d steps, %d refused by circuits, %d messages erased", steps.Load(), refused.Load(), erased.Load())
		require.True(t, t.Failed() || erased.Load() > 0, "nothing was erased")
		require.True(t, t.Failed() || refused.Load() > 0, "no circuit has ever been open")
	})
	for seed := first; seed < first+seeds; seed++ {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(uint64(seed)) //nolint:gosec // a seed
				w.play(t)
				steps.Add(w.steps)
				erased.Add(w.erasures)
				refused.Add(w.refused())
			})
		})
	}
}

func envInt(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err, name)
	return n
}

var modelGroups = []string{"e0", "e1", "e2", "e3"}

func newWorld(seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // chance, not a secret
	w := &world{
		rng: rng, began: time.Now(), stage: pick(rng, chat.StageBot, chat.StageBot, chat.StageUser), lossy: rng.IntN(5) == 0,
		sole:   seed%2 == 0,
		faults: pick(rng, 0, 0, .02, .2), panics: pick(rng, 0, 0, .0005),
		parts: []*modelPart{newModelPart(), newModelPart()}, marks: map[string]chat.Ordinal{},
		lanes: map[lane.ID]*modelLane{}, rubbish: map[string]bool{}, replays: map[string]bool{}, places: map[string]uint64{},
		target: map[string]string{}, policy: map[string]lane.Policy{}, told: map[given]bool{}, paused: map[string]string{}, pausedAt: map[string]time.Time{}, trouble: map[string]float64{},
		rates: ratelimit.New(ratelimit.Options{Log: zap.NewNop(), Metrics: prometheus.NewRegistry()}), attempts: map[string][]time.Time{},
		circuits: map[string]*modelCircuit{},
	}
	for _, g := range modelGroups {
		w.target[g] = g
		for _, destination := range []string{g, g + "-moved"} {
			w.policy[destination] = lane.Policy{Schedule: pick(rng, modelSchedules...), MaxInFlight: 1 + rng.IntN(8)}
			w.trouble[destination] = pick(rng, 0, .2)
			if rng.IntN(2) == 0 {
				w.circuits[destination] = newModelCircuit(rng)
			}
			w.setCircuit(destination)
		}
	}
	return w
}

// play runs one story to its end and checks it.
func (w *world) play(t *testing.T) {
	t.Helper()
	plot := rand.New(rand.NewPCG(w.rng.Uint64(), 8)) //nolint:gosec // chance, not a secret
	l := w.start(1)
	crashed := []*life{}
	steps := 30 + plot.IntN(100)
	for range steps {
		if w.failed() {
			break
		}
		switch dice := plot.IntN(100); {
		case dice < 45:
			w.publishSome()
		case dice < 85:
			sleepFor(t.Context(), time.Duration(plot.IntN(pick(plot, 3, 300, 3000)))*time.Millisecond)
		case dice < 88:
			require.NoError(t, l.handOver())
			l = w.start(l.number + 1)
		case dice < 91:
			l.crash()
			crashed = append(crashed, l)
			l = w.start(l.number + 1)
		default:
			w.change(l)
		}
	}
	w.calm(l)
	w.awaitEmpty(t.Context())
	require.NoError(t, l.handOver())
	for _, dead := range crashed {
		require.NoError(t, <-dead.done)
	}
	w.check()
	if w.failure != "" {
		require.Fail(t, w.failure)
	}
}

func (w *world) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure != ""
}

// publishSome publishes a burst: new messages, some of them twice, as an outbox
// does; rubbish; replays.
func (w *world) publishSome() {
	w.mu.Lock()
	defer w.mu.Unlock()
	convs := pick(w.rng, 2, 10, 40)
	for range 1 + w.rng.IntN(pick(w.rng, 3, 40, 120)) {
		conv := "u" + strconv.Itoa(w.rng.IntN(convs))
		part := chat.KeyOf("c", conv).Partition(len(w.parts))
		if w.rng.IntN(100) == 0 {
			data := fmt.Sprintf("e0 %s %d %s", conv, len(w.rubbish)+1_000_000, pick(w.rng, "route-panics", "route-fails"))
			w.rubbish[data] = false
			w.publish(part, data, nil)
			continue
		}
		w.places[conv]++
		var groups []string
		for _, g := range modelGroups {
			if w.rng.IntN(2) == 0 {
				groups = append(groups, g)
			}
		}
		if len(groups) == 0 {
			groups = modelGroups[:1]
		}
		kind := "plain"
		if w.rng.IntN(100) == 0 {
			kind = pick(w.rng, "restore-panics", "restore-fails")
		}
		data := fmt.Sprintf("%s %s %d %s", strings.Join(groups, ","), conv, w.places[conv], kind)
		for _, g := range groups {
			ml := w.laneOf(lane.ID{Group: g, Key: chat.KeyOf("c", conv)})
			ml.fates = append(ml.fates, &fate{place: w.places[conv], kind: kind})
		}
		w.publish(part, data, nil)
		if w.rng.IntN(50) == 0 && kind == "plain" {
			w.publish(part, data, nil)
		}
		if w.rng.IntN(100) == 0 && w.stage == chat.StageBot && kind == "plain" {
			replay := &lane.Replay{ID: fmt.Sprintf("replay-%d", len(w.replays)), Place: chat.Ordinal{Epoch: 1, Counter: w.places[conv]}}
			w.replays[replay.ID] = false
			for range 1 + w.rng.IntN(2) {
				w.publish(part, strings.TrimSuffix(data, kind)+replay.ID, replay)
			}
		}
	}
}

// setCircuit gives a destination's policy its circuit, and a cap that follows
// where it has one; the mutex is held.
func (w *world) setCircuit(destination string) {
	if c := w.circuits[destination]; c != nil {
		p := w.policy[destination]
		p.Circuit, p.MinInFlight = c, 1
		w.policy[destination] = p
	}
}

// refused is how often circuits refused an attempt.
func (w *world) refused() (n int64) {
	for _, c := range w.circuits {
		n += c.refusals()
	}
	return n
}

// change turns one of the knobs at random.
func (w *world) change(l *life) {
	w.mu.Lock()
	group := pick(w.rng, modelGroups...)
	destination := w.target[group]
	p := w.policy[destination]
	switch w.rng.IntN(13) {
	case 0:
		p.Closed = pick(w.rng, "", "paused")
	case 1:
		p.MaxInFlight = 1 + w.rng.IntN(8)
	case 2:
		p.Hold = !p.Hold
	case 3:
		p.Schedule = pick(w.rng, modelSchedules...)
	case 4:
		w.trouble[destination] = pick(w.rng, 0, .2, .9, 1)
	case 5:
		w.full = !w.full
	case 6:
		w.target[group] = pick(w.rng, group, group+"-moved")
	case 7:
		if w.lossy {
			clear(w.marks)
		}
	case 8:
		w.faults = pick(w.rng, 0, .02, .3)
	case 11:
		w.commandSome()
	case 10:
		w.pause(group, w.rng.IntN(2) == 0)
	case 12:
		p.Rate = pick(w.rng, chat.Rate{}, chat.Rate{Count: 5, Per: time.Second, Burst: 1}, chat.Rate{Count: 50, Per: time.Second, Burst: 10})
	case 9:
		p.ExpireAfter = pick(w.rng, 0, 0, 300*time.Millisecond, 5*time.Second)
		p.Supersede = w.rng.IntN(4) == 0
	}
	if p.Rate != w.policy[destination].Rate {
		w.attempts[destination] = nil
	}
	w.policy[destination] = p
	w.mu.Unlock()
	l.engine.Wake(destination)
}

// pause pauses a group, or resumes it; the mutex is held.
func (w *world) pause(group string, yes bool) {
	_, paused := w.pausedAt[group]
	switch {
	case yes && !paused:
		w.paused[group], w.pausedAt[group] = "paused", time.Now()
	case !yes:
		delete(w.paused, group)
		delete(w.pausedAt, group)
	}
}

// calm ends all trouble.
func (w *world) calm(l *life) {
	w.mu.Lock()
	w.faults, w.full, w.panics = 0, false, 0
	for _, group := range modelGroups {
		w.pause(group, false)
	}
	for destination, p := range w.policy {
		p.Closed, p.Hold = "", false
		w.policy[destination] = p
		w.trouble[destination] = min(.2, w.trouble[destination])
	}
	w.mu.Unlock()
	for destination := range w.policy {
		l.engine.Wake(destination)
	}
}

// awaitEmpty waits, in the bubble's time, until nothing waits any more.
func (w *world) awaitEmpty(ctx context.Context) {
	for range 3600 {
		sleepFor(ctx, 10*time.Second)
		w.mu.Lock()
		empty := !slices.ContainsFunc(w.parts, func(p *modelPart) bool { return !p.empty() })
		stop := empty || w.failure != ""
		w.mu.Unlock()
		if stop {
			return
		}
	}
}

// check asserts that everything has ended, once.
func (w *world) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, ml := range w.lanes {
		for _, f := range ml.fates {
			ends := 0
			for _, yes := range []bool{f.delivered > 0, f.dead, f.expired, f.erased} {
				if yes {
					ends++
				}
			}
			exact := !w.lossy && f.excused == 0 && w.stage == chat.StageBot && f.kind == "plain"
			if ends == 0 && !f.told || exact && ends > 1 {
				w.violated(id, "%d: delivered %d times, dead %t, expired %t, erased %t", f.place, f.delivered, f.dead, f.expired, f.erased)
			}
		}
	}
	for i, p := range w.parts {
		for id, messages := range p.parked {
			w.violated(id, "still parked in partition %d: %d messages", i, len(messages))
		}
		for id, state := range p.states {
			w.violated(id, "a state record is left in partition %d: %+v", i, state.HeadSeq)
		}
		if len(p.queue) > 0 {
			w.violated(lane.ID{}, "still in the work queue of partition %d: %d messages, the first %q", i, len(p.queue), p.queue[0].Data)
		}
	}
	for data, buried := range w.rubbish {
		if !buried {
			w.violated(lane.ID{}, "no dead letter of %q", data)
		}
	}
	for replay, delivered := range w.replays {
		if !delivered {
			w.violated(lane.ID{}, "%s is lost", replay)
		}
	}
}
