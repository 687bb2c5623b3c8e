package main

import (
	"context"

	"github.com/nats-io/nuid"

	"github.com/parleyhq/parley/pkg/audit"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/erasure"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/replay"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/services/ops"
)

// replayJobs makes, runs and steers replays.
type replayJobs struct {
	*replay.Runner
	*replay.Store
}

func addOps(ctx context.Context, p *process) error {
	letters, err := deadletter.New(ctx, p.conn)
	if err != nil {
		return err
	}
	sessions, err := session.New(ctx, p.conn, p.layout.Partitions)
	if err != nil {
		return err
	}
	lanes := lane.NewWaiting(p.conn, p.layout.Partitions)
	jobs, err := replay.NewStore(ctx, p.conn)
	if err != nil {
		return err
	}
	replays, err := replay.New(replay.Options{
		Store: jobs, Letters: letters, Journal: journal.NewReader(p.conn), Publisher: p.conn, Partitions: p.layout.Partitions, Instance: instance() + "-" + nuid.Next(),
		Sole: p.flags.natsURL == "", Log: p.log.Named("replay"), Metrics: p.metrics,
	})
	if err != nil {
		return err
	}
	p.front = append(p.front, unit{"replays", replays.Run})
	client, err := p.webhooks()
	if err != nil {
		return err
	}
	board, err := p.circuits(ctx)
	if err != nil {
		return err
	}
	trail, err := audit.New(ctx, p.conn, p.metrics)
	if err != nil {
		return err
	}
	status := func(ctx context.Context) (*topology.Status, error) {
		return topology.ReadStatus(ctx, p.conn.JS, p.layout)
	}
	owners := func(ctx context.Context, stage chat.Stage) (*partition.Owners, error) {
		o, err := partition.ReadOwners(ctx, p.conn.JS, stage, p.layout.Partitions)
		if err == nil && p.flags.natsURL == "" { // only one process at a time has the broker
			o.FreeSolesBefore(p.began)
		}
		return o, err
	}
	p.figures = ops.NewFigures(ops.FiguresOptions{
		Status: status, Owners: owners, Config: p.registry.Snapshot, Log: p.log.Named("ops"),
		Usage: func(ctx context.Context) (map[string]topology.Usage, error) {
			return topology.ReadUsage(ctx, p.conn.JS, p.layout)
		},
	}, p.metrics)
	p.front = append(p.front, unit{"figures", p.figures.Run})
	svc, err := ops.New(p.flags.opsOptions(), ops.Deps{
		Eraser:   erasure.New(p.conn, lanes, letters, sessions),
		Registry: p.registry, DeadLetters: letters, Replays: replayJobs{replays, jobs}, Client: client, Guard: p.guard,
		Parked: func(ctx context.Context, endpointID string) (uint64, error) {
			return p.conn.Count(ctx, topology.ParkedStream(chat.StageBot), topology.LaneMessages(chat.StageBot, endpointID))
		},
		Lanes: lanes, Log: p.log.Named("ops"),
		Journal: journal.NewReader(p.conn), Recording: journal.Mode(p.flags.journal.mode),
		Status: status, Owners: owners,
		Backlog: func(ctx context.Context) (*topology.Backlog, error) {
			return topology.ReadBacklog(ctx, p.conn.JS, p.layout)
		},
		Ages: func(ctx context.Context, stage chat.Stage, workers int) (*lane.Report, error) {
			return lane.Ask(ctx, p.conn, stage, workers)
		},
		Circuits: board,
		Audit:    trail,
		Health: []ops.HealthCheck{
			{Name: "broker", Check: func(context.Context) error { return p.conn.Ready() }},
			{Name: "redis", Check: func(ctx context.Context) error { return p.redis.Ping(ctx).Err() }},
			{Name: "ledger", Check: p.marks.Ping},
		},
	})
	if err != nil {
		return err
	}
	svc.Mount(p.admin.Echo()) //nolint:contextcheck // its handlers have the requests' contexts
	p.at.OpsToken = p.flags.opsToken
	return addMounted(p, svc)
}
