package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Sole is the owner for a stage that one worker works alone: it takes every
// partition at once and keeps it. A second Sole of the same stage takes them
// all over; the first notices when it verifies. What a Sole has not released
// when the next one comes counts as left by an owner that vanished.
type Sole struct {
	stage      chat.Stage
	partitions int
	instance   string
	leases     *bucket
}

// NewSole opens the leases' bucket. The instance names this process.
func NewSole(ctx context.Context, js jetstream.JetStream, stage chat.Stage, partitions int, instance string) (*Sole, error) {
	leases, err := openBucket(ctx, js, topology.BucketLeases)
	if err != nil {
		return nil, err
	}
	return &Sole{stage: stage, partitions: partitions, instance: instance, leases: leases}, nil
}

// Run implements Owner.
func (o *Sole) Run(ctx context.Context, hold func(ctx context.Context, l Lease) error) error {
	g, gctx := errgroup.WithContext(ctx)
	for p := range o.partitions {
		g.Go(func() error {
			err := o.own(gctx, p, hold)
			if err != nil && ctx.Err() != nil && errors.Is(err, errNotTaken) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("stage %s, %w", o.stage, err)
	}
	return nil
}

// errNotTaken: the partition was not taken, so nothing is to be released.
var errNotTaken = errors.New("it could not be taken")

func (o *Sole) own(ctx context.Context, p int, hold func(ctx context.Context, l Lease) error) error {
	lease, err := o.take(ctx, p)
	if err != nil {
		return fmt.Errorf("taking partition %d: %w: %w", p, errNotTaken, err)
	}
	held, release := context.WithCancelCause(context.WithoutCancel(ctx))
	defer release(nil)
	stop := context.AfterFunc(ctx, func() { release(ErrHandOver) })
	defer stop()
	if err := hold(held, lease); err != nil {
		return fmt.Errorf("partition %d: %w", p, err)
	}
	// One that can't be released looks like a crash to the next owner, which is
	// then careful for nothing.
	_ = lease.put(context.WithoutCancel(ctx), func(r leaseRecord) leaseRecord { return r.released(time.Now()) })
	return nil
}

func (o *Sole) take(ctx context.Context, p int) (*soleLease, error) {
	l := &soleLease{owner: o, partition: p, key: topology.LeaseKey(o.stage, p)}
	for {
		before, err := o.leases.read(ctx, l.key)
		if err != nil {
			return nil, err
		}
		was, now := decodeLease(before.value), time.Now()
		l.record = was.taken("", o.instance, now, was.Sole || was.Member != "")
		l.record.Sole = true
		l.careful = l.record.careful(now)
		l.epoch, err = o.leases.write(ctx, l.key, l.record, before.revision, 0)
		l.revision = l.epoch
		if !errors.Is(err, errConflict) {
			return l, err
		}
	}
}

type soleLease struct {
	owner     *Sole
	partition int
	key       string
	epoch     uint64
	careful   bool

	mu       sync.Mutex
	revision uint64
	record   leaseRecord
}

func (l *soleLease) Stage() chat.Stage { return l.owner.stage }
func (l *soleLease) Partition() int    { return l.partition }
func (l *soleLease) Epoch() uint64     { return l.epoch }
func (l *soleLease) Careful() bool     { return l.careful }

// Deadline is far away: nobody takes a sole owner's lease by time.
func (l *soleLease) Deadline() time.Time { return time.Now().Add(math.MaxInt32 * time.Second) }

func (l *soleLease) Suspect() (seq uint64, vanished int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record.Suspect, l.record.Suspected
}

func (l *soleLease) Verify(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.verify(ctx)
}

// verify takes over the revision of an own write whose confirmation was lost.
func (l *soleLease) verify(ctx context.Context) error {
	s, err := l.owner.leases.read(ctx, l.key)
	if err != nil {
		return fmt.Errorf("verifying the lease of partition %d: %w", l.partition, err)
	}
	found := decodeLease(s.value)
	if s.revision != l.epoch && found.Epoch != l.epoch {
		return errors.Join(ErrLapsed, fmt.Errorf("partition %d has been taken by %s", l.partition, found.Instance))
	}
	l.revision, l.record = s.revision, found
	return nil
}

func (l *soleLease) NoteInFlight(ctx context.Context, seq uint64) error {
	if err := l.put(ctx, func(r leaseRecord) leaseRecord { return r.noted(l.epoch, seq) }); err != nil {
		return fmt.Errorf("noting what is in flight in partition %d: %w", l.partition, err)
	}
	return nil
}

// put changes the record if it is this holder's still. After an unconfirmed
// write it looks what is there, once.
func (l *soleLease) put(ctx context.Context, change func(leaseRecord) leaseRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := change(l.record)
	revision, err := l.owner.leases.write(ctx, l.key, next, l.revision, 0)
	if errors.Is(err, errConflict) {
		if err := l.verify(ctx); err != nil {
			return err
		}
		next = change(l.record)
		revision, err = l.owner.leases.write(ctx, l.key, next, l.revision, 0)
	}
	if err != nil {
		return err
	}
	l.revision, l.record = revision, next
	return nil
}
