package lane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/wire"
)

const (
	// window is how many messages of a partition are in hand at once.
	window = 256
	// maxShare is how much of a full window one lane may hold.
	maxShare = window / 4
	// stuck is how long a full window may stand still before the lanes that
	// hold it up are parked.
	stuck = 100 * time.Millisecond
	// stuckWhenShort is how many times as long while the process is short of CPU.
	stuckWhenShort = 10
	// patience is how long a lane waits for its destination before it is parked.
	patience = time.Second
	// parkingPace is how many messages a second a process parks at least, on the
	// smallest machine: measured 5,000 to 19,000.
	parkingPace = 4000
	// maxIdle is how many idle lanes the partitions of a stage together remember
	// the marks of, about 400 bytes each.
	maxIdle = 32768
	// leaseMargin is how long before the lease's end nothing is begun any more.
	leaseMargin = 500 * time.Millisecond
	// recordTimeout bounds the record of what was cut off at a hand-over.
	recordTimeout = 5 * time.Second
	// reopenAfter is the pause before a partition is started anew after a failure.
	reopenAfter = 200 * time.Millisecond
)

// Options configure an engine; the zero value of a bound means its default.
type Options struct {
	Stage chat.Stage
	// MaxInFlight bounds the lanes at work in this process; default 512.
	MaxInFlight int
	// DrainTimeout bounds the wait for what is in flight at a hand-over;
	// default 20 s.
	DrainTimeout time.Duration
	// ReconcileEvery is how often the lanes in memory are compared with those
	// that are parked in the store; default 30 s.
	ReconcileEvery time.Duration
	// Alone is shared by all engines of the process; default one of its own.
	Alone *Alone
	// Open opens a partition's store.
	Open func(ctx context.Context, partition int) (Store, error)
	// Commands opens what operators ask of a partition's lanes; nil: nothing.
	Commands func(partition int) Commands
	// Marks is the once-ledger; nil where the handler itself knows what it has
	// done (the bot stage, by its sessions).
	Marks Marks
	// Replays is the once-ledger of replays; nil: one that is stored twice is
	// handled twice.
	Replays Marks
	// Rates keeps the rates of policies; nil: none is kept.
	Rates     Rates
	Graveyard Graveyard
	// Erased is called once a lane's messages are erased, between two attempts: what
	// else the stage has of the conversation is to be erased. upTo is the place in the
	// work queue up to which all is meant; where Marks is nil it is to be remembered,
	// since a message may be delivered again. It is called until it succeeds; nil:
	// there is nothing else.
	Erased func(ctx context.Context, id ID, upTo chat.Ordinal) error
	// Reasons are those for which the handler gives messages up at once: labels of
	// the metrics.
	Reasons []string
	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Engine runs one stage's partitions.
type Engine struct {
	Options
	handler   Handler
	metrics   *metrics
	gate      gate
	processor processor
	hands     hands

	mu           sync.Mutex
	destinations map[string]*destination
	shards       map[*shard]struct{}
	refused      map[int]error // partitions that are left to a newer Parley, and why
}

// New makes an engine; Run starts it.
func New(o Options, h Handler) *Engine {
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 512
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 20 * time.Second
	}
	if o.ReconcileEvery == 0 {
		o.ReconcileEvery = 30 * time.Second
	}
	if o.Alone == nil {
		o.Alone = new(Alone)
	}
	e := &Engine{
		Options: o, handler: guarded{Handler: h, log: o.Log.With(zap.String("stage", string(o.Stage)))}, metrics: newMetrics(o.Metrics, o.Stage, o.Reasons),
		hands:        newHands(),
		destinations: map[string]*destination{}, shards: map[*shard]struct{}{}, refused: map[int]error{},
	}
	e.measure(o.Metrics)
	o.Metrics.MustRegister(newAges(e))
	e.gate = gate{limit: o.MaxInFlight, pass: func(l *lane) { l.shard.start(l) }}
	return e
}

// Run works on the partitions that the owner hands out, until ctx ends.
func (e *Engine) Run(ctx context.Context, owner partition.Owner) error {
	defer e.hands.close()
	tidying, stop := context.WithCancel(ctx)
	var tidy sync.WaitGroup
	tidy.Go(func() { e.forgetDestinations(tidying) })
	defer tidy.Wait()
	defer stop()
	defer e.endPaces()
	return owner.Run(ctx, e.hold)
}

