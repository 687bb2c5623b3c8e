package partition

import (
	"context"
	"errors"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// Why a lease's context ended; see context.Cause.
var (
	// ErrHandOver asks the holder to drain what is in flight and return: the
	// lease is still its own until it does, or until its deadline.
	ErrHandOver = errors.New("the partition is handed over")
	// ErrLapsed means that the lease may be another's already: stop at once,
	// acknowledge nothing.
	ErrLapsed = errors.New("the lease has lapsed")
	// ErrRefused is a holder's own: this process can't work on the partition, and
	// another may. It is released, and never given to this process again.
	ErrRefused = errors.New("the partition is refused")
)

// Work is a message that is handled: its sequence in the partition's work queue,
// and the lane that it is handled in.
type Work struct {
	Seq  uint64 `json:"seq"`
	Lane string `json:"lane,omitempty"`
}

// Lease is the right to work on a partition.
type Lease interface {
	Stage() chat.Stage
	Partition() int
	// Epoch is the lease's revision at acquisition.
	Epoch() uint64
	// Deadline is until when the lease surely is this holder's, by this
	// process's clock; it moves as the lease is renewed.
	Deadline() time.Time
	// Verify asks the bucket's leader whether the lease is still this holder's;
	// the error wraps ErrLapsed when it is not.
	Verify(ctx context.Context) error

	// Careful says that owners of the partition vanished twice or more in the
	// last 10 minutes: a message may be killing them. The holder should note
	// what it handles before it does.
	Careful() bool
	// Suspects returns what had been noted as in flight when an owner vanished,
	// and with how many owners in a row: with each of these all of it was. The
	// holder should handle it one after another and note each. What has been
	// noted, and then not any more, was survived and is no suspect any longer.
	Suspects() (works []Work, vanished int)
	// NoteInFlight writes into the lease, durably, all that is about to be
	// handled or being handled; none says that nothing is. The error wraps
	// ErrLapsed when the lease is no more this holder's; after any error what
	// was not noted before must not be handled.
	NoteInFlight(ctx context.Context, works []Work) error
}

// Owner hands out a stage's partitions.
type Owner interface {
	// Run calls hold, each time in a goroutine of its own, for every partition
	// that this process comes to own, and releases the partition when hold has
	// returned. The context given to hold ends with cause ErrHandOver or
	// ErrLapsed. An error of hold ends Run with that error, unless it wraps
	// ErrRefused. Run returns, after
	// every hold has, when ctx ends (nil then) or owning fails.
	Run(ctx context.Context, hold func(ctx context.Context, l Lease) error) error
}
