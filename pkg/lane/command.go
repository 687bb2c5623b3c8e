package lane

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// Action is what an operator asks of a lane, which is parked but for Erase.
type Action string

// The actions.
const (
	// RetryNow makes the head due at once, for one attempt whatever its schedule
	// says.
	RetryNow Action = "retry-now"
	// Skip makes the head a dead letter; the lane goes on behind it.
	Skip Action = "skip"
	// Discard makes dead letters of all that waits in the lane.
	Discard Action = "discard"
	// Erase ends all that the lane has, parked or not, and leaves nothing of it
	// but the place that it had come to.
	Erase Action = "erase"
)

// Command is what an operator asks of one lane. It stands in the store until the
// lane's owner has carried it out. It names what it is about, so that it does
// nothing to anything else when it is carried out late, or once more by the next
// owner.
type Command struct {
	Lane   ID     `json:"-"`
	Action Action `json:"action"`
	// UpTo is a place in the parked stream: the head's, of Discard and Erase the
	// last one's, 0 where nothing was parked.
	UpTo uint64 `json:"upTo"`
	// Hot is a place in the work queue, HotAt its time in Unix milliseconds: Erase is
	// about all up to it too, wherever it is by now.
	Hot   uint64 `json:"hot,omitempty"`
	HotAt int64  `json:"hotAt,omitempty"`
	// Epoch keeps Erase from messages of later sessions; 0: nothing is.
	Epoch uint64 `json:"epoch,omitempty"`
	// Attempts is how many the head had. RetryNow is void after another.
	Attempts int       `json:"attempts,omitempty"`
	By       string    `json:"by"` // a token's name
	At       time.Time `json:"at"`

	Revision uint64 `json:"-"` // the record's
}

// Commands brings a partition's commands to its owner.
type Commands interface {
	// Follow hands on each command, those that stand already first, until ctx
	// ends or the store fails.
	Follow(ctx context.Context, do func(*Command)) error
	// Done removes a command, once what came of it is on disk; one that isn't
	// there any more is done.
	Done(ctx context.Context, c *Command) error
}

// means reports whether a command is about a message of its lane.
func (c *Command) means(it *item) bool {
	if c.Action != Erase {
		return it.parkedSeq != 0 && it.parkedSeq <= c.UpTo
	}
	if c.Epoch != 0 && it.Place.Epoch > c.Epoch {
		return false
	}
	return it.parkedSeq != 0 && it.parkedSeq <= c.UpTo || it.msg.Seq <= c.Hot
}

// reason is why a command gives messages up.
func (c *Command) reason() string {
	if c.Action == Skip {
		return ReasonSkipped
	}
	return ReasonDiscarded
}

// follow takes commands until ctx ends.
func (s *shard) follow(ctx context.Context, commands Commands) error {
	for {
		err := commands.Follow(ctx, s.command)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.log.Warn("commands to lanes can't be followed; trying again", zap.Error(err))
		if !sleep(ctx, stallPause) {
			return ctx.Err()
		}
	}
}

// command gives a command to its lane, which looks at it at its next step: now.
// Where the lane isn't parked any more all that the command is about has gone, but
// for Erase.
func (s *shard) command(c *Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	l := s.lanes[c.Lane]
	switch {
	case c.Action == Erase:
		l = s.lane(c.Lane)
	case l == nil || !l.parked:
		s.carriedOut(c)
		return
	}
	l.command, l.recalled = c, true
	if l.active {
		return
	}
	l.due = time.Time{}
	s.activate(l)
}

// commanded is a lane's command, nil where it has none.
func (s *shard) commanded(l *lane) *Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.command
}

// obey carries out what an operator asks of a parked head; with done the step is
// at its end.
func (s *shard) obey(ctx context.Context, l *lane, it *item) (done bool) {
	if !l.asked { // what has come since recalls the lane
		return false
	}
	c := s.commanded(l)
	switch {
	case c == nil:
		return false
	case c.Action == Erase:
		return s.erase(ctx, l, it, c)
	case it.parkedSeq == 0:
		return false
	case !c.means(it): // what it is about has gone
		s.conclude(l, c)
		return false
	case c.Action != RetryNow:
		task := s.task(l, it)
		s.bury(ctx, l, it, task, l.stateOf(it), c.reason())
		return true
	case it == l.hand: // its state is to be stored first
		return false
	}
	if state := l.stateOf(it); state != nil && state.AttemptCount == c.Attempts && state.GivenUp == "" {
		asked := *state
		asked.Due, asked.Held, asked.Asked = time.Now(), false, true
		if err := s.store.PutState(ctx, l.id, &asked); err != nil {
			s.stall(l, err)
			return true
		}
		l.state, l.hasState = &asked, true
	}
	s.conclude(l, c)
	return false
}

func (s *shard) conclude(l *lane, c *Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.carriedOut(c)
	if l.command == c {
		l.command = nil
	}
}

// overtaken ends a command once all that it is about has gone, but for Erase,
// which has more to do then; the mutex is held.
func (s *shard) overtaken(l *lane) {
	if c := l.command; c != nil && c.Action != Erase && (!l.parked || l.loaded && l.headSeq > c.UpTo) {
		s.carriedOut(c)
		l.command = nil
	}
}

// carriedOut removes a command. If that can't be before the partition's end, the
// next owner finds that there is nothing left to do. The mutex is held.
func (s *shard) carriedOut(c *Command) {
	s.log.Info("carried out an operator's command", zap.Stringer("lane", c.Lane), zap.String("action", string(c.Action)), zap.String("by", c.By))
	s.engine.metrics.commands[c.Action].Inc()
	commands := s.commands
	s.workers.Go(func() {
		for {
			err := commands.Done(s.working, c)
			if err == nil {
				return
			}
			s.stalled(err)
			if !sleep(s.fetching, stallPause) {
				return
			}
		}
	})
}
