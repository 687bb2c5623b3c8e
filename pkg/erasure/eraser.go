package erasure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/wire"
)

// Conversation is what is to be erased.
type Conversation struct {
	ChannelID, ID string
	// Endpoints are the channel's.
	Endpoints []string
}

func (c *Conversation) key() chat.ConversationKey { return chat.KeyOf(c.ChannelID, c.ID) }

// Report is what there is of a conversation, or was erased.
type Report struct {
	JournalEntries uint64
	DeadLetters    uint64
	ParkedMessages uint64 // one for each lane that it waits in
	QueuedMessages uint64 // in the work queues
	Session        bool
	// What an erasure has left: lanes whose owners have not done their part yet, and
	// work queues that still have something.
	Lanes, Queues int
}

// Complete reports whether an erasure has left nothing.
func (r *Report) Complete() bool { return r.Lanes == 0 && r.Queues == 0 }

// Eraser erases conversations.
type Eraser struct {
	conn     *broker.Conn
	lanes    *lane.Waiting
	letters  *deadletter.Store
	sessions *session.Store
}

// New makes an Eraser.
func New(conn *broker.Conn, lanes *lane.Waiting, letters *deadletter.Store, sessions *session.Store) *Eraser {
	return &Eraser{conn: conn, lanes: lanes, letters: letters, sessions: sessions}
}

// stages are in the order in which messages go through them.
var stages = []chat.Stage{chat.StageUser, chat.StageBot}

// Count says what there is of a conversation. The error wraps
// broker.ErrUnavailable.
func (e *Eraser) Count(ctx context.Context, c Conversation) (Report, error) {
	r, err := e.waiting(ctx, c)
	if err != nil {
		return Report{}, err
	}
	r.DeadLetters, err = e.letters.Count(ctx, deadletter.Filter{ChannelID: c.ChannelID, ConversationID: c.ID})
	if err != nil {
		return Report{}, err
	}
	r.JournalEntries, err = journal.Count(ctx, e.conn, c.ChannelID, c.key())
	return r, err
}

// waiting counts what owners have to erase.
func (e *Eraser) waiting(ctx context.Context, c Conversation) (r Report, err error) {
	for _, stage := range stages {
		parked, err := e.lanes.CountParked(ctx, stage, c.key())
		if err != nil {
			return Report{}, err
		}
		hot, _, err := e.lanes.Hot(ctx, stage, c.ChannelID, c.key(), 0)
		if err != nil {
			return Report{}, err
		}
		r.ParkedMessages += parked
		r.QueuedMessages += hot
	}
	rec, err := e.session(ctx, c)
	r.Session = rec != nil && !rec.Erased()
	return r, err
}

// session returns the record, one without an epoch where it can't be read.
func (e *Eraser) session(ctx context.Context, c Conversation) (*chat.Session, error) {
	rec, _, err := e.sessions.Load(ctx, c.key())
	if errors.Is(err, wire.ErrUndecodable) {
		return &chat.Session{ConversationID: c.ID}, nil
	}
	return rec, err
}

// Erase erases a conversation, as a token's bearer asks, and waits for owners for
// so long. The error wraps broker.ErrFull or broker.ErrUnavailable; what was done
// before it is done.
func (e *Eraser) Erase(ctx context.Context, c Conversation, by string, wait time.Duration) (Report, error) {
	until := time.Now().Add(wait)
	r, err := e.waiting(ctx, c)
	if err != nil {
		return Report{}, err
	}
	turns := lane.Erasing{Stage: chat.StageUser, ChannelID: c.ChannelID, Key: c.key(), Groups: []string{c.ChannelID}, By: by}
	if err := e.eraseLanes(ctx, turns, until, &r); err != nil {
		return r, err
	}
	deliveries := lane.Erasing{Stage: chat.StageBot, ChannelID: c.ChannelID, Key: c.key(), Groups: c.Endpoints, By: by}
	if deliveries.Epoch, err = e.lastEpoch(ctx, c, r.Complete()); err != nil {
		return r, err
	}
	if err := e.eraseLanes(ctx, deliveries, until, &r); err != nil {
		return r, err
	}
	if r.DeadLetters, err = e.letters.Erase(ctx, c.ChannelID, c.key()); err != nil {
		return r, err
	}
	r.JournalEntries, err = journal.Erase(ctx, e.conn, c.ChannelID, c.key())
	return r, err
}

// lastEpoch is that of the session to be erased; 0 where it isn't known, which
// means all.
func (e *Eraser) lastEpoch(ctx context.Context, c Conversation, erased bool) (uint64, error) {
	rec, err := e.session(ctx, c)
	switch {
	case err != nil || rec == nil:
		return 0, err
	case erased && !rec.Erased() && rec.Epoch > 0: // the next has begun
		return rec.Epoch - 1, nil
	}
	return rec.Epoch, nil
}

// eraseLanes has a stage's owners erase what there is by now. What is still on its
// way to its lanes may come after a command: so they are told once more when it is
// through.
func (e *Eraser) eraseLanes(ctx context.Context, what lane.Erasing, until time.Time, r *Report) error {
	what, err := e.lanes.UpToNow(ctx, what)
	if err != nil {
		return err
	}
	for {
		_, queued, err := e.lanes.Hot(ctx, what.Stage, what.ChannelID, what.Key, what.UpTo)
		if err != nil {
			return err
		}
		done, err := e.lanes.Erase(ctx, what, time.Until(until))
		if err != nil {
			return fmt.Errorf("erasing what waits at stage %s: %w", what.Stage, err)
		}
		if left := done.Lanes - done.Done; left > 0 {
			r.Lanes += left
			return nil
		}
		if !queued {
			return nil
		}
		if through, err := e.awaitThrough(ctx, what, until); err != nil || !through {
			r.Queues++
			return err
		}
	}
}

// pollEvery is how often a work queue is looked at.
const pollEvery = 50 * time.Millisecond

// awaitThrough waits until nothing is in the work queue of what is to be erased.
func (e *Eraser) awaitThrough(ctx context.Context, what lane.Erasing, until time.Time) (through bool, err error) {
	for {
		_, queued, err := e.lanes.Hot(ctx, what.Stage, what.ChannelID, what.Key, what.UpTo)
		if err != nil || !queued {
			return err == nil, err
		}
		if !time.Now().Before(until) {
			return false, nil
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return false, nil
		}
	}
}
