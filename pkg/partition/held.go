package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// held is a partition's lease as its holder knows it.
type held struct {
	leases    *bucket
	stage     chat.Stage
	partition int
	key       string
	epoch     uint64
	careful   time.Time // until then
	// own reports whether a record of another revision names this holder.
	own func(leaseRecord) bool

	mu       sync.Mutex
	revision uint64
	record   leaseRecord
}

func (h *held) Stage() chat.Stage { return h.stage }
func (h *held) Partition() int    { return h.partition }
func (h *held) Epoch() uint64     { return h.epoch }
func (h *held) Careful() bool     { return time.Now().Before(h.careful) }

func (h *held) Suspects() (works []Work, vanished int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.record.Suspects), h.record.Suspected
}

// taken notes that the lease was acquired, with what was written.
func (h *held) taken(epoch uint64, record leaseRecord) {
	h.epoch, h.revision, h.record = epoch, epoch, record
	h.careful = record.carefulUntil()
}

// check reads the lease at the leader.
func (h *held) check(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.verify(ctx)
}

// verify takes over the revision of an own write whose confirmation was lost;
// the mutex is held.
func (h *held) verify(ctx context.Context) error {
	s, err := h.leases.read(ctx, h.key)
	if err != nil {
		return fmt.Errorf("verifying the lease of partition %d: %w", h.partition, err)
	}
	found := decodeLease(s.value)
	if s.gone || !h.own(found) || (s.revision != h.epoch && found.Epoch != h.epoch) {
		return fmt.Errorf("partition %d is with %q: %w", h.partition, found.Instance, ErrLapsed)
	}
	h.revision, h.record = s.revision, found
	return nil
}

func (h *held) note(ctx context.Context, works []Work) error {
	if err := h.put(ctx, func(r leaseRecord) leaseRecord { return r.noted(h.epoch, works) }); err != nil {
		return fmt.Errorf("noting what is in flight in partition %d: %w", h.partition, err)
	}
	return nil
}

// release writes that nobody holds the lease; ErrLapsed when another has it.
func (h *held) release(ctx context.Context) error {
	return h.put(ctx, func(r leaseRecord) leaseRecord { return r.released(time.Now()) })
}

// put changes the record if it is this holder's still. After an unconfirmed
// write it looks what is there, once.
func (h *held) put(ctx context.Context, change func(leaseRecord) leaseRecord) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := change(h.record)
	revision, err := h.leases.write(ctx, h.key, next, h.revision, 0)
	if errors.Is(err, errConflict) {
		if err := h.verify(ctx); err != nil {
			return err
		}
		next = change(h.record)
		revision, err = h.leases.write(ctx, h.key, next, h.revision, 0)
	}
	if err != nil {
		return err
	}
	h.revision, h.record = revision, next
	return nil
}