// Wake makes the lanes of a destination due at once: its policy has changed.
func (e *Engine) Wake(destination string) {
	e.mu.Lock()
	d := e.destinations[destination]
	e.mu.Unlock()
	if d != nil { // who waits for its rate would see a new one late
		d.treat(e.handler.Policy(destination), time.Now())
	}
	for _, s := range e.running() {
		s.wakeDestination(destination)
	}
}

// endPaces ends the waiting for rates.
func (e *Engine) endPaces() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.destinations {
		d.gate.end()
	}
}

// hold works on one partition until its lease ends, starting anew as often as
// the consumer is lost.
func (e *Engine) hold(ctx context.Context, lease partition.Lease) (err error) {
	log := e.Log.With(zap.String("stage", string(e.Stage)), zap.Int("partition", lease.Partition()))
	defer func() {
		if err != nil && !errors.Is(err, partition.ErrRefused) || errors.Is(context.Cause(ctx), partition.ErrLapsed) {
			e.metrics.lost.Inc()
		}
	}()
	for ctx.Err() == nil {
		err := e.serve(ctx, lease, log)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, wire.ErrNewer) {
			return e.refuse(lease.Partition(), err, log)
		}
		if errors.Is(err, ErrFenced) {
			return err
		}
		e.metrics.restarts.Inc()
		log.Warn("starting the partition anew", zap.Error(err))
		if !sleep(ctx, reopenAfter) {
			break
		}
		switch err := lease.Verify(ctx); {
		case errors.Is(err, partition.ErrLapsed):
			return err
		case err != nil:
			log.Warn("the lease could not be verified", zap.Error(err))
		}
	}
	return nil
}

// refuse leaves a partition to a newer Parley, which reads what it holds: to
// give that up would lose it, and to go on behind it would change the order.
func (e *Engine) refuse(p int, cause error, log *zap.Logger) error {
	e.mu.Lock()
	e.refused[p] = cause
	n := len(e.refused)
	e.mu.Unlock()
	e.metrics.refused.Set(float64(n))
	log.Error("the partition holds what a newer version of parley wrote; it is left to a process of that version: start or keep one", zap.Error(cause))
	return fmt.Errorf("partition %d: %w: %w", p, partition.ErrRefused, cause)
}

// Ready is a readiness check: it fails where partitions are left to a newer
// Parley.
func (e *Engine) Ready(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range slices.Sorted(maps.Keys(e.refused)) {
		return fmt.Errorf("%d partitions of stage %s hold what a newer version of parley wrote, and wait for one (docs/upgrading.md): %d, %w", len(e.refused), e.Stage, p, e.refused[p])
	}
	return nil
}

// serve is one life of a partition's consumer.
func (e *Engine) serve(ctx context.Context, lease partition.Lease, log *zap.Logger) error {
	store, err := e.Open(ctx, lease.Partition())
	if err != nil {
		return fmt.Errorf("opening partition %d: %w", lease.Partition(), err)
	}
	source, err := store.Open(ctx, lease.Epoch())
	if err != nil {
		return fmt.Errorf("opening partition %d: %w", lease.Partition(), err)
	}
	s := newShard(ctx, e, lease, store, source, log)
	e.add(s)
	err = s.run(ctx)
	e.remove(s)
	s.drain(ctx)
	newer := errors.Is(err, wire.ErrNewer)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	release := newer || errors.Is(context.Cause(ctx), partition.ErrHandOver)
	if cerr := source.Close(closing, release); cerr != nil {
		log.Warn("closing the consumer", zap.Error(cerr))
	}
	return err
}

func (e *Engine) add(s *shard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shards[s] = struct{}{}
}

func (e *Engine) remove(s *shard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.shards, s)
}

func (e *Engine) running() []*shard {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*shard, 0, len(e.shards))
	for s := range e.shards {
		out = append(out, s)
	}
	return out
}

// idleShare is how many idle lanes one partition remembers.
func (e *Engine) idleShare() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maxIdle / max(1, len(e.shards))
}

// destination returns the destination of a name, made at first use.
func (e *Engine) destination(name string) *destination {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.destinations[name]
	if d == nil {
		d = &destination{name: name, known: time.Now()}
		d.gate = gate{pass: func(l *lane) {
			l.through.Store(true)
			e.gate.enter(l)
		}}
		d.gate.pace = pace{rates: e.Rates, name: string(e.Stage) + "-destination:" + name}
		d.treat(e.handler.Policy(name), d.known)
		e.destinations[name] = d
	}
	return d
}

// delay is the schedule's next delay with jitter.
func delay(p Policy, attempts int) (time.Duration, bool) {
	return p.Schedule.Delay(attempts, rand.Float64())
}

// sleep waits and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
