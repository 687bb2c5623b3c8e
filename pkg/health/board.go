package health

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/broker"
)

const (
	// putTimeout bounds one question to the store. Whoever has a probe waits so
	// long at most, once, when the store goes away.
	putTimeout = time.Second
	// maxTries is how often a write is tried that others are quicker than.
	maxTries = 5

	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

// errContended means that others were quicker all the time.
var errContended = errors.New("the record changes all the time")

// BoardOptions says what a Board works with.
type BoardOptions struct {
	Store    Store
	Instance string // the process's name, for people; need not be unique
	Circuit  CircuitOptions
	// Changed is called after each transition of a circuit, whoever made it. It
	// must not block. May be nil.
	Changed func(key string, s State)
	Log     *zap.Logger
}

// Board is the circuits of one process, which open and close with those of all
// other processes on the same store.
type Board struct {
	BoardOptions

	me   string // among all boards there ever are
	away atomic.Bool
	wake chan struct{}

	mu    sync.RWMutex
	all   map[string]*Destination
	dirty map[*Destination]struct{} // to be written
}

// NewBoard returns a board that goes by its own circuits until it runs.
func NewBoard(o BoardOptions) (*Board, error) {
	if err := o.Circuit.Validate(); err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	if o.Changed == nil {
		o.Changed = func(string, State) {}
	}
	b := &Board{
		BoardOptions: o, me: o.Instance + "-" + rand.Text()[:10],
		wake: make(chan struct{}, 1), all: map[string]*Destination{}, dirty: map[*Destination]struct{}{},
	}
	b.away.Store(true)
	return b, nil
}

// Destination returns a key's circuit. It may be kept.
func (b *Board) Destination(key string) *Destination {
	b.mu.RLock()
	d := b.all[key]
	b.mu.RUnlock()
	if d != nil {
		return d
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if d = b.all[key]; d == nil {
		d = &Destination{board: b, key: key, circuit: NewCircuit(b.Circuit)}
		b.all[key] = d
	}
	return d
}

// Records returns what the processes share: of every destination that has failed
// lately, as far as this one knows.
func (b *Board) Records() map[string]Record {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := map[string]Record{}
	for key, d := range b.all {
		if r, revision := d.known(); revision != 0 && !r.At.IsZero() {
			out[key] = r
		}
	}
	return out
}

// Record returns what the processes share of one destination; false where it has
// not failed lately.
func (b *Board) Record(key string) (Record, bool) {
	b.mu.RLock()
	d := b.all[key]
	b.mu.RUnlock()
	if d == nil {
		return Record{}, false
	}
	r, revision := d.known()
	return r, revision != 0 && !r.At.IsZero()
}

// Shared reports whether the store answers, so that the circuits are those of all
// processes. It never fails for good.
func (b *Board) Shared() bool { return !b.away.Load() }

// Run keeps the circuits in step with the store until ctx ends. It goes on
// through failures of the store, and returns nil.
func (b *Board) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { b.watchAlways(ctx); return nil })
	g.Go(func() error { b.writeAlways(ctx); return nil })
	err := g.Wait()
	b.away.Store(true)
	return err
}

func (b *Board) watchAlways(ctx context.Context) {
	delay := firstBackoff
	for ctx.Err() == nil {
		b.forgetRevisions()
		err := b.Store.Watch(ctx, b.apply, func() {
			delay = firstBackoff
			b.found()
		})
		if ctx.Err() != nil {
			return
		}
		b.lost(err)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		delay = min(2*delay, maxBackoff)
	}
}

// forgetRevisions, since the store may be another one when it is back.
func (b *Board) forgetRevisions() {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, d := range b.all {
		d.mu.Lock()
		d.revision = 0
		d.mu.Unlock()
	}
}

func (b *Board) apply(e Entry) { b.Destination(e.Key).follow(e) }

func (b *Board) found() {
	if b.away.Swap(false) {
		b.Log.Debug("the health of destinations is shared")
	}
	b.wakeUp()
}

func (b *Board) lost(err error) {
	if !b.away.Swap(true) {
		b.Log.Warn("the health of destinations is not shared for now: each process goes by its own attempts", zap.Error(err))
	}
}

func (b *Board) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// enqueue has the record of a destination reconciled.
func (b *Board) enqueue(d *Destination) {
	b.mu.Lock()
	b.dirty[d] = struct{}{}
	b.mu.Unlock()
	b.wakeUp()
}

func (b *Board) writeAlways(ctx context.Context) {
	for {
		select {
		case <-b.wake:
			b.write(ctx)
		case <-ctx.Done():
			// A probe that was interrupted by the end goes to another process.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), putTimeout)
			defer cancel()
			b.write(last)
			return
		}
	}
}

// write reconciles what is to be. What can't be now stays until the store is back.
func (b *Board) write(ctx context.Context) {
	for b.Shared() && ctx.Err() == nil {
		d := b.next()
		if d == nil {
			return
		}
		_, err := d.edit(ctx, func(r Record) (Record, bool) {
			return reconcile(r, d.circuit.local(time.Now()), b.me)
		})
		if err != nil {
			b.enqueue(d)
		}
	}
}

func (b *Board) next() *Destination {
	b.mu.Lock()
	defer b.mu.Unlock()
	for d := range b.dirty {
		delete(b.dirty, d)
		return d
	}
	return nil
}

// put is Store.Put, bounded in time; a store that doesn't answer is away until it
// is found again.
func (b *Board) put(ctx context.Context, key string, r Record, expected uint64) (uint64, error) {
	limited, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	revision, err := b.Store.Put(limited, key, r, expected)
	return revision, b.noted(ctx, err)
}

func (b *Board) get(ctx context.Context, key string) (Entry, error) {
	limited, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	e, err := b.Store.Get(limited, key)
	return e, b.noted(ctx, err)
}

func (b *Board) noted(ctx context.Context, err error) error {
	if err != nil && !errors.Is(err, broker.ErrConflict) && ctx.Err() == nil {
		b.lost(err)
	}
	return err
}
