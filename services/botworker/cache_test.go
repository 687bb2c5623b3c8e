package botworker

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
)

// shelf stores sessions in memory.
type shelf struct {
	saved map[chat.ConversationKey]*chat.Session
	err   error
}

func (s *shelf) Load(_ context.Context, key chat.ConversationKey) (*chat.Session, uint64, error) {
	return s.saved[key], 1, s.err
}

func (s *shelf) Save(_ context.Context, key chat.ConversationKey, rec *chat.Session, _ uint64) (uint64, error) {
	if s.err == nil {
		s.saved[key] = rec
	}
	return 1, s.err
}

func TestCacheIsBounded(t *testing.T) {
	for name, tc := range map[string]struct{ sessions, bytes int }{
		"by number": {64, 1 << 30}, "by bytes": {1 << 20, 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(&shelf{saved: map[chat.ConversationKey]*chat.Session{}})
			c.sessions, c.bytes = tc.sessions, tc.bytes
			stuck := chat.KeyOf(channel, "stuck")
			require.NoError(t, c.save(t.Context(), stuck, &chat.Session{LastOutput: make([]chat.BotMessage, 1)}, 0))
			for i := range 1000 {
				key := chat.KeyOf(channel, strconv.Itoa(i))
				require.NoError(t, c.save(t.Context(), key, &chat.Session{Variables: make([]byte, 512)}, 0))
				require.Contains(t, c.known, key, "the latest stays")
				require.LessOrEqual(t, len(c.known), tc.sessions)
				require.LessOrEqual(t, c.size, tc.bytes)
			}
			require.True(t, c.known[stuck].outstanding, "an outbox that has not left is not forgotten")
			c.published(stuck)
			require.False(t, c.known[stuck].outstanding)
			c.forget(func(chat.ConversationKey) bool { return true })
			require.Empty(t, c.known)
			require.Zero(t, c.size)
		})
	}
}

func TestCacheForgetsWhatCouldNotBeSaved(t *testing.T) {
	store := &shelf{saved: map[chat.ConversationKey]*chat.Session{}}
	c := newCache(store)
	key := chat.KeyOf(channel, "c1")
	require.NoError(t, c.save(t.Context(), key, &chat.Session{Counter: 1}, 0))
	store.err = errors.New("refused")
	require.ErrorIs(t, c.save(t.Context(), key, &chat.Session{Counter: 2}, 0), store.err)
	require.Empty(t, c.known)
	require.Zero(t, c.size)
	_, err := c.load(t.Context(), key)
	require.ErrorIs(t, err, store.err)
}

// kept is a bot that keeps connections.
type kept struct {
	scripted
	name   string
	closed bool
}

func (k *kept) Close() error {
	k.closed = true
	return nil
}

// A bot is made once for a configuration, and gets the one before it, to take
// over what it can; what is removed is closed, as are all at the end.
func TestBotsAreDroppedWithTheirConfiguration(t *testing.T) {
	var made []*kept
	b := bots{build: func(config *chat.Bot, former bot.Bot) (bot.Bot, error) {
		if config.Flow == "bad" {
			return nil, errors.New("line 3: no such dialog")
		}
		k := &kept{name: config.ID}
		if old, ok := former.(*kept); ok {
			k.name = old.name + "+" + k.name
		}
		made = append(made, k)
		return k, nil
	}}
	get := func(config *chat.Bot) *kept {
		got, err := b.get(config)
		require.NoError(t, err)
		return got.(*kept)
	}
	first, second := &chat.Bot{ID: "a"}, &chat.Bot{ID: "a"}
	b.change("a", first)
	require.Empty(t, made, "nobody has asked for it yet")
	require.Same(t, get(first), get(first))
	b.change("a", second)
	require.Len(t, made, 2, "now, not at the next turn")
	require.Equal(t, "a+a", get(second).name)
	b.change("a", &chat.Bot{ID: "a", Flow: "bad"})
	require.Equal(t, "a", get(first).name, "it has nothing from the one that could not be made")
	b.change("a", nil)
	require.True(t, made[2].closed)
	b.remove("a")
	other := get(&chat.Bot{ID: "b"})
	b.close()
	require.True(t, other.closed)
	require.Empty(t, b.made)
}
