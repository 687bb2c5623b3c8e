package lane

import (
	"context"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
)

// erase ends a head that a command is about; at the first that it isn't about it
// ends the command. With done the step is at its end.
func (s *shard) erase(ctx context.Context, l *lane, it *item, c *Command) (done bool) {
	if !c.means(it) {
		return !s.endErase(ctx, l, c, l.stateOf(it) != nil)
	}
	if s.lapsing(time.Now()) {
		s.stall(l, partition.ErrLapsed)
		return true
	}
	task := s.task(l, it)
	s.settle(ctx, l, it)
	s.outcome(task, nil, chat.OutcomeDiscarded)
	return true
}

// eraseUndecodable ends a message of which nothing else is known.
func (s *shard) eraseUndecodable(ctx context.Context, l *lane, it *item) {
	s.engine.metrics.outcomes[chat.OutcomeDiscarded].Inc()
	s.settled(ctx, l, it)
}

// eraseRest ends a command to erase where the lane has nothing left.
func (s *shard) eraseRest(ctx context.Context, l *lane) {
	if !l.asked {
		return
	}
	s.mu.Lock()
	c := l.command
	empty := !l.parked && len(l.queue) == 0
	s.mu.Unlock()
	if c != nil && c.Action == Erase && empty {
		s.endErase(ctx, l, c, false)
	}
}

// endErase removes what erased messages have left behind, then ends the command;
// where that is refused the lane waits, and the same is tried again. keepState
// says that the state record is of a head that stays.
func (s *shard) endErase(ctx context.Context, l *lane, c *Command, keepState bool) (ended bool) {
	if s.lapsing(time.Now()) {
		s.stall(l, partition.ErrLapsed)
		return false
	}
	if err := s.eraseTraces(ctx, l, c, keepState); err != nil {
		s.stall(l, err)
		return false
	}
	s.conclude(l, c)
	return true
}

func (s *shard) eraseTraces(ctx context.Context, l *lane, c *Command, keepState bool) error {
	if err := s.removeSettled(ctx, l); err != nil {
		return err
	}
	if l.hasState && !keepState {
		if err := s.store.DropState(ctx, l.id); err != nil {
			return err
		}
		l.state, l.hasState = nil, false
	}
	if s.engine.Erased == nil {
		return nil
	}
	return s.engine.Erased(ctx, l.id, chat.Ordinal{Counter: c.Hot, InputAt: c.HotAt})
}
