package partition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/topology"
)

// watch keeps what the run knows of members and leases up to date until ctx
// ends. What it knows is a hint: every step is decided at the leader.
func (r *run) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.watchOnce(ctx); err != nil && ctx.Err() == nil {
			r.Log.Warn("watching the workers anew", zap.Error(err))
			pause(ctx, r.Heartbeat/4)
		}
	}
}

var (
	errDeaf        = errors.New("the watch has missed a renewal")
	errWatchClosed = errors.New("the watch was closed")
	errReconnected = errors.New("the broker was away")
)

func (r *run) watchOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	guard := time.AfterFunc(2*opTimeout, cancel) // until the first picture is complete
	defer guard.Stop()
	conn := r.members.js.Conn()
	back := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(back)
	filter := topology.KeyFilter(r.stage)
	members, err := r.members.kv.Watch(ctx, filter)
	if err != nil {
		return fmt.Errorf("watching bucket %s: %w", r.members.name, err)
	}
	defer members.Stop() //nolint:errcheck // it only fails where there is nothing to stop
	leases, err := r.leases.kv.Watch(ctx, filter)
	if err != nil {
		return fmt.Errorf("watching bucket %s: %w", r.leases.name, err)
	}
	defer leases.Stop() //nolint:errcheck // it only fails where there is nothing to stop
	if err := r.firstPicture(ctx, members, leases); err != nil {
		return err
	}
	guard.Stop()
	return r.follow(ctx, members, leases, back)
}

// firstPicture replaces what is known by what the buckets hold.
func (r *run) firstPicture(ctx context.Context, members, leases jetstream.KeyWatcher) error {
	alive, seen := map[string]seenMember{}, make([]seenLease, r.partitions)
	if err := untilComplete(ctx, members, func(e jetstream.KeyValueEntry) { r.applyMember(alive, e) }); err != nil {
		return err
	}
	if err := untilComplete(ctx, leases, func(e jetstream.KeyValueEntry) { r.applyLease(seen, e) }); err != nil {
		return err
	}
	r.update(func() { r.alive, r.seen = alive, seen })
	return nil
}

func untilComplete(ctx context.Context, w jetstream.KeyWatcher, apply func(jetstream.KeyValueEntry)) error {
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errWatchClosed
			case e == nil:
				return nil
			}
			apply(e)
		case <-ctx.Done():
			return fmt.Errorf("reading the workers and leases: %w", context.Cause(ctx))
		}
	}
}

// applyMember reports whether the entry changes who is to own partitions; a
// mere renewal doesn't, nor the end of one that had said it was leaving.
func (r *run) applyMember(alive map[string]seenMember, e jetstream.KeyValueEntry) bool {
	before, known := alive[e.Key()]
	if e.Operation() != jetstream.KeyValuePut {
		delete(alive, e.Key())
		return known && !before.Leaving
	}
	var m memberRecord
	if err := json.Unmarshal(e.Value(), &m); err != nil {
		r.Log.Warn("a worker's record can't be read", zap.String("key", e.Key()), zap.Error(err))
		return false
	}
	alive[e.Key()] = seenMember{memberRecord: m, revision: e.Revision()}
	return !known || before.Leaving != m.Leaving || !slices.Equal(before.Refuses, m.Refuses)
}

func (r *run) applyLease(seen []seenLease, e jetstream.KeyValueEntry) {
	stage, p, err := topology.ParseLeaseKey(e.Key())
	if err != nil || stage != r.stage || p < 0 || p >= len(seen) {
		r.Log.Warn("a lease of no partition", zap.String("key", e.Key()), zap.Error(err))
		return
	}
	seen[p] = seenLease{revision: e.Revision()}
	if e.Operation() == jetstream.KeyValuePut {
		seen[p].leaseRecord = decodeLease(e.Value())
	}
}

// follow applies what changes. A broker that was away may have forgotten the
// watch; and a watch that doesn't show this worker's own renewals is dead,
// though nothing says so: after the loss of a server in a cluster, say.
func (r *run) follow(ctx context.Context, members, leases jetstream.KeyWatcher, back <-chan nats.Status) error {
	s := settler{quiet: r.Settle}
	s.disturb()
	defer s.stop()
	beat := time.NewTicker(r.Heartbeat)
	defer beat.Stop()
	var due renewal
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-back:
			return errReconnected
		case <-r.nudge:
			s.disturb()
		case <-s.settled():
			s.stop()
			r.reckon()
		case <-beat.C:
			if r.missed(&due) {
				return errDeaf
			}
		case e, ok := <-members.Updates():
			if !ok {
				return errWatchClosed
			}
			if r.memberChanged(e) {
				s.disturb()
			}
		case e, ok := <-leases.Updates():
			if !ok {
				return errWatchClosed
			}
			r.update(func() { r.applyLease(r.seen, e) })
		}
	}
}

func (r *run) memberChanged(e jetstream.KeyValueEntry) (changed bool) {
	r.mu.Lock()
	changed = r.applyMember(r.alive, e)
	r.mu.Unlock()
	if changed {
		r.update(func() {})
	}
	return changed
}

// renewal is one of this worker's own.
type renewal struct {
	key      string
	revision uint64
}

// missed reports whether the watch has not shown the renewal that was due, and
// makes the one that is confirmed by now due.
func (r *run) missed(due *renewal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.term == nil {
		*due = renewal{}
		return false
	}
	missed := due.key == r.term.key && r.alive[due.key].revision < due.revision
	*due = renewal{key: r.term.key, revision: r.term.confirmed()}
	return missed
}

// reckon says anew what this worker should own.
func (r *run) reckon() {
	r.update(func() {
		var workers []Worker
		for _, key := range slices.Sorted(maps.Keys(r.alive)) {
			if m := r.alive[key]; !m.Leaving {
				workers = append(workers, Worker{Key: key, Instance: m.Instance, Refuses: m.Refuses})
			}
		}
		n := 0
		for p, w := range Assign(r.partitions, workers) {
			r.mine[p] = r.term != nil && w >= 0 && workers[w].Key == r.term.key && !slices.Contains(r.refused, p)
			if r.mine[p] {
				n++
			}
		}
		r.Log.Debug("partitions assigned", zap.Int("workers", len(workers)), zap.Int("mine", n))
	})
}

// settler says when there has been quiet after a disturbance.
type settler struct {
	quiet time.Duration
	timer *time.Timer
	first time.Time
}

// maxUnrest is how many times the quiet is waited for at most.
const maxUnrest = 4

func (s *settler) disturb() {
	if s.timer == nil {
		s.first, s.timer = time.Now(), time.NewTimer(s.quiet)
		return
	}
	s.timer.Reset(min(s.quiet, max(0, time.Until(s.first.Add(maxUnrest*s.quiet)))))
}

func (s *settler) settled() <-chan time.Time {
	if s.timer == nil {
		return nil
	}
	return s.timer.C
}

func (s *settler) stop() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}
