package botworker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/wire"
)

// What a worker remembers of sessions at most: how many, and their bytes.
const (
	cachedSessions = 50_000
	cachedBytes    = 128 << 20
)

// cache remembers the sessions that this worker wrote last. It may be behind
// another owner's write: the save is conditional, and a refused one forgets
// the entry. What a partition's conversations had is forgotten when the
// partition is opened, since another may have owned it meanwhile.
type cache struct {
	store    Sessions
	sessions int // bounds
	bytes    int

	mu    sync.Mutex
	known map[chat.ConversationKey]known
	size  int // of all that is known, in bytes
}

// known is a session as it is stored.
type known struct {
	rec      *chat.Session // nil where there is none
	revision uint64
	// outstanding says that the broker has not confirmed all of rec's outbox,
	// as far as this worker knows.
	outstanding bool
	// unreadable is why the stored record can't be read; rec is nil then.
	unreadable error
}

func newCache(store Sessions) *cache {
	return &cache{store: store, sessions: cachedSessions, bytes: cachedBytes, known: map[chat.ConversationKey]known{}}
}

// load returns the session; one whose record can't be read is none.
func (c *cache) load(ctx context.Context, key chat.ConversationKey) (known, error) {
	c.mu.Lock()
	k, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return k, nil
	}
	rec, revision, err := c.store.Load(ctx, key)
	if errors.Is(err, wire.ErrUndecodable) && !errors.Is(err, wire.ErrNewer) {
		return known{revision: revision, unreadable: err}, nil
	}
	if err != nil {
		return known{}, fmt.Errorf("loading the session: %w", err)
	}
	return known{rec: rec, revision: revision}, nil
}

// save stores the session with an outbox that is to be published.
func (c *cache) save(ctx context.Context, key chat.ConversationKey, rec *chat.Session, expected uint64) error {
	revision, err := c.store.Save(ctx, key, rec, expected)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(key)
	if err != nil {
		return fmt.Errorf("saving the session: %w", err)
	}
	c.known[key] = known{rec: rec, revision: revision, outstanding: len(rec.LastOutput) > 0}
	c.size += sizeOf(rec)
	if len(c.known) > c.sessions || c.size > c.bytes {
		c.shrink(key)
	}
	return nil
}

// published notes that the broker has all of the session's outbox.
func (c *cache) published(key chat.ConversationKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.known[key]; ok {
		k.outstanding = false
		c.known[key] = k
	}
}

// forget forgets the sessions whose key is one of those.
func (c *cache) forget(those func(chat.ConversationKey) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.known {
		if those(key) {
			c.drop(key)
		}
	}
}

// shrink forgets an eighth, whichever, but not the one that came last and none
// whose outbox is outstanding.
func (c *cache) shrink(last chat.ConversationKey) {
	for key, k := range c.known {
		if len(c.known) <= c.sessions*7/8 && c.size <= c.bytes*7/8 {
			return
		}
		if key != last && !k.outstanding {
			c.drop(key)
		}
	}
}

func (c *cache) drop(key chat.ConversationKey) {
	if k, ok := c.known[key]; ok {
		c.size -= sizeOf(k.rec)
		delete(c.known, key)
	}
}

// sizeOf is about what a session takes in memory.
func sizeOf(rec *chat.Session) int {
	const fields = 512
	n := fields + len(rec.Dialog) + len(rec.Variables) + len(rec.User)
	for i := range rec.LastOutput {
		n += fields + len(rec.LastOutput[i].Message) + len(rec.LastOutput[i].NLP)
	}
	return n
}

// bots keeps the bots that were made, each as long as its configuration stands.
type bots struct {
	build func(config *chat.Bot, former bot.Bot) (bot.Bot, error)
	mu    sync.Mutex
	made  map[string]made
}

type made struct {
	config *chat.Bot
	bot    bot.Bot
	err    error
}

func (b *bots) get(config *chat.Bot) (bot.Bot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	former := b.made[config.ID]
	if former.config == config {
		return former.bot, former.err
	}
	if b.made == nil {
		b.made = map[string]made{}
	}
	built, err := b.build(config, former.bot)
	b.made[config.ID] = made{config: config, bot: built, err: err}
	return built, err
}

// change takes up a bot's new configuration, nil for one that is removed: what
// the former one held, connections and keys, is dropped now and not at the next
// turn.
func (b *bots) change(id string, config *chat.Bot) {
	switch {
	case config == nil:
		b.remove(id)
	case b.knows(id):
		_, _ = b.get(config) // whoever needs it is told
	}
}

func (b *bots) knows(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.made[id]
	return ok
}

// remove drops a bot that does not exist any more.
func (b *bots) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(id)
}

// close drops all bots.
func (b *bots) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.made {
		b.drop(id)
	}
}

// drop is called with the mutex held.
func (b *bots) drop(id string) {
	if c, ok := b.made[id].bot.(io.Closer); ok {
		_ = c.Close() // connections that nobody uses
	}
	delete(b.made, id)
}
