package lane

import (
	"context"
	"errors"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// Store is one partition's truth. Its implementation over JetStream is
// [JetStream]; tests bring one of their own.
type Store interface {
	// Open makes the partition this owner's: consumers of lower epochs are
	// deleted, the work queue is read from its oldest message on. It fails with
	// ErrFenced where a higher epoch has been there.
	Open(ctx context.Context, epoch uint64) (Source, error)
	// Lanes lists the lanes that have parked messages, a state record, or both.
	Lanes(ctx context.Context) ([]ParkedLane, error)
	// Append puts a message behind a lane's others and returns its sequence in
	// the parked stream.
	Append(ctx context.Context, id ID, m *Message) (uint64, error)
	// Next returns the lane's first messages at or after a sequence, in order, at
	// most so many, and at least one where there is one; it may leave it at that.
	// Last returns its last, nil where there is none.
	Next(ctx context.Context, id ID, from uint64, most int) ([]ParkedMessage, error)
	Last(ctx context.Context, id ID) (*ParkedMessage, error)
	// Oldest returns the time of the first parked message of a group, zero where
	// there is none.
	Oldest(ctx context.Context, group string) (time.Time, error)
	// Remove deletes the lane's messages up to and including a sequence.
	Remove(ctx context.Context, id ID, upTo uint64) error
	// State, PutState and DropState are about the lane's state record; State
	// returns nil where there is none.
	State(ctx context.Context, id ID) (*chat.LaneState, error)
	PutState(ctx context.Context, id ID, s *chat.LaneState) error
	DropState(ctx context.Context, id ID) error
}

// ErrFenced means that a later owner of the partition exists.
var ErrFenced = errors.New("a later owner has the partition")

// Source delivers the work queue in order.
type Source interface {
	// Next blocks for the next delivery. Any error but ctx's means that the
	// source is of no use any more: open the partition anew.
	Next(ctx context.Context) (*Delivery, error)
	// Forget says of a message that nothing but its removal says that it is
	// settled: once acknowledged it is removed without delay. It does not wait.
	Forget(seq uint64)
	// HeldUp names the message that keeps others, which are settled, from being
	// removed, where that has become a burden.
	HeldUp(now time.Time) (seq uint64, held bool)
	// Close ends the source; with release its consumer is deleted.
	Close(ctx context.Context, release bool) error
}

// Delivery is a message of the work queue as it was delivered.
type Delivery struct {
	Message
	// Number counts the deliveries of this source, from 1; a gap means that one
	// was lost on its way.
	Number uint64
	// Ack removes the message from the work queue, soon, and once what was
	// written before is on disk; it does not wait. One that is not removed comes
	// back as a redelivery, which the lane's mark covers.
	Ack func()
}

// ParkedLane is a lane found in the parked stream.
type ParkedLane struct {
	ID       ID
	Messages uint64
	HasState bool
}

// ParkedMessage is a message in the parked stream.
type ParkedMessage struct {
	Message
	ParkedSeq uint64
	ParkedAt  time.Time
}

// Marks is the once-ledger as the engine needs it; see package ledger.
type Marks interface {
	Load(ctx context.Context, lane string) (mark chat.Ordinal, ok bool, err error)
	Settle(ctx context.Context, lane string, mark chat.Ordinal) error
}

// Graveyard takes dead letters; writing one again changes nothing.
type Graveyard interface {
	Write(ctx context.Context, d *chat.DeadLetter) error
}
