package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// MaxBytes is the largest record that Save takes, encoded.
const MaxBytes = 256 << 10

// ErrTooLarge means that the record is above MaxBytes.
var ErrTooLarge = errors.New("the session is too large: keep less in its variables")

// Store reads and writes session records. It is safe for concurrent use.
type Store struct {
	conn       *broker.Conn
	stream     jetstream.Stream
	partitions int
}

// New opens the store of a deployment with that many partitions. The stream
// must exist.
func New(ctx context.Context, conn *broker.Conn, partitions int) (*Store, error) {
	stream, err := conn.JS.Stream(ctx, topology.StreamSessions)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", topology.StreamSessions, err)
	}
	if c := stream.CachedInfo().Config; c.AllowDirect && c.Replicas > 1 {
		return nil, fmt.Errorf("stream %s has replicas and allows direct reads, which may be stale: turn allow_direct off", topology.StreamSessions)
	}
	return &Store{conn: conn, stream: stream, partitions: partitions}, nil
}

// Load returns the conversation's record and its revision; nil and 0 where
// there is none. A record that can't be read comes back as an error that wraps
// wire.ErrUndecodable together with its revision, so that it can be replaced;
// every other error wraps broker.ErrUnavailable.
func (s *Store) Load(ctx context.Context, key chat.ConversationKey) (rec *chat.Session, revision uint64, err error) {
	msg, err := s.stream.GetLastMsgForSubject(ctx, s.subject(key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		_, _ = s.stream.Info(ctx) // how the stream may be read can have changed
		return nil, 0, fmt.Errorf("loading the session of conversation %s: %w: %w", key, broker.ErrUnavailable, err)
	}
	rec, err = wire.DecodeSession(msg.Data)
	if err != nil {
		return nil, msg.Sequence, fmt.Errorf("loading the session of conversation %s: %w", key, err)
	}
	return rec, msg.Sequence, nil
}

// Save stores the record over the expected revision (0: there is none) and
// returns the new one; it is on disk later (see broker.Message). The error wraps broker.ErrConflict when another revision
// is there, ErrTooLarge, broker.ErrFull, or broker.ErrUnavailable.
func (s *Store) Save(ctx context.Context, key chat.ConversationKey, rec *chat.Session, expected uint64) (uint64, error) {
	data, err := wire.EncodeSession(rec)
	if err != nil {
		return 0, fmt.Errorf("saving the session of conversation %s: %w", key, err)
	}
	if len(data) > MaxBytes {
		return 0, fmt.Errorf("saving the session of conversation %s: it has %d bytes of %d: %w", key, len(data), MaxBytes, ErrTooLarge)
	}
	revision, err := s.conn.Publish(ctx, broker.Message{Subject: s.subject(key), Data: data, ExpectLast: &expected, Later: true})
	if err != nil {
		return 0, fmt.Errorf("saving the session of conversation %s: %w", key, err)
	}
	return revision, nil
}

func (s *Store) subject(key chat.ConversationKey) string {
	return topology.SessionSubject(key.Partition(s.partitions), key)
}
