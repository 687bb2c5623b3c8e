package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// acquire takes the partition's lease if it is free; nil if it isn't.
func (r *run) acquire(ctx context.Context, t *term, p int) (*sharedLease, error) {
	key := topology.LeaseKey(r.stage, p)
	before, err := r.leases.read(ctx, key)
	if err != nil {
		return nil, err
	}
	was := decodeLease(before.value)
	free, vanished, err := r.isFree(ctx, was.Member, t)
	if err != nil || !free {
		return nil, err
	}
	now := time.Now()
	vanished = vanished || was.Sole
	record := was.taken(t.key, r.instance, now, vanished)
	epoch, err := r.leases.write(ctx, key, record, before.revision, 0)
	switch {
	case errors.Is(err, errConflict):
		return nil, nil //nolint:nilnil // documented: another was quicker
	case err != nil:
		// It may have gone through: the next try finds its own name there.
		return nil, err
	}
	if vanished {
		r.Log.Warn("taking over from an owner that has vanished", zap.Int("partition", p),
			zap.String("owner", was.Instance), zap.Uint64("inFlight", was.InFlight), zap.Int("times", len(record.Vanished)))
	}
	return &sharedLease{
		run: r, term: t, partition: p, key: key, epoch: epoch,
		careful: record.careful(now), revision: epoch, record: record,
	}, nil
}

// isFree reports whether a lease that names this member may be taken, and
// whether its holder has vanished.
func (r *run) isFree(ctx context.Context, member string, t *term) (free, vanished bool, err error) {
	r.mu.Lock()
	own := member == t.key || r.former[member]
	r.mu.Unlock()
	if member == "" || own {
		return true, false, nil
	}
	s, err := r.members.read(ctx, member)
	switch {
	case err != nil:
		return false, false, err
	case s.gone:
		return true, true, nil
	case s.revision != 0:
		return false, false, nil
	}
	switch err := r.members.seal(ctx, member); {
	case errors.Is(err, errConflict):
		return false, false, nil
	case err != nil:
		return false, false, err
	}
	return true, true, nil
}

// sharedLease is a partition that this worker owns.
type sharedLease struct {
	run       *run
	term      *term
	partition int
	key       string
	epoch     uint64
	careful   bool

	mu       sync.Mutex
	revision uint64
	record   leaseRecord
}

func (l *sharedLease) Stage() chat.Stage   { return l.run.stage }
func (l *sharedLease) Partition() int      { return l.partition }
func (l *sharedLease) Epoch() uint64       { return l.epoch }
func (l *sharedLease) Deadline() time.Time { return l.term.deadline() }
func (l *sharedLease) Careful() bool       { return l.careful }

func (l *sharedLease) Suspect() (seq uint64, vanished int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record.Suspect, l.record.Suspected
}

func (l *sharedLease) Verify(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !time.Now().Before(l.Deadline()) {
		return fmt.Errorf("partition %d: %w", l.partition, ErrLapsed)
	}
	return l.verify(ctx)
}

// verify takes over the revision of an own write whose confirmation was lost.
func (l *sharedLease) verify(ctx context.Context) error {
	s, err := l.run.leases.read(ctx, l.key)
	if err != nil {
		return fmt.Errorf("verifying the lease of partition %d: %w", l.partition, err)
	}
	found := decodeLease(s.value)
	if s.gone || found.Member != l.term.key || (s.revision != l.epoch && found.Epoch != l.epoch) {
		return fmt.Errorf("partition %d is with %q: %w", l.partition, found.Instance, ErrLapsed)
	}
	l.revision, l.record = s.revision, found
	return nil
}

func (l *sharedLease) NoteInFlight(ctx context.Context, seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !time.Now().Before(l.Deadline()) {
		return fmt.Errorf("noting what is in flight in partition %d: %w", l.partition, ErrLapsed)
	}
	if err := l.put(ctx, func(r leaseRecord) leaseRecord { return r.noted(l.epoch, seq) }); err != nil {
		return fmt.Errorf("noting what is in flight in partition %d: %w", l.partition, err)
	}
	return nil
}

// release writes that nobody holds the lease; ErrLapsed when another has it.
func (l *sharedLease) release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.put(ctx, func(r leaseRecord) leaseRecord { return r.released(time.Now()) })
}

// put changes the record if it is this holder's still. After an unconfirmed
// write it looks what is there, once.
func (l *sharedLease) put(ctx context.Context, change func(leaseRecord) leaseRecord) error {
	next := change(l.record)
	revision, err := l.run.leases.write(ctx, l.key, next, l.revision, 0)
	if errors.Is(err, errConflict) {
		if err := l.verify(ctx); err != nil {
			return err
		}
		next = change(l.record)
		revision, err = l.run.leases.write(ctx, l.key, next, l.revision, 0)
	}
	if err != nil {
		return err
	}
	l.revision, l.record = revision, next
	return nil
}
