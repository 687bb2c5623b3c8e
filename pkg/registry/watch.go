package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/broker"
)

// ErrReplaced means that the bucket's revision went back: it was deleted or
// restored while the process ran.
var ErrReplaced = errors.New("the configuration's bucket was replaced by an older one: restart this process")

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

// Run keeps the snapshot up to date until ctx ends, through failures of the
// broker. It returns nil then, or [ErrReplaced].
func (r *Registry) Run(ctx context.Context) error {
	restart := make(chan struct{}, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { r.watchAlways(ctx, restart); return nil })
	g.Go(func() error { return r.checkAlways(ctx, restart) })
	err := g.Wait()
	r.setWatch(errNotRunning)
	return err
}

// watchAlways begins the watch anew whenever it ends, after a growing delay.
func (r *Registry) watchAlways(ctx context.Context, restart <-chan struct{}) {
	delay := firstBackoff
	for ctx.Err() == nil {
		began := r.Snapshot().revision
		err := r.watch(ctx, restart)
		if ctx.Err() != nil {
			return
		}
		r.setWatch(fmt.Errorf("the watch of the configuration is down: %w", err))
		r.log.Warn("the watch of the configuration ended; it begins anew", zap.Error(err), zap.Duration("after", delay))
		if r.Snapshot().revision > began {
			delay = firstBackoff
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		delay = min(2*delay, maxBackoff)
	}
}

var (
	errRestart = errors.New("it fell behind the leader")
	errEnded   = errors.New("the broker ended it")
)

// watch takes up changes from the snapshot's revision on. It returns when the
// watch fails, ctx ends or restart says that it has fallen behind.
func (r *Registry) watch(ctx context.Context, restart <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-restart:
			cancel(errRestart)
		case <-stop:
		}
	}()
	watch, err := r.kv.WatchAll(ctx, jetstream.IncludeHistory(), jetstream.ResumeFromRevision(r.Snapshot().revision+1))
	if err != nil {
		return err
	}
	defer r.stopWatch(watch)
	r.setWatch(nil)
	for {
		select {
		case e, open := <-watch.Updates():
			if !open {
				return errors.Join(errEnded, context.Cause(ctx))
			}
			r.apply(pending(e, watch.Updates()))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pending returns an entry and those that wait behind it, without the marks
// between (nil), so that a burst becomes one snapshot.
func pending(first jetstream.KeyValueEntry, more <-chan jetstream.KeyValueEntry) []jetstream.KeyValueEntry {
	var entries []jetstream.KeyValueEntry
	for next := first; ; {
		if next != nil {
			entries = append(entries, next)
		}
		open := false
		select {
		case next, open = <-more:
		default:
		}
		if !open {
			return entries
		}
	}
}

func (r *Registry) stopWatch(watch jetstream.KeyWatcher) {
	if err := broker.StopWatch(watch); err != nil {
		r.log.Warn("stopping the watch of the configuration", zap.Error(err))
	}
}

// checkAlways compares the snapshot with the leader now and then, and has the
// watch begun anew when it is behind: the remedy for every way in which a
// watch may fall silent.
func (r *Registry) checkAlways(ctx context.Context, restart chan<- struct{}) error {
	tick := time.NewTicker(r.opts.CheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := r.check(ctx, restart); err != nil {
			return err
		}
	}
}

func (r *Registry) check(ctx context.Context, restart chan<- struct{}) error {
	askCtx, cancel := context.WithTimeoutCause(ctx, leaderTimeout, errLeaderSlow)
	defer cancel()
	had := r.Snapshot().revision
	revision, err := r.leaderRevision(askCtx)
	if err == nil {
		if revision < had {
			return fmt.Errorf("%w (revision %d, had %d)", ErrReplaced, revision, had)
		}
		if err = r.WaitRevision(askCtx, revision); err != nil && ctx.Err() == nil {
			select {
			case restart <- struct{}{}:
			default:
			}
		}
	}
	if ctx.Err() == nil {
		r.setCheck(err)
	}
	return nil
}

func (r *Registry) setWatch(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchErr = err
}

func (r *Registry) setCheck(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checkErr = err
}
