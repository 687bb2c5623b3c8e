package lane_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
)

var (
	errRefused = fmt.Errorf("refused: %w", broker.ErrFull)
	errCrashed = errors.New("the process is dead")
)

// modelPart is a partition in memory: what is left of its work queue, and its
// parked lanes.
type modelPart struct {
	queue    []lane.Message
	seq      uint64
	parked   map[lane.ID][]lane.ParkedMessage
	states   map[lane.ID]chat.LaneState
	commands map[lane.ID]*lane.Command
	consumer *modelSource
}

func newModelPart() *modelPart {
	return &modelPart{parked: map[lane.ID][]lane.ParkedMessage{}, states: map[lane.ID]chat.LaneState{}, commands: map[lane.ID]*lane.Command{}}
}

func (p *modelPart) empty() bool {
	return len(p.queue) == 0 && len(p.parked) == 0 && len(p.states) == 0 && len(p.commands) == 0
}

// modelStore is a life's way to a partition.
type modelStore struct {
	life *life
	part *modelPart
}

// call makes one call to the outside: it takes time, may be refused before or
// after it had its effect, and has none once its process is dead.
func (l *life) call(ctx context.Context, effect func()) error {
	w := l.world
	if err := l.pause(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	fate := w.rng.Float64()
	early, late := fate < w.faults/2, fate < w.faults
	if l.dead || early {
		w.mu.Unlock()
		return errRefused
	}
	w.steps++
	effect()
	w.mu.Unlock()
	if err := l.pause(ctx); err != nil {
		return err
	}
	if late {
		return errRefused
	}
	return nil
}

func (l *life) pause(ctx context.Context) error {
	if d := l.world.roll(4) - 2; d > 0 {
		sleepFor(ctx, time.Duration(d)*time.Millisecond+time.Duration(l.world.roll(1000))*time.Microsecond)
	}
	return ctx.Err()
}

func sleepFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Open implements lane.Store: every former consumer is gone.
func (s *modelStore) Open(ctx context.Context, _ uint64) (lane.Source, error) {
	source := &modelSource{
		life: s.life, part: s.part, pending: map[uint64]time.Time{}, more: make(chan struct{}, 1),
		settled: map[uint64]bool{}, forgotten: map[uint64]bool{},
	}
	err := s.life.call(ctx, func() { s.part.consumer = source })
	return source, err
}

func (s *modelStore) Lanes(ctx context.Context) (out []lane.ParkedLane, err error) {
	err = s.life.call(ctx, func() {
		for id, messages := range s.part.parked {
			_, state := s.part.states[id]
			out = append(out, lane.ParkedLane{ID: id, Messages: uint64(len(messages)), HasState: state})
		}
		for id := range s.part.states {
			if len(s.part.parked[id]) == 0 {
				out = append(out, lane.ParkedLane{ID: id, HasState: true})
			}
		}
	})
	return out, err
}

func (s *modelStore) Append(ctx context.Context, id lane.ID, m *lane.Message) (seq uint64, err error) {
	err = s.life.call(ctx, func() {
		s.life.world.parkedSeq++
		seq = s.life.world.parkedSeq
		s.part.parked[id] = append(s.part.parked[id], lane.ParkedMessage{Message: *m, ParkedSeq: seq, ParkedAt: time.Now()})
		s.life.world.note(id, "append %d of %q at %d", m.Seq, m.Data, seq)
	})
	if err != nil {
		return 0, err
	}
	return seq, nil
}

func (s *modelStore) Next(ctx context.Context, id lane.ID, from uint64, most int) (found []lane.ParkedMessage, err error) {
	most = min(most, 1+s.life.world.roll(5))
	err = s.life.call(ctx, func() {
		for _, m := range s.part.parked[id] {
			if m.ParkedSeq >= from && len(found) < most {
				found = append(found, m)
			}
		}
	})
	return found, err
}

func (s *modelStore) Last(ctx context.Context, id lane.ID) (found *lane.ParkedMessage, err error) {
	err = s.life.call(ctx, func() {
		if all := s.part.parked[id]; len(all) > 0 {
			last := all[len(all)-1]
			found = &last
		}
	})
	return found, err
}

func (s *modelStore) Oldest(ctx context.Context, group string) (at time.Time, err error) {
	err = s.life.call(ctx, func() {
		for id, all := range s.part.parked {
			if id.Group == group && (at.IsZero() || all[0].Time.Before(at)) {
				at = all[0].Time
			}
		}
	})
	return at, err
}

func (s *modelStore) Remove(ctx context.Context, id lane.ID, upTo uint64) error {
	return s.life.call(ctx, func() {
		s.life.world.note(id, "remove up to %d", upTo)
		left := slices.DeleteFunc(s.part.parked[id], func(m lane.ParkedMessage) bool { return m.ParkedSeq <= upTo })
		if s.part.parked[id] = left; len(left) == 0 {
			delete(s.part.parked, id)
		}
	})
}

func (s *modelStore) State(ctx context.Context, id lane.ID) (found *chat.LaneState, err error) {
	err = s.life.call(ctx, func() {
		if state, ok := s.part.states[id]; ok {
			state.Attempts = slices.Clone(state.Attempts)
			found = &state
		}
	})
	return found, err
}

func (s *modelStore) PutState(ctx context.Context, id lane.ID, state *chat.LaneState) error {
	stored := *state
	stored.Attempts = slices.Clone(state.Attempts)
	return s.life.call(ctx, func() {
		s.life.world.note(id, "state of %d: %d attempts, held %t", stored.HeadSeq, stored.AttemptCount, stored.Held)
		s.part.states[id] = stored
		for _, m := range s.part.parked[id] {
			if m.Seq == stored.HeadSeq {
				s.life.world.fateOf(id, m.Data).durable = stored.AttemptCount
			}
		}
	})
}

func (s *modelStore) DropState(ctx context.Context, id lane.ID) error {
	return s.life.call(ctx, func() { delete(s.part.states, id) })
}

// modelSource is a consumer, or in a world of a sole owner what stands for one.
type modelSource struct {
	life    *life
	part    *modelPart
	cursor  uint64
	number  uint64
	pending map[uint64]time.Time // when delivered
	more    chan struct{}

	// A sole owner's: what may be removed in its turn, and what out of turn.
	settled, forgotten map[uint64]bool
	removed            time.Time // when something was last removed in its turn
}

const modelAckWait = 2 * time.Minute

// Next implements lane.Source: the next of the queue, or one whose
// acknowledgement is overdue. With faults a delivery is lost now and then, and
// so is the consumer.
func (s *modelSource) Next(ctx context.Context) (*lane.Delivery, error) {
	for {
		d, err := s.next()
		if d != nil || err != nil {
			return d, err
		}
		timer := time.NewTimer(10 * time.Second)
		select {
		case <-s.more:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

func (s *modelSource) next() (*lane.Delivery, error) {
	w := s.life.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.part.consumer != s || s.life.dead || w.rng.Float64() < w.faults/200 {
		return nil, errRefused
	}
	if w.sole && time.Since(s.removed) >= time.Second/2 {
		s.removed = time.Now()
		for len(s.part.queue) > 0 && s.settled[s.part.queue[0].Seq] {
			s.part.queue = s.part.queue[1:]
		}
	}
	for _, m := range s.part.queue {
		if w.sole && m.Seq <= s.cursor {
			continue
		}
		at, delivered := s.pending[m.Seq]
		if m.Seq <= s.cursor && (!delivered || time.Since(at) < modelAckWait) {
			continue
		}
		s.cursor = max(s.cursor, m.Seq)
		s.pending[m.Seq] = time.Now()
		s.number++
		if chance := w.rng.Float64(); chance < w.faults/200 || s.number == 1 && chance < w.faults/4 { // lost on its way
			continue
		}
		return &lane.Delivery{Message: m, Number: s.number, Ack: func() { s.ack(m.Seq) }}, nil
	}
	return nil, nil //nolint:nilnil // nothing now
}

func (s *modelSource) ack(seq uint64) {
	w := s.life.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.part.consumer != s || s.life.dead || !w.sole && w.rng.Float64() < w.faults/50 {
		return // lost
	}
	w.steps++
	s.settled[seq] = true
	if !w.sole || s.forgotten[seq] {
		s.remove(seq)
	}
}

// remove takes a message out of the queue; the world's mutex is held.
func (s *modelSource) remove(seq uint64) {
	s.part.queue = slices.DeleteFunc(s.part.queue, func(m lane.Message) bool { return m.Seq == seq })
}

func (s *modelSource) Forget(seq uint64) {
	w := s.life.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.part.consumer != s || s.life.dead {
		return
	}
	s.forgotten[seq] = true
	if s.settled[seq] {
		s.remove(seq)
	}
}

func (s *modelSource) HeldUp(now time.Time) (uint64, bool) {
	w := s.life.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.sole || len(s.part.queue) < 4 {
		return 0, false
	}
	first := s.part.queue[0].Seq
	at, delivered := s.pending[first]
	return first, delivered && !s.settled[first] && now.Sub(at) >= time.Second
}

func (s *modelSource) Close(context.Context, bool) error { return nil }

// Load implements lane.Marks.
func (l *life) Load(ctx context.Context, name string) (mark chat.Ordinal, ok bool, err error) {
	if err := l.ledger(); err != nil {
		return mark, false, err
	}
	err = l.insist(ctx, func() { mark, ok = l.world.marks[name] })
	return mark, ok, err
}

// Settle implements lane.Marks: forward only.
func (l *life) Settle(ctx context.Context, name string, mark chat.Ordinal) error {
	if err := l.ledger(); err != nil {
		return err
	}
	return l.insist(ctx, func() {
		if old, ok := l.world.marks[name]; !ok || !old.Covers(mark) {
			l.world.marks[name] = mark
		}
	})
}

// insist calls until it succeeds, where the ledger is a sound one.
func (l *life) insist(ctx context.Context, effect func()) error {
	for {
		err := l.call(ctx, effect)
		if err == nil || l.world.lossy || ctx.Err() != nil || l.isDead() {
			return err
		}
	}
}

func (l *life) ledger() error {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	if l.world.lossy && l.world.rng.IntN(4) == 0 {
		return errRefused
	}
	return nil
}

// Write implements lane.Graveyard.
func (l *life) Write(ctx context.Context, d *chat.DeadLetter) error {
	if l.world.isFull() {
		return errRefused
	}
	return l.call(ctx, func() { l.world.buried(l, d) })
}

func (w *world) isFull() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.full
}

func (w *world) roll(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// publish puts a message at the end of a partition's work queue; the mutex is
// held.
func (w *world) publish(part int, data string, replay *lane.Replay) {
	p := w.parts[part]
	p.seq++
	p.queue = append(p.queue, lane.Message{Seq: p.seq, Time: time.Now(), Data: []byte(data), Replay: replay})
	if p.consumer != nil {
		select {
		case p.consumer.more <- struct{}{}:
		default:
		}
	}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// modelData is a message's text: "groups conversation place kind".
func modelData(data []byte) (groups []string, conv, place, kind string) {
	parts := strings.Fields(string(data))
	return strings.Split(parts[0], ","), parts[1], parts[2], parts[3]
}
