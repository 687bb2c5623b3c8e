package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
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
	type running struct {
		stop context.CancelFunc
		done chan struct{}
	}
	started := make([]running, len(tiers))
	for i, tier := range tiers {
		tierCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		started[i] = running{stop: stop, done: make(chan struct{})}
		var g errgroup.Group
		for _, u := range tier {
			g.Go(func() error {
				err := u.run(tierCtx)
				switch {
				case tierCtx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
					return nil
				case err == nil:
					err = errors.New("ended by itself")
				}
				select {
				case failed <- fmt.Errorf("%s: %w", u.name, err):
				default:
					log.Error("a service failed", zap.String("service", u.name), zap.Error(err))
				}
				return nil
			})
		}
		go func() {
			_ = g.Wait() // the reasons went to failed
			close(started[i].done)
		}()
	}
	var reason error
	select {
	case <-ctx.Done():
	case reason = <-failed:
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for i, tier := range started {
		tier.stop()
		select {
		case <-tier.done:
		case <-deadline.C:
			return errors.Join(reason, fmt.Errorf("the end took longer than --shutdown-timeout %s: cut off: %s", timeout, names(tiers[i])))
		}
	}
	select {
	case err := <-failed:
		reason = errors.Join(reason, err)
	default:
	}
	return reason
}

func names(tier []unit) string {
	list := make([]string, len(tier))
	for i, u := range tier {
		list[i] = u.name
	}
	return strings.Join(list, ", ")
}
