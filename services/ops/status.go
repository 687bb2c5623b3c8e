package ops

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
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
	return c.JSON(http.StatusOK, Status{
		Status: *streams, Owners: owners, Waiting: waiting, Config: configOf(s.Registry.Snapshot()), Health: s.health(ctx),
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
			reports[i], err = s.Waiting(ctx, o.Stage, workers)
			return err
		})
	}
	return reports, g.Wait()
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
