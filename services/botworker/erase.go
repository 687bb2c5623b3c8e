package botworker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/wire"
)

// erased erases what the stage has of a conversation beside its messages: the
// session, and what the journal has not written yet and would write after it was
// erased.
func (h *handler) erased(ctx context.Context, id lane.ID, upTo chat.Ordinal) error {
	if err := h.sessions.erase(ctx, id.Key, upTo, time.Now()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, flushTimeout, errFlushTimeout)
	defer cancel()
	return h.Journal.Flush(ctx)
}

// flushTimeout bounds the wait for the journal, which holds up a lane.
const flushTimeout = 5 * time.Second

var errFlushTimeout = errors.New("the journal was not written within " + flushTimeout.String())

// erase puts in a session's place what has to be remembered, and forgets the
// session. That is stored where there was none too: an input may be delivered again.
func (c *cache) erase(ctx context.Context, key chat.ConversationKey, upTo chat.Ordinal, now time.Time) error {
	rec, revision, err := c.store.Load(ctx, key)
	switch {
	case errors.Is(err, wire.ErrUndecodable): // the next session is above what it was, as if it were lost
		rec = &chat.Session{Epoch: uint64(max(now.UnixMilli(), 0))}
	case err != nil:
		return fmt.Errorf("erasing the session: %w", err)
	}
	if _, err := c.store.Save(ctx, key, rec.Erase(upTo), revision); err != nil {
		return fmt.Errorf("erasing the session: %w", err)
	}
	c.forgetOne(key)
	return nil
}

func (c *cache) forgetOne(key chat.ConversationKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(key)
}
