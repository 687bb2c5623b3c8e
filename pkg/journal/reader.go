package journal

import (
	"context"
	"errors"
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

// ErrForgotten means that the journal has the entry no more.
var ErrForgotten = errors.New("the journal has forgotten the entry")

// At returns the entry at a sequence. The error is ErrForgotten, or wraps
// broker.ErrUnavailable or wire.ErrUndecodable.
func (r *Reader) At(ctx context.Context, seq uint64) (*Entry, error) {
	m, err := r.conn.ReadAt(ctx, topology.StreamJournal, seq)
	if err != nil {
		return nil, fmt.Errorf("reading entry %d of the journal: %w", seq, err)
	}
	if m == nil {
		return nil, ErrForgotten
	}
	e := &Entry{Seq: m.Seq, StoredAt: m.Time}
	e.Turn, e.Delivery, err = wire.DecodeJournalEntry(m.Data)
	return e, err
}

// Begins returns when the first entry was stored that is left, zero where the
// journal has forgotten none. The error wraps broker.ErrUnavailable.
func (r *Reader) Begins(ctx context.Context) (time.Time, error) {
	span, err := r.conn.SpanOf(ctx, topology.StreamJournal)
	if err != nil || span.First <= 1 {
		return time.Time{}, err
	}
	for {
		e, err := r.At(ctx, span.First)
		if err == nil {
			return e.StoredAt, nil
		}
		if !errors.Is(err, ErrForgotten) {
			return time.Time{}, err
		}
		if span, err = r.conn.SpanOf(ctx, topology.StreamJournal); err != nil || span.First > span.Last {
			return time.Now(), err // it is empty
		}
	}
}
