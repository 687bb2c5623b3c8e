// Package partition says who works on what: a partition of a stage has one
// owner at a time.
//
// An [Owner] hands partitions out as leases and takes them back. The lease's
// epoch rises with every change of owner, so that whatever an owner makes (a
// consumer's name, say) can be told from what its predecessors made. A holder
// works only while the lease's context lives and, for what reaches the outside,
// only until its deadline.
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
	// lease is still its own until it does.
	ErrHandOver = errors.New("the partition is handed over")
	// ErrLapsed means that the lease may be another's already: stop at once,
	// acknowledge nothing.
	ErrLapsed = errors.New("the lease has lapsed")
)

// Lease is the right to work on a partition.
type Lease interface {
	Stage() chat.Stage
	Partition() int
	// Epoch is the lease's revision at acquisition.
	Epoch() uint64
	// Deadline is until when the lease surely is this holder's, by this
	// process's clock; it moves as the lease is renewed.
	Deadline() time.Time
	// Verify asks the bucket's leader whether the lease is still this holder's.
	Verify(ctx context.Context) error
}

// Owner hands out a stage's partitions.
type Owner interface {
	// Run calls hold, each time in a goroutine of its own, for every partition
	// that this process comes to own, and releases the partition when hold has
	// returned. The context given to hold ends with cause ErrHandOver or
	// ErrLapsed. An error of hold ends Run with that error. Run returns, after
	// every hold has, when ctx ends (nil then) or owning fails.
	Run(ctx context.Context, hold func(ctx context.Context, l Lease) error) error
}
