package main

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/bot/echo"
	"github.com/parleyhq/parley/pkg/bot/flow"
	"github.com/parleyhq/parley/pkg/bot/httpbot"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/ledger"
	"github.com/parleyhq/parley/pkg/ledger/idempotency"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/services/botworker"
	"github.com/parleyhq/parley/services/deliveryworker"
	"github.com/parleyhq/parley/services/ingest"
	"github.com/parleyhq/parley/services/ops"
	"github.com/parleyhq/parley/services/parley/ready"
)

// role adds a service to a process.
type role func(ctx context.Context, p *process) error

// process is a process's services before they run.
type process struct {
	*platform
	front, workers []unit
	at             ready.File
	figures        *ops.Figures // made by addOps
}

// runProcess opens the platform, adds the roles and runs them until ctx ends.
// whenReady, if any, runs beside them; the process ends when it returns.
func runProcess(ctx context.Context, f *serviceFlags, roles []role, whenReady func(ctx context.Context, p *process) error) error {
	p, err := openPlatform(ctx, f)
	if err != nil {
		return err
	}
	defer p.close()
	proc := &process{platform: p}
	for _, add := range roles {
		if err := add(ctx, proc); err != nil {
			return err
		}
	}
	if err := proc.announce(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var result error
	if whenReady != nil {
		proc.front = append(proc.front, unit{"demo", func(ctx context.Context) error {
			result = whenReady(ctx, proc)
			stop()
			<-ctx.Done()
			return nil
		}})
	}
	base := []unit{
		{"configuration", p.registry.Run},
		{"journal", p.journal.Run},
		{"events", p.events.Run},
		{"broker monitor", p.monitor.Run},
		{"admin server", p.admin.Run},
		{"collector", tuneCollector},
	}
	if p.board != nil {
		base = append(base, unit{"health", p.board.Run})
	}
	if err := runUnits(ctx, p.log, f.shutdownTimeout, proc.front, proc.workers, base); err != nil {
		return err
	}
	return result
}

// announce says where the process listens: in the log and in the ready file.
func (p *process) announce() error {
	p.at.AdminURL = "http://" + p.admin.Addr()
	p.log.Info("ready", zap.String("version", version), zap.String("public", p.at.PublicURL), zap.String("admin", p.at.AdminURL))
	if p.flags.readyFile == "" {
		return nil
	}
	p.at.PID = pid()
	return ready.Write(p.flags.readyFile, p.at)
}

func addIngest(ctx context.Context, p *process) error {
	p.admin.AddOptionalCheck("redis", func(ctx context.Context) error { return ledger.CheckWritable(ctx, p.redis) })
	channel, err := p.flags.quotas.channel.quota(p.layout.ChannelBytes())
	if err != nil {
		return err
	}
	endpoint, err := p.flags.quotas.endpoint.quota(p.layout.EndpointBytes())
	if err != nil {
		return err
	}
	limits, err := p.flags.ingestLimits()
	if err != nil {
		return err
	}
	sessions, err := session.New(ctx, p.conn, p.layout.Partitions)
	if err != nil {
		return err
	}
	config := func() ingest.Config { return p.registry.Snapshot() }
	backlog := ingest.NewBacklog(ingest.BacklogOptions{
		Read: func(ctx context.Context) (*topology.Backlog, error) {
			return topology.ReadBacklog(ctx, p.conn.JS, p.layout)
		},
		Channel: channel, Endpoint: endpoint, Config: config, Log: p.log.Named("ingest"),
	})
	options := ingest.Options{Addr: p.flags.publicAddr, Partitions: p.layout.Partitions, Limits: limits}
	svc, err := ingest.New(options, ingest.Deps{ //nolint:contextcheck // its handlers have the requests' contexts
		Publisher: p.conn, Config: config, Backlog: backlog, Limiter: p.limiter,
		CatchUp: func(ctx context.Context) (ingest.Config, error) { return p.registry.CatchUp(ctx) },
		Once:    idempotency.New(p.redis), Metrics: p.metrics, Log: p.log, Tracer: p.tracer,
		Journal: journal.NewReader(p.conn), Sessions: sessions,
	})
	if err != nil {
		return err
	}
	p.at.PublicURL = "http://" + svc.Addr()
	p.front = append(p.front, unit{"ingest", svc.Run}, unit{"backlog", backlog.Run})
	return nil
}

func addBotWorker(ctx context.Context, p *process) error {
	owner, err := p.owner(ctx, chat.StageUser)
	if err != nil {
		return err
	}
	letters, err := deadletter.New(ctx, p.conn)
	if err != nil {
		return err
	}
	sessions, err := session.New(ctx, p.conn, p.layout.Partitions)
	if err != nil {
		return err
	}
	client, err := p.webhooks()
	if err != nil {
		return err
	}
	bots := botMaker{client: client, guard: p.guard}
	board, err := p.circuits(ctx)
	if err != nil {
		return err
	}
	svc, err := botworker.New(botworker.Options{
		Circuits:   func(bot string) lane.Circuit { return board.Destination(topology.HealthKey(chat.StageUser, bot)) },
		Partitions: p.layout.Partitions, DrainTimeout: p.drainTimeout(),
		Alone: &p.alone, Owner: owner, Open: p.opener(chat.StageUser), Commands: p.commands(chat.StageUser), Replays: p.marks, Graveyard: letters, Sessions: sessions,
		Publisher: p.conn, Directory: p.registry, Journal: p.journal, Events: p.events, NewBot: bots.make,
		Log: p.log.Named("bot-worker"), Metrics: p.metrics, Tracer: p.tracer, Attempts: p.attempts("bot-worker"),
	})
	if err != nil {
		return err
	}
	p.changed[chat.StageUser] = svc.CircuitChanged
	p.admin.AddCheck("bot-worker", svc.Ready)
	p.workers = append(p.workers, unit{"bot-worker", svc.Run}, p.answers(chat.StageUser, svc.Ages))
	return nil
}

func addDeliveryWorker(ctx context.Context, p *process) error {
	owner, err := p.owner(ctx, chat.StageBot)
	if err != nil {
		return err
	}
	letters, err := deadletter.New(ctx, p.conn)
	if err != nil {
		return err
	}
	sessions, err := session.New(ctx, p.conn, p.layout.Partitions)
	if err != nil {
		return err
	}
	client, err := p.webhooks()
	if err != nil {
		return err
	}
	p.admin.AddOptionalCheck("ledger", p.marks.Ping)
	board, err := p.circuits(ctx)
	if err != nil {
		return err
	}
	svc, err := deliveryworker.New(deliveryworker.Options{
		DisableAfter: p.flags.disableAfter,
		Circuits: func(endpoint string) deliveryworker.Circuit {
			return board.Destination(topology.HealthKey(chat.StageBot, endpoint))
		},
		DrainTimeout: p.drainTimeout(),
		Alone:        &p.alone, Owner: owner, Open: p.opener(chat.StageBot), Commands: p.commands(chat.StageBot), Marks: p.marks, Graveyard: letters,
		Directory: p.registry, Sessions: sessions, Journal: p.journal, Events: p.events, Client: client, Guard: p.guard, Rates: p.limiter,
		Log: p.log.Named("delivery-worker"), Metrics: p.metrics, Tracer: p.tracer, Attempts: p.attempts("delivery-worker"),
	})
	if err != nil {
		return err
	}
	p.changed[chat.StageBot] = svc.CircuitChanged
	p.admin.AddCheck("delivery-worker", svc.Ready)
	p.workers = append(p.workers, unit{"delivery-worker", svc.Run}, p.answers(chat.StageBot, svc.Ages))
	return nil
}

// answers tells status what waits at a worker.
func (p *platform) answers(stage chat.Stage, ages func() []lane.Age) unit {
	return unit{"waiting at " + string(stage), func(ctx context.Context) error {
		return lane.Answer(ctx, p.conn, stage, ages)
	}}
}

// owner owns all of a stage where the broker is in this process, so that no
// other can be there, and shares it with the other workers elsewhere.
func (p *platform) owner(ctx context.Context, stage chat.Stage) (partition.Owner, error) {
	if p.flags.natsURL == "" {
		return partition.NewSole(ctx, p.conn.JS, stage, p.layout.Partitions, instance())
	}
	return partition.NewShared(ctx, p.conn.JS, stage, p.layout.Partitions, instance(), partition.Options{
		TTL: p.flags.leaseTTL, Log: p.log.Named("partition"),
	})
}

// drainTimeout leaves some of the shutdown's time to the rest.
func (p *process) drainTimeout() time.Duration { return p.flags.shutdownTimeout * 3 / 4 }

func (p *platform) opener(stage chat.Stage) func(ctx context.Context, partition int) (lane.Store, error) {
	return func(ctx context.Context, partition int) (lane.Store, error) {
		store, err := lane.NewJetStream(ctx, p.conn, stage, partition)
		if err != nil {
			return nil, err
		}
		store.Sole = p.flags.natsURL == ""
		return store, nil
	}
}

func (p *platform) commands(stage chat.Stage) func(partition int) lane.Commands {
	return func(partition int) lane.Commands { return lane.NewJetStreamCommands(p.conn, stage, partition) }
}

// botMaker makes bots of their configurations.
type botMaker struct {
	client *webhook.Client
	guard  *webhook.Guard
}

func (m botMaker) make(b *chat.Bot, former bot.Bot) (bot.Bot, error) {
	remote, _ := former.(*httpbot.Bot) // no other kind has anything to take over
	if b.Kind == registry.BotHTTP {
		made, err := httpbot.New(httpbot.Options{Client: m.client, Guard: m.guard, Config: b, Former: remote})
		if err != nil {
			return nil, err
		}
		return made, nil
	}
	if remote != nil {
		_ = remote.Close()
	}
	switch b.Kind {
	case registry.BotEcho:
		return echo.New(), nil
	case registry.BotFlow:
		def, err := flow.Parse(b.ID, []byte(b.Flow))
		if err != nil {
			return nil, fmt.Errorf("the flow of bot %s: %w", b.ID, err)
		}
		return flow.New(def), nil
	}
	return nil, fmt.Errorf("bot %s is of kind %q: there are echo, flow and http", b.ID, b.Kind)
}
