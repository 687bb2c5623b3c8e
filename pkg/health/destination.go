package health

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/parleyhq/parley/pkg/broker"
)

// Destination is a circuit that all processes share. All methods may be called at
// once.
type Destination struct {
	board   *Board
	key     string
	circuit *Circuit

	mu       sync.Mutex
	record   Record // as it was last seen
	revision uint64
}

// Admit is [Circuit.Admit]. Where it gives a probe it has the store confirm that
// no other process has one, for a second at most; a store that is away is not
// asked, and one that doesn't answer is taken for away.
func (d *Destination) Admit(ctx context.Context, now time.Time) (Pass, bool) {
	for range 2 {
		p, ok := d.circuit.Admit(now)
		if !ok || !p.Probe() || d.claim(ctx, now, p) {
			return p, ok
		}
		// Another process has the probe, or has closed the circuit.
	}
	return Pass{}, false
}

func (d *Destination) claim(ctx context.Context, now time.Time, p Pass) bool {
	b := d.board
	if !b.Shared() {
		return true
	}
	claimed, err := d.edit(ctx, func(r Record) (Record, bool) {
		return claim(r, d.circuit.local(now), b.me, now, now.Add(d.circuit.opts.ProbeTimeout))
	})
	switch {
	case claimed:
		return true
	case err != nil && ctx.Err() == nil && !errors.Is(err, errContended):
		return true
	}
	r, _ := d.known()
	d.circuit.yield(now, p, r.NextProbe)
	return false
}

// Report is [Circuit.Report]. It never waits for the store.
func (d *Destination) Report(now time.Time, p Pass, o Outcome) Change {
	change := d.circuit.Report(now, p, o)
	if change != Unchanged {
		d.board.enqueue(d)
		d.tell(now, change)
	}
	return change
}

// Bound is [Circuit.Bound], for this process.
func (d *Destination) Bound(longest time.Duration) { d.circuit.Bound(longest) }

// State is [Circuit.State].
func (d *Destination) State(now time.Time) State { return d.circuit.State(now) }

// NextProbe is [Circuit.NextProbe]; of another process's probe too.
func (d *Destination) NextProbe() time.Time { return d.circuit.NextProbe() }

// Status is [Circuit.Status].
func (d *Destination) Status(now time.Time) Status { return d.circuit.Status(now) }

// Failing is what all processes together know for [Failing.Decide]; Enabled and
// Off are the caller's to fill in. It says nothing while the circuit is closed,
// nor of what this process alone has seen.
func (d *Destination) Failing() Failing {
	r, _ := d.known()
	return r.failing()
}

// Warn notes that the operator is told that the destination will be disabled, and
// reports whether it is the caller who has to do so: among all processes one, once,
// and only while Failing.Decide says Warn. Whoever ends between the note and the
// telling leaves it untold. The error wraps broker.ErrUnavailable where the store
// is away: then nobody warns, and nothing is disabled, before it is back.
func (d *Destination) Warn(ctx context.Context, now, enabled time.Time, after time.Duration) (bool, error) {
	if !d.board.Shared() {
		return false, fmt.Errorf("noting that %s fails: %w", d.key, broker.ErrUnavailable)
	}
	return d.edit(ctx, func(r Record) (Record, bool) {
		f := r.failing()
		f.Enabled = enabled
		if f.Decide(now, after) != Warn {
			return r, false
		}
		r.Warned = now.Round(0)
		return r, true
	})
}

// edit stores what change makes of the record, anew where others were quicker.
// It reports whether there was something to store and it is stored.
func (d *Destination) edit(ctx context.Context, change func(Record) (Record, bool)) (bool, error) {
	for range maxTries {
		r, revision := d.known()
		next, ok := change(r)
		if !ok {
			return false, nil
		}
		stored, err := d.board.put(ctx, d.key, next, revision)
		if err == nil {
			d.follow(Entry{Key: d.key, Record: next, Revision: stored})
			return true, nil
		}
		if !errors.Is(err, broker.ErrConflict) {
			return false, err
		}
		e, err := d.board.get(ctx, d.key)
		if err != nil {
			return false, err
		}
		d.follow(e)
	}
	return false, errContended
}

// known returns the record as it was last seen.
func (d *Destination) known() (Record, uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record, d.revision
}

// follow takes up what is stored, if it is news. A record that has gone changes
// no circuit: what it said is too old.
func (d *Destination) follow(e Entry) {
	d.mu.Lock()
	if e.Revision != 0 && e.Revision <= d.revision {
		d.mu.Unlock()
		return
	}
	d.record, d.revision = e.Record, e.Revision
	if e.Record.At.IsZero() {
		d.mu.Unlock()
		return
	}
	now := time.Now()
	change := d.circuit.follow(now, e.Record, d.board.me)
	_, write := reconcile(e.Record, d.circuit.local(now), d.board.me)
	d.mu.Unlock()
	if write {
		d.board.enqueue(d)
	}
	d.tell(now, change)
}

func (d *Destination) tell(now time.Time, c Change) {
	switch c {
	case Opened, Reopened, Reclosed:
		d.board.Changed(d.key, d.circuit.State(now))
	case Unchanged, Released:
	}
}
