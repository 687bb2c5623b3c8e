package lane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// ErrBusy means that a lane has a command already.
var ErrBusy = errors.New("what was asked of the lane before is not done yet")

// Commanded is what became of a command by the time that its sender waited.
type Commanded struct {
	Lanes int // that it was asked of
	Done  int // whose owners have carried it out; those of the others will
	Busy  int // of which something was asked before that is not done yet
}

// Command asks something of one lane, and waits for its owner for so long. The
// error is ErrNotParked or ErrBusy, or wraps broker.ErrFull or
// broker.ErrUnavailable.
func (w *Waiting) Command(ctx context.Context, stage chat.Stage, id ID, action Action, by string, wait time.Duration) (Commanded, error) {
	p, err := w.Get(ctx, stage, id)
	if err != nil {
		return Commanded{}, err
	}
	done, err := w.command(ctx, w.commandKey(p), []Parked{*p}, action, by, wait)
	switch {
	case err != nil:
		return done, err
	case done.Busy > 0:
		return done, ErrBusy
	case done.Lanes == 0:
		return done, ErrNotParked
	}
	return done, nil
}

// CommandAll asks something of each lane of a group, with the errors of Command:
// then Commanded tells of how many it was asked before.
func (w *Waiting) CommandAll(ctx context.Context, f Filter, action Action, by string, wait time.Duration) (Commanded, error) {
	lanes, err := w.find(ctx, f)
	if err != nil || len(lanes) == 0 {
		return Commanded{}, err
	}
	return w.command(ctx, topology.CommandGroupFilter(f.Stage, f.Group), lanes, action, by, wait)
}

// asked are the commands of one call: by key the revision of each, and of the
// last that was removed.
type asked struct {
	mu      sync.Mutex
	made    map[string]uint64
	removed map[string]uint64
	busy    int
}

func (a *asked) done() (done Commanded) {
	a.mu.Lock()
	defer a.mu.Unlock()
	done.Lanes, done.Busy = len(a.made), a.busy
	for key, revision := range a.made {
		if a.removed[key] > revision {
			done.Done++
		}
	}
	return done
}

// command asks something of parked lanes.
func (w *Waiting) command(ctx context.Context, filter string, lanes []Parked, action Action, by string, wait time.Duration) (Commanded, error) {
	return w.commandEach(ctx, filter, lanes, wait, func(ctx context.Context, kv jetstream.KeyValue, all *asked, p *Parked) error {
		return w.ask(ctx, kv, all, p, action, by)
	})
}

// commandEach stores commands, each by ask, then waits until they are carried out.
func (w *Waiting) commandEach(ctx context.Context, filter string, lanes []Parked, wait time.Duration, ask func(context.Context, jetstream.KeyValue, *asked, *Parked) error) (Commanded, error) {
	kv, err := w.commands(ctx)
	if err != nil {
		return Commanded{}, err
	}
	watcher, err := kv.Watch(ctx, filter, jetstream.UpdatesOnly(), jetstream.MetaOnly())
	if err != nil {
		return Commanded{}, unavailable(err)
	}
	defer func() { _ = watcher.Stop() }()
	all := &asked{made: map[string]uint64{}, removed: map[string]uint64{}}
	changed := make(chan struct{}, 1)
	go all.follow(watcher, changed)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(lanesAtOnce)
	for i := range lanes {
		g.Go(func() error { return ask(gctx, kv, all, &lanes[i]) })
	}
	err = g.Wait()
	if err == nil {
		err = w.conn.SyncStream(ctx, topology.BucketStream(topology.BucketCommands))
	}
	if err != nil {
		return all.done(), unstored(err)
	}
	until := time.NewTimer(wait)
	defer until.Stop()
	for {
		if done := all.done(); done.Done == done.Lanes {
			return done, nil
		}
		select {
		case <-changed:
		case <-until.C:
			return all.done(), nil
		case <-ctx.Done():
			return all.done(), nil // they are stored
		}
	}
}

// follow notes which commands are removed, until the watch is stopped.
func (a *asked) follow(watcher jetstream.KeyWatcher, changed chan<- struct{}) {
	for entry := range watcher.Updates() {
		if entry == nil || entry.Operation() == jetstream.KeyValuePut {
			continue
		}
		a.mu.Lock()
		a.removed[entry.Key()] = entry.Revision()
		a.mu.Unlock()
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// ask stores a command to a lane, unless it was emptied or there is one already.
func (w *Waiting) ask(ctx context.Context, kv jetstream.KeyValue, all *asked, p *Parked, action Action, by string) error {
	if p.Head == nil {
		if err := w.look(ctx, p); err != nil {
			return err
		}
	}
	if p.Head == nil {
		return nil
	}
	c := Command{Action: action, UpTo: p.Head.place, By: by, At: time.Now().UTC()}
	if p.State != nil {
		c.Attempts = p.State.AttemptCount
	}
	if action == Discard {
		store, err := w.store(ctx, p)
		if err != nil {
			return err
		}
		last, err := store.Last(ctx, p.ID)
		if err != nil || last == nil {
			return err
		}
		c.UpTo = last.ParkedSeq
	}
	value, err := json.Marshal(c)
	if err != nil {
		return err
	}
	key := w.commandKey(p)
	revision, err := kv.Create(ctx, key, value)
	all.mu.Lock()
	defer all.mu.Unlock()
	switch {
	case errors.Is(err, jetstream.ErrKeyExists):
		all.busy++
	case err != nil:
		return err
	default:
		all.made[key] = revision
	}
	return nil
}

// unstored words the refusal of a command.
func unstored(err error) error {
	return fmt.Errorf("storing commands: %w: %w", broker.KindOf(err), err)
}
