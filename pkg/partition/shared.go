package partition

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Options configure a Shared; the zero value of each means its default. All
// workers of a stage should have the same.
type Options struct {
	// TTL is how long a worker counts as alive after its last renewal: whole
	// seconds, as the server counts them; default 10 s. A crash is noticed
	// after that.
	TTL time.Duration
	// Heartbeat is the time from renewal to renewal; default a fifth of TTL.
	Heartbeat time.Duration
	// Margin is how long before its key can expire a worker stops that could
	// not renew it; default a tenth of TTL. It has to cover what the clocks of
	// the brokers differ by.
	Margin time.Duration
	// Settle is how long the workers must not have changed before partitions
	// move; default 250 ms. Under constant change they move after four times
	// that.
	Settle time.Duration
	Log    *zap.Logger // default: none
}

// DefaultTTL is the default of Options.TTL.
const DefaultTTL = 10 * time.Second

func (o Options) withDefaults() Options {
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = o.TTL / 5
	}
	if o.Margin == 0 {
		o.Margin = o.TTL / 10
	}
	if o.Settle == 0 {
		o.Settle = 250 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o
}

// Validate reports the first setting that can't work.
func (o Options) Validate() error {
	o = o.withDefaults()
	switch {
	case o.TTL < time.Second || o.TTL%time.Second != 0:
		return fmt.Errorf("the lease TTL is %s: set it to whole seconds, 1 s at least", o.TTL)
	case o.Margin < 0 || o.Margin > o.TTL/2:
		return fmt.Errorf("the lease margin is %s: set it to at most half of the TTL, %s", o.Margin, o.TTL)
	case o.Heartbeat < 0 || o.Heartbeat > (o.TTL-o.Margin)/2:
		return fmt.Errorf("the lease heartbeat is %s: at most %s let one of them be lost at a TTL of %s", o.Heartbeat, (o.TTL-o.Margin)/2, o.TTL)
	case o.Settle < 0:
		return fmt.Errorf("the settling time is %s: set it to 0 or more", o.Settle)
	}
	return nil
}

// Shared is the owner for a stage that many workers share.
type Shared struct {
	Options
	stage      chat.Stage
	partitions int
	instance   string
	members    *bucket
	leases     *bucket
}

// NewShared opens the buckets. The instance names this worker; one that comes
// back under its name gets what it had, as far as that is spread evenly.
func NewShared(ctx context.Context, js jetstream.JetStream, stage chat.Stage, partitions int, instance string, o Options) (*Shared, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	members, err := openBucket(ctx, js, topology.BucketMembers)
	if err != nil {
		return nil, err
	}
	leases, err := openBucket(ctx, js, topology.BucketLeases)
	if err != nil {
		return nil, err
	}
	o = o.withDefaults()
	o.Log = o.Log.With(zap.String("stage", string(stage)), zap.String("instance", instance))
	return &Shared{Options: o, stage: stage, partitions: partitions, instance: instance, members: members, leases: leases}, nil
}

// Run implements Owner. A broker that can't be reached is no failure: the
// leases lapse, and Run goes on when it is back. An error of hold is none
// either if the lease was another's by then.
//
// When ctx ends, the others are told first, so that they are ready to take what
// is then handed over.
func (o *Shared) Run(ctx context.Context, hold func(ctx context.Context, l Lease) error) error {
	r := newRun(o, hold)
	// Renewing and watching outlive ctx, until every partition is released.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	seats, working := errgroup.WithContext(ctx)
	var background sync.WaitGroup
	background.Go(func() { r.watch(life) })
	background.Go(func() { r.belong(working, life) })
	for p := range o.partitions {
		seats.Go(func() error { return r.seat(life, p) })
	}
	seats.Go(func() error {
		<-working.Done()
		r.depart(life)
		return nil
	})
	err := seats.Wait()
	end()
	background.Wait()
	r.resign(ctx)
	if err != nil {
		return fmt.Errorf("stage %s: %w", o.stage, err)
	}
	return nil
}

