package lane_test

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
)

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
	var expires time.Time
	if n%16 == 0 {
		expires = m.Time.Add(2 * time.Second)
	}
	return lane.Target{
		Created: m.Time, Expires: expires,
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

// Paused implements lane.Handler.
func (l *life) Paused(group string) string {
	l.maybePanic()
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	return l.world.paused[group]
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
	f := w.fateOf(t.Lane, t.Message.Data)
	if !l.dead && f.open == l && o != chat.OutcomeRetry {
		f.open = nil
	}
	if !l.dead && o == chat.OutcomeDiscarded {
		w.erasedOne(l, t, f)
	}
	w.mu.Unlock()
	l.maybePanic()
}

// Expire implements lane.Handler.
func (l *life) Expire(_ context.Context, t *lane.Task) lane.Verdict {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.dead {
		return lane.Stall(errCrashed)
	}
	w.steps++
	f := w.fateOf(t.Lane, t.Message.Data)
	if ml := w.laneOf(t.Lane); ml.busy != nil && !ml.busy.dead {
		w.violated(t.Lane, "%d expires while another is handled", f.place)
	}
	if t.Message.Replay != nil {
		w.violated(t.Lane, "a replay expires")
	}
	w.inOrder(t.Lane, f)
	f.open = l
	switch {
	case w.sessionKnows(t, f):
		return lane.Done()
	case w.rng.IntN(20) == 0:
		return pick(w.rng, lane.Stall(errRefused), lane.Retry(0, errRefused))
	}
	w.note(t.Lane, "life %d: %d expires", l.number, f.place)
	f.expired = true
	return lane.Expired()
}

// Superseded implements lane.Handler.
func (l *life) Superseded(_ context.Context, t *lane.Task) bool {
	l.maybePanic()
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.Message.Replay != nil {
		w.violated(t.Lane, "a replay may be superseded")
	}
	return w.rng.IntN(4) == 0
}

// Handle implements lane.Handler: one attempt, with every outcome there is.
func (l *life) Handle(ctx context.Context, t *lane.Task) lane.Verdict {
	w := l.world
	took, ok := l.begin(t)
	if !ok {
		return lane.Stall(errCrashed)
	}
	if took.Patient {
		sleepFor(context.WithoutCancel(ctx), took.Duration)
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
	if since, ok := w.pausedAt[t.Lane.Group]; ok && time.Since(since) > time.Second {
		w.violated(t.Lane, "an attempt while it is paused")
	}
	w.paced(t)
	if c := w.circuits[t.Destination]; c != nil && !c.made() {
		w.violated(t.Lane, "an attempt that the circuit of %s has not admitted", t.Destination)
	}
	f := w.fateOf(t.Lane, t.Message.Data)
	w.note(t.Lane, "life %d: attempt %d of %q to %s", l.number, t.Number, t.Message.Data, t.Destination)
	if t.Message.Replay == nil {
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
	case t.Message.Replay != nil && failed:
		return lane.Retry(0, errRefused)
	case t.Message.Replay != nil:
		w.replays[t.Message.Replay.ID] = true
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

// sessionKnows reports whether the user stage knows that a message was handled.
func (w *world) sessionKnows(t *lane.Task, f *fate) bool {
	return w.stage == chat.StageUser && (f.delivered > 0 || t.Message.Seq <= w.laneOf(t.Lane).erased)
}

func (w *world) deliver(l *life, t *lane.Task, f *fate) {
	if w.sessionKnows(t, f) {
		return
	}
	if f.gone && !w.lossy {
		w.violated(t.Lane, "%d is delivered after it was erased", f.place)
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
