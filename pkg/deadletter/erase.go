package deadletter

import (
	"context"
	"fmt"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Erase removes a conversation's letters and returns how many there were. Those
// of messages that can't be decoded are of no conversation that is known. The
// error wraps broker.ErrUnavailable.
func (s *Store) Erase(ctx context.Context, channelID string, key chat.ConversationKey) (uint64, error) {
	n, err := s.conn.Purge(ctx, topology.StreamDead, topology.DeadConversationFilter("", channelID, "", key))
	if err != nil {
		return 0, fmt.Errorf("erasing the dead letters of conversation %s: %w", key, err)
	}
	return n, nil
}
