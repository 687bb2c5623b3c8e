package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Entry is a line of the journal: a turn, a delivery, or one that can't be read.
type Entry struct {
	Seq        uint64 // in the stream; the later, the higher
	StoredAt   time.Time
	Turn       *chat.Turn
	Delivery   *chat.Delivery
	Unreadable error // wraps wire.ErrUndecodable
}

// Reader reads the journal.
type Reader struct{ conn *broker.Conn }

// NewReader makes a reader.
func NewReader(conn *broker.Conn) *Reader { return &Reader{conn: conn} }

// Conversation returns a conversation's latest entries, at most limit, oldest
// first. An entry that can't be read ends it with an error that wraps
// wire.ErrUndecodable.
func (r *Reader) Conversation(ctx context.Context, channelID string, key chat.ConversationKey, limit int) ([]Entry, error) {
	var entries []Entry
	var broken error
	err := r.conn.Scan(ctx, topology.StreamJournal, topology.JournalFilter(channelID, key), 0, func(m broker.Stored) bool {
		turn, delivery, err := wire.DecodeJournalEntry(m.Data)
		if err != nil {
			broken = err
			return false
		}
		entries = append(entries, Entry{Seq: m.Seq, StoredAt: m.Time, Turn: turn, Delivery: delivery})
		if len(entries) >= 2*limit {
			entries = entries[:copy(entries, entries[len(entries)-limit:])]
		}
		return true
	})
	if err == nil {
		err = broken
	}
	if err != nil {
		return nil, fmt.Errorf("reading the journal of conversation %s: %w", key, err)
	}
	return entries[max(0, len(entries)-limit):], nil
}
