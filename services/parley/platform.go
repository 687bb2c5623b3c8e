package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/event"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/ledger"
	"github.com/parleyhq/parley/pkg/ratelimit"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/telemetry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/tracing"
	"github.com/parleyhq/parley/pkg/webhook"
)

// platform is what the services of a process stand on.
type platform struct {
	flags    *serviceFlags
	began    time.Time
	layout   topology.Layout
	guard    *webhook.Guard
	log      *zap.Logger
	metrics  *prometheus.Registry
	tracer   *tracing.Tracer // nil: no traces
	conn     *broker.Conn
	monitor  *broker.Monitor
	registry *registry.Registry
	redis    ledger.Client
	marks    ledger.Ledger
	limiter  *ratelimit.Limiter
	journal  *journal.Writer
	events   *event.Publisher
	admin    *telemetry.Admin
	alone    lane.Alone
	client   *webhook.Client // made by webhooks
	board    *health.Board   // made by circuits
	// changed is told, by stage, whose circuit has changed.
	changed map[chat.Stage]func(destination string)

	closers []func() // in the order of opening
}

// openPlatform opens what the services of a process need. With a data
// directory it embeds what no URL is given for.
func openPlatform(ctx context.Context, f *serviceFlags) (*platform, error) {
	p := &platform{flags: f, began: time.Now(), changed: map[chat.Stage]func(string){}, metrics: telemetry.NewRegistry(version)}
	if err := p.open(ctx); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *platform) open(ctx context.Context) (err error) {
	f := p.flags
	if err := f.validate(); err != nil {
		return err
	}
	log, stop, err := telemetry.NewLogger(os.Stderr, f.logLevel, f.logFormat)
	if err != nil {
		return err
	}
	p.log = log
	p.closers = append(p.closers, stop) // the first, and so the last to be closed
	for _, doubt := range f.doubts() {
		p.log.Warn(doubt.Error())
	}
	if p.layout, err = f.layout(); err != nil {
		return err
	}
	if p.guard, err = f.guard(); err != nil {
		return err
	}
	// Not a deadline: each request to the broker has its own then, 5 s. One that
	// a cluster lost would wait for the start's.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(f.startTimeout, func() { cancel(fmt.Errorf("not ready within --start-timeout %s", f.startTimeout)) })
	defer late.Stop()
	for _, open := range []func(context.Context) error{
		p.openTraces, p.openBroker, p.openRegistry, p.openRedis, p.openLedger, p.openLimiter, p.openJournal, p.openEvents, p.openAdmin,
	} {
		if err := open(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close undoes what openPlatform did, backwards.
func (p *platform) close() {
	for _, undo := range slices.Backward(p.closers) {
		undo()
	}
	p.closers = nil
}

func (p *platform) openBroker(ctx context.Context) (err error) {
	if p.flags.natsURL != "" {
		err = p.connect(ctx)
	} else {
		err = p.embedBroker(ctx)
	}
	if err != nil {
		return err
	}
	p.closers = append(p.closers, p.conn.Close)
	if p.layout.Replicas == 0 {
		if p.layout.Replicas, err = topology.Replicas(ctx, p.conn.JS, p.layout); err != nil {
			return err
		}
		p.log.Info("copies of each stream", zap.Int("replicas", p.layout.Replicas))
	}
	if err := topology.Ensure(ctx, p.conn.JS, p.layout); err != nil {
		return fmt.Errorf("laying out the streams: %w", err)
	}
	p.monitor = broker.NewMonitor(p.conn, topology.StreamDead, p.metrics, p.log)
	return p.conn.Check(ctx, topology.StreamDead)
}

// connectEvery is the pause between two tries to reach NATS at the start.
const connectEvery = 500 * time.Millisecond

// connect waits for NATS: where containers start together, it may be the last.
func (p *platform) connect(ctx context.Context) (err error) {
	for told := false; ; told = true {
		p.conn, err = p.flags.natsAccess.Connect(p.flags.natsURL, "parley", p.log)
		if err == nil || !broker.IsAway(err) {
			return err
		}
		if !told {
			p.log.Warn("NATS is not there; waiting for it", zap.Error(err), zap.Duration("at most", p.flags.startTimeout))
		}
		select {
		case <-time.After(connectEvery):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func (p *platform) embedBroker(ctx context.Context) error {
	always, interval, err := p.flags.syncing()
	if err != nil {
		return err
	}
	srv, err := broker.StartServer(broker.ServerOptions{
		Dir: filepath.Join(p.flags.dataDir, "nats"), MaxStore: p.layout.Store, MaxMemory: 256 << 20,
		SyncAlways: always, SyncInterval: interval, Unsynced: topology.Unsynced(),
	}, p.log)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if err := srv.Close(ctx); err != nil {
			p.log.Error("stopping the broker", zap.Error(err))
		}
	})
	p.conn, err = srv.Connect("parley", p.log)
	return err
}

func (p *platform) openRegistry(ctx context.Context) error {
	sealer, err := p.flags.sealer()
	if err != nil {
		return err
	}
	p.registry, err = registry.Open(ctx, p.conn.JS, registry.Options{
		Sealer: sealer, Log: p.log, URLCheck: p.guard.CheckURL, FlowCheck: checkFlow,
		NewSecret: webhook.NewSecret, OnlyWriter: p.flags.natsURL == "", Sync: p.conn.SyncStream,
	})
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	p.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parley_config_revision", Help: "Revision of the configuration that this process has.",
	}, func() float64 { return float64(p.registry.Snapshot().Revision()) }))
	return nil
}

// openRedis connects to Redis or, where all is in one process, starts one
// inside it: what is in Redis may be lost with the process.
func (p *platform) openRedis(ctx context.Context) (err error) {
	address := p.flags.redisURL
	if address == "" {
		if address, err = p.embedRedis(ctx); err != nil {
			return err
		}
	}
	if p.redis, err = ledger.Connect(address); err != nil {
		return err
	}
	p.closers = append(p.closers, func() { _ = p.redis.Close() })
	if p.flags.redisURL == "" {
		return nil
	}
	return ledger.CheckVersion(ctx, p.redis)
}

func (p *platform) embedRedis(ctx context.Context) (string, error) {
	server := miniredis.NewMiniRedis()
	password := rand.Text()
	server.RequireAuth(password)
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		return "", fmt.Errorf("the in-process Redis: %w", err)
	}
	// Its keys age only when they are told to.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				server.FastForward(time.Second)
			}
		}
	}()
	p.closers = append(p.closers, func() {
		stop()
		<-done
		server.Close()
	})
	return (&url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: server.Addr()}).String(), nil
}

