package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
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
	err = hold(held, lease)
	if err != nil && !errors.Is(err, ErrRefused) {
		return fmt.Errorf("partition %d: %w", p, err)
	}
	// One that can't be released looks like a crash to the next owner, which is
	// then careful for nothing.
	_ = lease.release(context.WithoutCancel(ctx))
	if err != nil { // the others go on
		<-ctx.Done()
	}
	return nil
}

func (o *Sole) take(ctx context.Context, p int) (*soleLease, error) {
	l := &soleLease{held{leases: o.leases, stage: o.stage, partition: p, key: topology.LeaseKey(o.stage, p), own: func(r leaseRecord) bool { return r.Sole }}}
	for {
		before, err := o.leases.read(ctx, l.key)
		if err != nil {
			return nil, err
		}
		was, now := decodeLease(before.value), time.Now()
		record := was.taken("", o.instance, now, was.Sole || was.Member != "")
		record.Sole = true
		epoch, err := o.leases.write(ctx, l.key, record, before.revision, 0)
		if errors.Is(err, errConflict) {
			continue
		}
		l.taken(epoch, record)
		return l, err
	}
}

type soleLease struct{ held }

// Deadline is far away: nobody takes a sole owner's lease by time.
func (l *soleLease) Deadline() time.Time { return time.Now().Add(math.MaxInt32 * time.Second) }

func (l *soleLease) Verify(ctx context.Context) error { return l.check(ctx) }

func (l *soleLease) NoteInFlight(ctx context.Context, works []Work) error { return l.note(ctx, works) }
