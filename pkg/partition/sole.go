package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Sole is the owner for a stage that one worker works alone: it takes every
// partition at once and keeps it. A second Sole of the same stage takes them
// all over; the first notices when it verifies.
type Sole struct {
	stage      chat.Stage
	partitions int
	instance   string
	leases     jetstream.KeyValue
}

// NewSole opens the leases' bucket. The instance names this process.
func NewSole(ctx context.Context, js jetstream.JetStream, stage chat.Stage, partitions int, instance string) (*Sole, error) {
	leases, err := js.KeyValue(ctx, topology.BucketLeases)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", topology.BucketLeases, err)
	}
	return &Sole{stage: stage, partitions: partitions, instance: instance, leases: leases}, nil
}

// Run implements Owner.
func (o *Sole) Run(ctx context.Context, hold func(ctx context.Context, l Lease) error) error {
	g, gctx := errgroup.WithContext(ctx)
	for p := range o.partitions {
		g.Go(func() error {
			lease, err := o.take(gctx, p)
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			held, release := context.WithCancelCause(context.WithoutCancel(gctx))
			defer release(nil)
			stop := context.AfterFunc(gctx, func() { release(ErrHandOver) })
			defer stop()
			if err := hold(held, lease); err != nil {
				return fmt.Errorf("partition %d: %w", p, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("stage %s, %w", o.stage, err)
	}
	return nil
}

func (o *Sole) take(ctx context.Context, p int) (*soleLease, error) {
	l := &soleLease{owner: o, partition: p, key: string(o.stage) + "." + strconv.Itoa(p)}
	epoch, err := o.leases.Put(ctx, l.key, []byte(o.instance))
	if err != nil {
		return nil, fmt.Errorf("taking partition %d: %w", p, err)
	}
	l.epoch = epoch
	return l, nil
}

type soleLease struct {
	owner     *Sole
	partition int
	key       string
	epoch     uint64
}

func (l *soleLease) Stage() chat.Stage { return l.owner.stage }
func (l *soleLease) Partition() int    { return l.partition }
func (l *soleLease) Epoch() uint64     { return l.epoch }

// Deadline is far away: nobody takes a sole owner's lease by time.
func (l *soleLease) Deadline() time.Time { return time.Now().Add(math.MaxInt32 * time.Second) }

func (l *soleLease) Verify(ctx context.Context) error {
	entry, err := l.owner.leases.Get(ctx, l.key)
	if err != nil {
		return fmt.Errorf("verifying the lease of partition %d: %w", l.partition, err)
	}
	if entry.Revision() != l.epoch {
		return errors.Join(ErrLapsed, fmt.Errorf("partition %d has been taken by %s", l.partition, entry.Value()))
	}
	return nil
}
