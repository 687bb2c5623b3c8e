package ops

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
)

const (
	// statusTimeout bounds the questions to the broker.
	statusTimeout = 10 * time.Second
	// healthTimeout bounds one health check.
	healthTimeout = 2 * time.Second
)

func (s *Service) status(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), statusTimeout)
	defer cancel()
	streams, err := s.Status(ctx)
	if err != nil {
		return refusal(fmt.Errorf("reading the streams: %w: %w", broker.ErrUnavailable, err))
	}
	var owners []*partition.Owners
	for _, stage := range streams.Stages {
		o, err := s.Owners(ctx, stage.Stage)
		if err != nil {
			return refusal(fmt.Errorf("reading the owners: %w: %w", broker.ErrUnavailable, err))
		}
		owners = append(owners, o)
	}
	waiting, err := s.reports(ctx, owners)
	if err != nil {
		return refusal(fmt.Errorf("asking the workers: %w: %w", broker.ErrUnavailable, err))
	}
	snap := s.Registry.Snapshot()
	if err := s.countHeld(ctx, streams, snap); err != nil {
		return refusal(err)
	}
	return c.JSON(http.StatusOK, Status{
		Status: *streams, Owners: owners, Waiting: waiting, Circuits: s.openCircuits(), Config: configOf(snap), Health: s.health(ctx),
	})
}

// reports asks each stage's workers at once.
func (s *Service) reports(ctx context.Context, owners []*partition.Owners) ([]*lane.Report, error) {
	reports := make([]*lane.Report, len(owners))
	g, ctx := errgroup.WithContext(ctx)
	for i, o := range owners {
		holders := map[string]bool{}
		for _, p := range o.Partitions {
			if p.Instance != "" {
				holders[p.Instance] = true
			}
		}
		workers := max(len(holders), len(o.Members)) // who holds none answers too
		g.Go(func() (err error) {
			reports[i], err = s.Ages(ctx, o.Stage, workers)
			return err
		})
	}
	return reports, g.Wait()
}

// countHeld counts the lanes that wait for an operator, where an endpoint's
// policy says so: else there are none, and nothing is read.
func (s *Service) countHeld(ctx context.Context, status *topology.Status, snap *registry.Snapshot) error {
	holds := func(e *chat.Endpoint) bool { return e.OnExhausted == registry.OnExhaustedHold }
	if !slices.ContainsFunc(snap.Endpoints(), holds) {
		return nil
	}
	for i := range status.Stages {
		stage := &status.Stages[i]
		if stage.Stage != chat.StageBot {
			continue
		}
		held, all, err := s.Lanes.Held(ctx, stage.Stage)
		if err != nil {
			return err
		}
		stage.Parked.Held = held
		stage.Parked.Approximate = stage.Parked.Approximate || !all
	}
	return nil
}

func configOf(snap *registry.Snapshot) Config {
	endpoints := snap.Endpoints()
	out := Config{
		Revision: snap.Revision(), Channels: len(snap.Channels()), Endpoints: len(endpoints),
		Bots: len(snap.Bots()), Tokens: len(snap.Tokens()),
	}
	for _, e := range endpoints {
		if e.Disabled != "" {
			out.DisabledEndpoints++
		}
		if e.Paused != "" {
			out.PausedEndpoints++
		}
	}
	for _, c := range snap.Channels() {
		if c.Paused != "" {
			out.PausedChannels++
		}
	}
	for _, b := range snap.Bots() {
		if b.Paused != "" {
			out.PausedBots++
		}
	}
	return out
}

func (s *Service) health(ctx context.Context) []Health {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	out := make([]Health, len(s.Health))
	var wg sync.WaitGroup
	for i, check := range s.Health {
		wg.Go(func() {
			out[i] = Health{Name: check.Name, OK: true}
			if err := check.Check(ctx); err != nil {
				out[i].OK, out[i].Error = false, err.Error()
			}
		})
	}
	wg.Wait()
	return out
}
