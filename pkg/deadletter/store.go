package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// ErrNotFound means that the message has no dead letter.
var ErrNotFound = errors.New("there is no dead letter of this message")

// Store reads and writes dead letters. It is safe for concurrent use.
type Store struct {
	conn   *broker.Conn
	stream jetstream.Stream
}

// New opens the store. The stream must exist.
func New(ctx context.Context, conn *broker.Conn) (*Store, error) {
	stream, err := conn.JS.Stream(ctx, topology.StreamDead)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", topology.StreamDead, err)
	}
	return &Store{conn: conn, stream: stream}, nil
}

// Letter is a stored dead letter.
type Letter struct {
	Seq      uint64 // in the stream; the later, the higher
	StoredAt time.Time
	chat.DeadLetter
	// Undecodable is why the letter can't be read, else nil. Then the fields of
	// DeadLetter are empty but for what its subject says: stage, channel,
	// destination and message.
	Undecodable error

	key chat.ConversationKey // of the subject, where it is undecodable
}

// Write stores a dead letter; if there is one of the message at its destination
// already, that one stays and Write returns nil. One of a replay takes the place of
// the one that was replayed, which may be there still, so that the replay's removal of
// that one doesn't meet it. The error wraps broker.ErrFull or broker.ErrUnavailable,
// unless the letter itself can't be stored.
func (s *Store) Write(ctx context.Context, d *chat.DeadLetter) error {
	err := s.write(ctx, d, d.Headers[topology.HeaderReplay])
	if err != nil {
		return fmt.Errorf("writing the dead letter of message %s: %w", d.MessageID, err)
	}
	return nil
}

func (s *Store) write(ctx context.Context, d *chat.DeadLetter, replay string) error {
	for what, id := range map[string]string{"channel": d.ChannelID, "destination": d.Destination, "message": d.MessageID} {
		if !isToken(id) {
			return fmt.Errorf("the id of its %s, %q, can't stand in a subject: give it one without dots, spaces and wildcards", what, id)
		}
	}
	data, err := encode(d)
	if err != nil {
		return err
	}
	key := chat.KeyOf(d.ChannelID, d.ConversationID)
	m := broker.Message{
		Subject: topology.DeadSubject(d.Stage, d.ChannelID, d.Destination, key, d.MessageID), Data: data, ExpectLast: new(uint64),
	}
	for {
		_, err := s.conn.Publish(ctx, m)
		if !errors.Is(err, broker.ErrConflict) {
			return err
		}
		seq, written, err := s.former(ctx, m.Subject, replay)
		if err != nil || written {
			return err
		}
		m.ExpectLast = &seq // it may have been removed meanwhile: then once more
	}
}

// former returns the sequence of the letter that stands under a subject, 0 where
// there is none; written says that it is the one that is to be written.
func (s *Store) former(ctx context.Context, subject, replay string) (seq uint64, written bool, err error) {
	if replay == "" {
		return 0, true, nil
	}
	msg, err := s.stream.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	d, err := wire.DecodeDeadLetter(msg.Data)
	return msg.Sequence, err == nil && d.Headers[topology.HeaderReplay] == replay, nil
}

// At returns the letter at a sequence. The error wraps ErrNotFound, where it was
// removed, or broker.ErrUnavailable; one that can't be decoded is returned with
// Undecodable set.
func (s *Store) At(ctx context.Context, seq uint64) (*Letter, error) {
	msg, err := s.stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading dead letter %d: %w: %w", seq, broker.ErrUnavailable, err)
	}
	l := letterOf(broker.Stored{Seq: msg.Sequence, Subject: msg.Subject, Time: msg.Time, Data: msg.Data})
	return &l, nil
}

// Remove removes a letter by its sequence, if it is still there. The error wraps
// broker.ErrUnavailable.
func (s *Store) Remove(ctx context.Context, seq uint64) error {
	err := s.stream.DeleteMsg(ctx, seq)
	if err == nil {
		return nil
	}
	if _, there := s.stream.GetMsg(ctx, seq); errors.Is(there, jetstream.ErrMsgNotFound) {
		return nil
	}
	return fmt.Errorf("removing dead letter %d: %w: %w", seq, broker.ErrUnavailable, err)
}

// room is what a publish needs beside its data.
const room = 4 << 10

// encode leaves the answers' excerpts out where the letter would be larger than
// the broker takes: the message itself matters more.
func encode(d *chat.DeadLetter) ([]byte, error) {
	data, err := wire.EncodeDeadLetter(d)
	if err != nil || len(data) <= broker.MaxPayload-room {
		return data, err
	}
	short := *d
	short.Attempts = slices.Clone(d.Attempts)
	for i := range short.Attempts {
		short.Attempts[i].Excerpt = nil
	}
	return wire.EncodeDeadLetter(&short)
}

// Get returns a message's dead letters, one for each destination that it died
// at, oldest first. The error wraps ErrNotFound, broker.ErrUnavailable or
// wire.ErrUndecodable.
func (s *Store) Get(ctx context.Context, messageID string) ([]Letter, error) {
	letters, err := s.get(ctx, messageID)
	if err != nil {
		return nil, fmt.Errorf("reading the dead letters of message %s: %w", messageID, err)
	}
	return letters, nil
}

func (s *Store) get(ctx context.Context, messageID string) ([]Letter, error) {
	if messageID == "" || !isToken(messageID) {
		return nil, ErrNotFound
	}
	// An id given for want of one does not say which conversation it was.
	filter := topology.DeadMessageFilter(nil, messageID)
	if _, key, err := chat.ParseMessageID(messageID); err == nil {
		filter = topology.DeadMessageFilter(&key, messageID)
	}
	var letters []Letter
	for next := uint64(1); ; {
		msg, err := s.stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
		}
		d, err := wire.DecodeDeadLetter(msg.Data)
		if err != nil {
			return nil, err
		}
		letters = append(letters, Letter{Seq: msg.Sequence, StoredAt: msg.Time, DeadLetter: *d})
		next = msg.Sequence + 1
	}
	if len(letters) == 0 {
		return nil, ErrNotFound
	}
	return letters, nil
}

// isToken reports whether an id can stand in a subject; an empty one is
// written as "-" there.
func isToken(id string) bool {
	return strings.IndexFunc(id, func(r rune) bool { return r <= ' ' || r == '.' || r == '*' || r == '>' || r == 0x7f }) < 0
}
