package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// unit is something that runs until its context ends.
type unit struct {
	name string
	run  func(ctx context.Context) error
}

// runUnits runs all units at once and, when ctx ends or a unit fails, stops
// them tier by tier, the first tier first: who takes work in before who does
// it, who does it before what that stands on. All of the end is bounded by
// timeout. It returns the reason of a failure, nil for an end by ctx.
func runUnits(ctx context.Context, log *zap.Logger, timeout time.Duration, tiers ...[]unit) error {
	failed := make(chan error, 1)
	started := make([]*tier, len(tiers))
	for i, units := range tiers {
		started[i] = startTier(ctx, units, func(name string, err error) {
			select {
			case failed <- fmt.Errorf("%s: %w", name, err):
			default: // another was first
				log.Error("a service failed", zap.String("service", name), zap.Error(err))
			}
		})
		defer started[i].stop()
	}
	var reason error
	select {
	case <-ctx.Done():
	case reason = <-failed:
		log.Error("a service failed and ends the process", zap.Error(reason))
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for _, t := range started {
		t.stop()
		select {
		case <-t.done:
		case <-deadline.C:
			return errors.Join(reason, fmt.Errorf("the end took longer than --shutdown-timeout %s: cut off: %s", timeout, t.names()))
		}
	}
	select {
	case err := <-failed: // while it was stopped
		reason = errors.Join(reason, err)
	default:
	}
	return reason
}

// tier is units that are stopped together.
type tier struct {
	stop context.CancelFunc
	done chan struct{} // closed when all have ended

	mu      sync.Mutex
	running map[int]string // the names of those that have not ended
}

// startTier starts units, which outlive ctx until they are stopped; fail is
// told of each that ends before that, or with an error.
func startTier(ctx context.Context, units []unit, fail func(name string, err error)) *tier {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	t := &tier{stop: stop, done: make(chan struct{}), running: map[int]string{}}
	for i, u := range units {
		t.running[i] = u.name
	}
	var group sync.WaitGroup
	for i, u := range units {
		group.Go(func() {
			err := u.run(ctx)
			switch {
			case ctx.Err() == nil && err == nil:
				fail(u.name, errors.New("ended by itself"))
			case ctx.Err() == nil, err != nil && !errors.Is(err, context.Canceled):
				fail(u.name, err)
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.running, i)
		})
	}
	go func() {
		group.Wait()
		close(t.done)
	}()
	return t
}

// names lists the units that have not ended.
func (t *tier) names() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Values(t.running)), ", ")
}
