package deliveryworker

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/event"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/tracing"
	"github.com/parleyhq/parley/pkg/webhook"
)

// Directory is the configuration.
type Directory interface {
	Snapshot() *registry.Snapshot
	// Reach waits for the configuration that a message was made under.
	Reach(ctx context.Context, revision uint64) error
	// Follow tells of each change of the snapshot until ctx ends.
	Follow(ctx context.Context, changed func(last, next *registry.Snapshot)) error
	// CatchUp returns a snapshot no older than what the leader has now.
	CatchUp(ctx context.Context) (*registry.Snapshot, error)
	// PutEndpoint stores an endpoint that has changed.
	PutEndpoint(ctx context.Context, e chat.Endpoint, expect registry.Expect) (chat.Endpoint, uint64, error)
}

// Sessions are the conversations' records as their only writer, the bot stage,
// left them.
type Sessions interface {
	Load(ctx context.Context, key chat.ConversationKey) (rec *chat.Session, revision uint64, err error)
}

// Journal records deliveries; it never blocks, but for Flush, which returns once
// what was recorded before is written.
type Journal interface {
	Delivery(d *chat.Delivery)
	Flush(ctx context.Context) error
}

// Events tells who asked for it of what went wrong; it never blocks.
type Events interface {
	Raise(e event.Event)
	RaiseEndpoint(kind, channelID, endpointID, reason string)
}

// Options are what a Service is made of. All but the bounds, Rates, Circuits, Alone, Tracer, Attempts and Commands are required.
type Options struct {
	// DrainTimeout bounds the wait for attempts under way at the end; 0 means
	// the engine's default.
	DrainTimeout time.Duration
	// MaxRetryAfter caps what an endpoint may ask for; 0 means 1 h.
	MaxRetryAfter time.Duration
	// Rates keeps the endpoints' rates, with all other workers; nil: they have none.
	Rates lane.Rates
	// DisableAfter is for how long an endpoint may do nothing but fail before it
	// is disabled, where it has no such time of its own; 0 means for ever.
	DisableAfter time.Duration
	// Circuits gives an endpoint's circuit; nil: attempts are made whatever comes
	// of them, and no endpoint is disabled for that. CircuitChanged is to be called.
	Circuits func(endpoint string) Circuit
	// Alone is shared with the process's other stage; may be nil.
	Alone *lane.Alone
	// Tracer makes spans of attempts, Attempts takes a line of each; either may be
	// nil.
	Tracer   *tracing.Tracer
	Attempts *zap.Logger
	// Commands opens what operators ask of a partition's lanes; nil: nothing.
	Commands func(partition int) lane.Commands

	Owner     partition.Owner
	Open      func(ctx context.Context, partition int) (lane.Store, error)
	Marks     lane.Marks
	Graveyard lane.Graveyard
	Directory Directory
	Sessions  Sessions
	Journal   Journal
	Events    Events
	Client    *webhook.Client
	Guard     *webhook.Guard
	Log       *zap.Logger
	Metrics   prometheus.Registerer
}

// Validate reports what is missing.
func (o *Options) Validate() error {
	switch {
	case o.Owner == nil, o.Open == nil, o.Marks == nil, o.Graveyard == nil, o.Directory == nil,
		o.Sessions == nil, o.Journal == nil, o.Events == nil, o.Client == nil, o.Guard == nil, o.Log == nil, o.Metrics == nil:
		return errors.New("deliveryworker: a part is missing")
	case o.DrainTimeout < 0, o.MaxRetryAfter < 0, o.DisableAfter < 0:
		return errors.New("deliveryworker: a time must not be negative")
	}
	return nil
}

// Service is the delivery stage's worker.
type Service struct {
	engine    *lane.Engine
	owner     partition.Owner
	directory Directory
	handler   *handler
}

// New makes a Service; Run starts it.
func New(o Options) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.MaxRetryAfter == 0 {
		o.MaxRetryAfter = time.Hour
	}
	h := newHandler(o)
	engine := lane.New(lane.Options{
		Stage: chat.StageBot, Alone: o.Alone, Open: h.open, Commands: o.Commands, Marks: o.Marks, Replays: o.Marks, Graveyard: o.Graveyard, Log: o.Log, Metrics: o.Metrics,
		DrainTimeout: o.DrainTimeout, Rates: o.Rates, Erased: h.erased, Reasons: []string{reasonEndpointRemoved},
	}, h)
	return &Service{engine: engine, owner: o.Owner, directory: o.Directory, handler: h}, nil
}

// Ready is a readiness check; see lane.Engine.
func (s *Service) Ready(ctx context.Context) error { return s.engine.Ready(ctx) }

// Ages returns what waits at this worker; see lane.Engine.
func (s *Service) Ages() []lane.Age { return s.engine.Ages() }

// CircuitChanged is to be told which endpoint's circuit has opened, closed, or got
// another time for its next probe. It doesn't block.
func (s *Service) CircuitChanged(endpoint string) { s.engine.CircuitChanged(endpoint) }

// Run works until ctx ends; then it lets the attempts under way end.
func (s *Service) Run(ctx context.Context) error {
	defer s.handler.routes.close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.engine.Run(ctx, s.owner) })
	g.Go(func() error { return s.directory.Follow(ctx, s.wakeChanged) })
	g.Go(func() error { s.handler.watchFailing(ctx); return nil })
	return g.Wait()
}

// wakeChanged wakes the lanes that wait at an endpoint which is closed, when a
// new configuration changes or removes it, and drops what the former one held.
func (s *Service) wakeChanged(last, next *registry.Snapshot) {
	for _, old := range last.Endpoints() {
		if now, ok := next.Endpoint(old.ID); !ok || now != old {
			s.handler.routes.change(old.ID, now)
			s.engine.Wake(old.ID)
		}
	}
}
