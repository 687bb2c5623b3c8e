package botworker

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

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