// openLedger keeps the marks in Redis, or in a bucket where there is none.
func (p *platform) openLedger(ctx context.Context) error {
	if p.flags.redisURL != "" {
		marks := ledger.NewRedis(p.redis, ledger.RedisOptions{})
		p.closers = append(p.closers, marks.Close)
		p.marks = marks
		return nil
	}
	kv, err := p.conn.KV(ctx, topology.BucketLedger)
	if err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	p.marks = ledger.NewBucket(kv)
	return nil
}

// openLimiter shares rates through Redis, where there is one.
func (p *platform) openLimiter(context.Context) error {
	o := ratelimit.Options{Log: p.log.Named("ratelimit"), Metrics: p.metrics}
	if p.flags.redisURL != "" {
		o.Redis = p.redis
	}
	p.limiter = ratelimit.New(o)
	return nil
}

func (p *platform) openJournal(context.Context) (err error) {
	p.journal, err = journal.NewWriter(p.conn, p.flags.journalOptions(), p.metrics)
	return err
}

func (p *platform) openEvents(context.Context) (err error) {
	p.events, err = event.New(event.Options{
		Partitions: p.layout.Partitions, Broker: p.conn, Directory: p.registry, Log: p.log.Named("events"), Metrics: p.metrics,
	})
	return err
}

func (p *platform) openAdmin(context.Context) (err error) {
	if p.admin, err = telemetry.NewAdmin(p.flags.adminAddr, p.metrics, p.log); err != nil { //nolint:contextcheck // its handlers have the requests' contexts
		return err
	}
	p.admin.AddCheck("broker", func(context.Context) error { return p.conn.Ready() })
	p.admin.AddCheck("configuration", func(context.Context) error { return p.registry.Ready() })
	return nil
}

// attempts is the log of attempts, nil where none is wanted. The line's place in
// the code says nothing, and costs as much as the line.
func (p *platform) attempts(name string) *zap.Logger {
	if !p.flags.logAttempts {
		return nil
	}
	return p.log.Named(name).WithOptions(zap.WithCaller(false))
}

// webhooks returns the client of all who post to endpoints.
func (p *platform) webhooks() (_ *webhook.Client, err error) {
	if p.client != nil {
		return p.client, nil
	}
	if p.client, err = webhook.NewClient(webhook.Options{Version: version, Guard: p.guard}); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, p.client.Close)
	return p.client, nil
}

// probeTimeout is more than an attempt lasts, but at endpoints with a time-out of
// their own.
const probeTimeout = 40 * time.Second

// circuits returns the circuits of all destinations, made at first use.
func (p *platform) circuits(ctx context.Context) (_ *health.Board, err error) {
	if p.board != nil {
		return p.board, nil
	}
	log := p.log.Named("health")
	store, err := health.NewBucket(ctx, p.conn, log)
	if err != nil {
		return nil, err
	}
	p.board, err = health.NewBoard(health.BoardOptions{
		Store: store, Instance: instance(), Log: log, Circuit: health.CircuitOptions{ProbeTimeout: probeTimeout},
		Changed: func(key string, state health.State) {
			stage, destination := topology.ParseHealthKey(key)
			log.Debug("a circuit has changed", zap.String("stage", string(stage)), zap.String("destination", destination), zap.Stringer("state", state))
			if tell := p.changed[stage]; tell != nil {
				tell(destination)
			}
		},
	})
	return p.board, err
}

// instance names this process among others.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "parley"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}
