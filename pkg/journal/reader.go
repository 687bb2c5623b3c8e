package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Entry is a line of the journal: a turn or a delivery.
type Entry struct {
	Turn     *chat.Turn
	Delivery *chat.Delivery
}

// Reader reads the journal.
type Reader struct{ conn *broker.Conn }

// NewReader makes a reader.
func NewReader(conn *broker.Conn) *Reader { return &Reader{conn: conn} }

// Conversation returns a conversation's latest entries, at most limit, oldest
// first. An entry that can't be read ends it with an error that wraps
// wire.ErrUndecodable.
func (r *Reader) Conversation(ctx context.Context, channelID string, key chat.ConversationKey, limit int) ([]Entry, error) {
	entries, err := r.read(ctx, topology.JournalFilter(channelID, key), limit)
	if err != nil {
		return nil, fmt.Errorf("reading the journal of conversation %s: %w", key, err)
	}
	return entries, nil
}

// A read takes so many messages at a time and waits so long for them.
const (
	fetchSize = 500
	fetchWait = 5 * time.Second
)

func (r *Reader) read(ctx context.Context, filter string, limit int) ([]Entry, error) {
	consumer, err := r.conn.JS.CreateConsumer(ctx, topology.StreamJournal, jetstream.ConsumerConfig{
		FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 10 * time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	info := consumer.CachedInfo()
	defer func() {
		// What is not deleted here goes after its InactiveThreshold.
		_ = r.conn.JS.DeleteConsumer(context.WithoutCancel(ctx), topology.StreamJournal, info.Name)
	}()
	var entries []Entry
	for pending := int(info.NumPending); pending > 0; {
		got, err := fetch(ctx, consumer, min(pending, fetchSize))
		if err != nil {
			return nil, err
		}
		if len(got) == 0 {
			break // the stream forgot the rest in the meantime
		}
		pending -= len(got)
		entries = append(entries, got...)
		entries = entries[max(0, len(entries)-limit):]
	}
	return entries, nil
}

func fetch(ctx context.Context, consumer jetstream.Consumer, most int) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	batch, err := consumer.Fetch(most, jetstream.FetchContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	entries := make([]Entry, 0, most)
	for msg := range batch.Messages() {
		turn, delivery, err := wire.DecodeJournalEntry(msg.Data())
		if err != nil {
			return nil, err
		}
		entries = append(entries, Entry{Turn: turn, Delivery: delivery})
	}
	if err := batch.Error(); err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	return entries, nil
}