// run is one call of Run: what it knows of the stage, and its own place in it.
type run struct {
	*Shared
	hold  func(ctx context.Context, l Lease) error
	nudge chan struct{} // asks watch to reckon anew

	mu      sync.Mutex
	changed chan struct{} // closed when something below changes
	alive   map[string]seenMember
	seen    []seenLease // by partition
	term    *term       // nil while this worker is no member
	last    *term       // the latest, over or not
	mine    []bool      // what term should own, settled
	refused []int       // what no term is to own
	former  map[string]bool
	stop    bool // nothing is to be owned any more
}

// seenMember is a worker as the watch has last seen it.
type seenMember struct {
	memberRecord
	revision uint64
}

// seenLease is a lease as the watch has last seen it.
type seenLease struct {
	leaseRecord
	revision uint64
}

func newRun(o *Shared, hold func(ctx context.Context, l Lease) error) *run {
	return &run{
		Shared: o, hold: hold, nudge: make(chan struct{}, 1),
		changed: make(chan struct{}), alive: map[string]seenMember{},
		seen: make([]seenLease, o.partitions), mine: make([]bool, o.partitions),
		former: map[string]bool{},
	}
}

// update changes what the run knows, and wakes all who wait for that.
func (r *run) update(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	close(r.changed)
	r.changed = make(chan struct{})
}

// belong makes this worker a member, again and again, until joining ends; the
// membership itself ends with life.
func (r *run) belong(joining, life context.Context) {
	for joining.Err() == nil {
		t, err := r.join(joining)
		if err != nil {
			if joining.Err() == nil {
				r.Log.Warn("the worker could not announce itself; trying again", zap.Error(err))
			}
			pause(joining, r.Heartbeat/2)
			continue
		}
		r.update(func() { r.term, r.last = t, t })
		select {
		case r.nudge <- struct{}{}:
		default:
		}
		reason := t.renewing(life)
		r.update(func() {
			r.term = nil
			clear(r.mine)
			r.former[t.key] = true
		})
		close(t.lapsed)
		if reason == nil {
			return
		}
		r.Log.Warn("the worker's leases have lapsed; it announces itself anew", zap.Error(reason))
	}
}

// join announces the worker under a new key.
func (r *run) join(ctx context.Context) (*term, error) {
	r.mu.Lock()
	last, refused := r.last, slices.Clone(r.refused)
	r.mu.Unlock()
	if last != nil {
		// Else it would count as one more worker until it has expired.
		if err := r.members.remove(ctx, last.key); err != nil {
			return nil, err
		}
	}
	t := newTerm(r.Shared, topology.MemberKey(r.stage, r.instance, rand.Text()))
	t.refuses = refused
	if err := t.renew(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// refuse gives up a partition for good, and tells the others.
func (r *run) refuse(p int) {
	r.update(func() {
		if !slices.Contains(r.refused, p) {
			r.refused = append(r.refused, p)
		}
		r.mine[p] = false
		if r.term != nil {
			r.term.refuse(r.refused)
		}
	})
}

// depart tells the others that this worker leaves, gives them time to be ready,
// and lets go of everything.
func (r *run) depart(life context.Context) {
	r.mu.Lock()
	t, others := r.term, len(r.alive) > 1
	r.mu.Unlock()
	if t != nil && others {
		ctx, cancel := context.WithTimeout(life, opTimeout)
		if t.announceLeaving(ctx) {
			pause(ctx, r.Settle)
		}
		cancel()
	}
	r.update(func() { r.stop = true })
}

// resign deletes the worker's key, unless a lease could not be released: that
// is the others' when the key has expired.
func (r *run) resign(ctx context.Context) {
	r.mu.Lock()
	t := r.last
	r.mu.Unlock()
	if t == nil || t.unreleased.Load() {
		return
	}
	if err := r.members.remove(context.WithoutCancel(ctx), t.key); err != nil {
		r.Log.Warn("the worker could not sign off; it will be missed when its key expires", zap.Error(err))
	}
}

// pause waits until a time has passed or ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

var errGone = errors.New("the worker's key has expired")
