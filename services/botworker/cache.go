package botworker

import (
	"context"
	"fmt"
	"sync"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
)

// cached is how many sessions a worker remembers.
const cached = 50_000

// cache remembers the sessions that this worker wrote last. It may be behind
// another owner's write: the save is conditional, and a refused one forgets
// the entry.
type cache struct {
	store Sessions
	mu    sync.Mutex
	known map[chat.ConversationKey]known
}

type known struct {
	rec      *chat.Session
	revision uint64
}

func newCache(store Sessions) *cache {
	return &cache{store: store, known: map[chat.ConversationKey]known{}}
}

func (c *cache) load(ctx context.Context, key chat.ConversationKey) (*chat.Session, uint64, error) {
	c.mu.Lock()
	k, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return k.rec, k.revision, nil
	}
	rec, revision, err := c.store.Load(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("loading the session: %w", err)
	}
	return rec, revision, nil
}

func (c *cache) save(ctx context.Context, key chat.ConversationKey, rec *chat.Session, expected uint64) error {
	revision, err := c.store.Save(ctx, key, rec, expected)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		delete(c.known, key)
		return fmt.Errorf("saving the session: %w", err)
	}
	if len(c.known) >= cached {
		c.shrink()
	}
	c.known[key] = known{rec: rec, revision: revision}
	return nil
}

// shrink forgets an eighth, whichever.
func (c *cache) shrink() {
	n := cached / 8
	for key := range c.known {
		delete(c.known, key)
		if n--; n == 0 {
			return
		}
	}
}

// bots keeps the bots that were made, each as long as its configuration stands.
type bots struct {
	build func(*chat.Bot) (bot.Bot, error)
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
	if m, ok := b.made[config.ID]; ok && m.config == config {
		return m.bot, m.err
	}
	if b.made == nil {
		b.made = map[string]made{}
	}
	built, err := b.build(config)
	b.made[config.ID] = made{config: config, bot: built, err: err}
	return built, err
}
