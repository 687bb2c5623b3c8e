package journal

import (
	"context"
	"fmt"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Count counts a conversation's entries.
func Count(ctx context.Context, conn *broker.Conn, channelID string, key chat.ConversationKey) (uint64, error) {
	n, err := conn.Count(ctx, topology.StreamJournal, topology.JournalFilter(channelID, key))
	if err != nil {
		return 0, fmt.Errorf("counting the journal of conversation %s: %w", key, err)
	}
	return n, nil
}

// Erase removes a conversation's entries and returns how many there were. Those
// that a Writer has and has not written yet come later: see Flush.
func Erase(ctx context.Context, conn *broker.Conn, channelID string, key chat.ConversationKey) (uint64, error) {
	n, err := conn.Purge(ctx, topology.StreamJournal, topology.JournalFilter(channelID, key))
	if err != nil {
		return 0, fmt.Errorf("erasing the journal of conversation %s: %w", key, err)
	}
	return n, nil
}

// Flush returns once what was recorded before the call is written, or given up;
// Run has to be running.
func (w *Writer) Flush(ctx context.Context) error {
	written := make(chan struct{})
	select {
	case w.queue <- entry{written: written}:
	case <-ctx.Done():
		return fmt.Errorf("flushing the journal: %w", context.Cause(ctx))
	}
	select {
	case <-written:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flushing the journal: %w", context.Cause(ctx))
	}
}
