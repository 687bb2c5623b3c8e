package lane_test

import (
	"context"
	"slices"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
)

// given is a message that an operator has told to be given up.
type given struct {
	lane   lane.ID
	place  uint64
	reason string
}

// commandSome asks something of lanes that are parked, as an operator does who
// looks at the store; the mutex is held.
func (w *world) commandSome() {
	for _, part := range w.parts {
		w.eraseSome(part)
		for id, messages := range part.parked {
			if part.commands[id] != nil || len(messages) == 0 || w.rng.IntN(4) > 0 {
				continue
			}
			c := &lane.Command{Lane: id, Action: pick(w.rng, lane.RetryNow, lane.Skip, lane.Discard), UpTo: messages[0].ParkedSeq, Attempts: part.states[id].AttemptCount}
			switch c.Action {
			case lane.Skip:
				w.tell(id, &messages[0], lane.ReasonSkipped)
			case lane.Discard:
				c.UpTo = messages[len(messages)-1].ParkedSeq
				for i := range messages {
					w.tell(id, &messages[i], lane.ReasonDiscarded)
				}
			}
			w.commands++
			c.Revision = w.commands
			part.commands[id] = c
			w.note(id, "an operator says %s up to %d", c.Action, c.UpTo)
		}
	}
}

// eraseSome has what lanes have erased, parked or not.
func (w *world) eraseSome(part *modelPart) {
	for id := range w.lanes {
		if w.rng.IntN(8) > 0 || id.Key.Partition(len(w.parts)) != slices.Index(w.parts, part) {
			continue
		}
		w.commands++
		c := &lane.Command{Lane: id, Action: lane.Erase, Hot: part.seq, Revision: w.commands}
		if messages := part.parked[id]; len(messages) > 0 {
			c.UpTo = messages[len(messages)-1].ParkedSeq
			for i := range messages {
				w.fateOf(id, messages[i].Data).told = true
				w.tellReplay(&messages[i].Message)
			}
		}
		for i := range part.queue {
			if groups, conv, _, _ := modelData(part.queue[i].Data); slices.Contains(groups, id.Group) && chat.KeyOf("c", conv) == id.Key {
				w.fateOf(id, part.queue[i].Data).told = true
				w.tellReplay(&part.queue[i])
			}
		}
		part.commands[id] = c
		w.note(id, "an operator says erase up to %d, %d", c.UpTo, c.Hot)
	}
}

// tellReplay notes that a replay may be erased.
func (w *world) tellReplay(m *lane.Message) {
	if m.Replay != nil {
		w.replays[m.Replay.ID] = true
	}
}

// erasedOne asserts that an operator wanted that; the mutex is held.
func (w *world) erasedOne(l *life, t *lane.Task, f *fate) {
	w.note(t.Lane, "life %d: erased %q", l.number, t.Message.Data)
	w.erasures++
	if t.Message.Replay != nil {
		return
	}
	if !f.told {
		w.violated(t.Lane, "%d is erased and nobody has asked for that", f.place)
	}
	f.erased = f.delivered == 0 && !f.dead && !f.expired // else it was delivered again
}

// erased is the stage's part of an erasure: its session.
func (l *life) erased(ctx context.Context, id lane.ID, upTo chat.Ordinal) error {
	return l.call(ctx, func() {
		ml := l.world.laneOf(id)
		ml.erased = max(ml.erased, upTo.Counter)
	})
}

func (w *world) tell(id lane.ID, m *lane.ParkedMessage, reason string) {
	f := w.fateOf(id, m.Data)
	w.told[given{lane: id, place: f.place, reason: reason}] = true
}

// commandBuried asserts that an operator has asked for that; the mutex is held.
func (w *world) commandBuried(id lane.ID, f *fate, d *chat.DeadLetter) {
	if d.Reason == lane.ReasonSkipped || d.Reason == lane.ReasonDiscarded {
		if !w.told[given{lane: id, place: f.place, reason: d.Reason}] {
			w.violated(id, "%d is %s and nobody has asked for that", f.place, d.Reason)
		}
	}
}

// modelCommands brings the commands of a partition to a life.
type modelCommands struct {
	life *life
	part *modelPart
}

// Follow implements lane.Commands.
func (m *modelCommands) Follow(ctx context.Context, do func(*lane.Command)) error {
	seen := uint64(0)
	for {
		var found []*lane.Command
		err := m.life.call(ctx, func() {
			last := seen
			for _, c := range m.part.commands {
				if c.Revision > seen {
					found = append(found, new(*c))
					last = max(last, c.Revision)
				}
			}
			seen = last
		})
		if err != nil {
			return err
		}
		for _, c := range found {
			do(c)
		}
		sleepFor(ctx, 250*time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// carriedOut asserts that nothing is parked any more of what is erased; the mutex
// is held.
func (w *world) carriedOut(c *lane.Command) {
	if c.Action != lane.Erase {
		return
	}
	part := w.parts[c.Lane.Key.Partition(len(w.parts))]
	for _, m := range part.parked[c.Lane] {
		if m.ParkedSeq <= c.UpTo {
			w.violated(c.Lane, "%q is erased and still parked", m.Data)
		}
	}
	for _, f := range w.laneOf(c.Lane).fates {
		f.gone = f.gone || f.erased
	}
}

// Done implements lane.Commands.
func (m *modelCommands) Done(ctx context.Context, c *lane.Command) error {
	return m.life.call(ctx, func() {
		if now := m.part.commands[c.Lane]; now != nil && now.Revision == c.Revision {
			m.life.world.note(c.Lane, "life %d: carried out %s", m.life.number, c.Action)
			m.life.world.carriedOut(c)
			delete(m.part.commands, c.Lane)
		}
	})
}
