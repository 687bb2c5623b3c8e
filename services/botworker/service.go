package botworker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/event"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/tracing"
)

// Sessions stores one record a conversation; see package session.
type Sessions interface {
	Load(ctx context.Context, key chat.ConversationKey) (rec *chat.Session, revision uint64, err error)
	Save(ctx context.Context, key chat.ConversationKey, rec *chat.Session, expected uint64) (uint64, error)
}

// Publisher stores a message and waits for the broker's word.
type Publisher interface {
	Publish(ctx context.Context, m broker.Message) (uint64, error)
}

// Directory is the configuration.
type Directory interface {
	Snapshot() *registry.Snapshot
	// Reach waits for the configuration that a message was accepted under.
	Reach(ctx context.Context, revision uint64) error
	// Follow tells of each change of the snapshot until ctx ends.
	Follow(ctx context.Context, changed func(last, next *registry.Snapshot)) error
	// CatchUp returns a snapshot no older than what the leader has now.
	CatchUp(ctx context.Context) (*registry.Snapshot, error)
}

// Journal records turns; it never blocks, but for Flush, which returns once what
// was recorded before is written.
type Journal interface {
	Turn(t *chat.Turn)
	Flush(ctx context.Context) error
}

// Events tells who asked for it of what went wrong; it never blocks.
type Events interface {
	Raise(e event.Event)
}

// Options are what a Service is made of. All but the bounds, Circuits, Alone, Tracer, Attempts and Commands are required.
type Options struct {
	Partitions int
	// Timeout bounds one run of a bot; 0 means 30 s.
	Timeout time.Duration
	// Schedule is the delays between a message's attempts; nil means the
	// default schedule.
	Schedule retry.Schedule
	// DrainTimeout bounds the wait for turns under way at the end; 0 means the
	// engine's default.
	DrainTimeout time.Duration
	// Circuits gives a bot's circuit; nil: turns are tried whatever comes of them.
	// CircuitChanged is to be called.
	Circuits func(bot string) lane.Circuit
	// Alone is shared with the process's other stage; may be nil.
	Alone *lane.Alone
	// Tracer makes spans of turns, Attempts takes a line of each; either may be nil.
	Tracer   *tracing.Tracer
	Attempts *zap.Logger
	// Commands opens what operators ask of a partition's lanes; nil: nothing.
	Commands func(partition int) lane.Commands

	Owner partition.Owner
	Open  func(ctx context.Context, partition int) (lane.Store, error)
	// Replays is the once-ledger of replays; of the rest the sessions know.
	Replays   lane.Marks
	Graveyard lane.Graveyard
	Sessions  Sessions
	Publisher Publisher
	Directory Directory
	Journal   Journal
	Events    Events
	// NewBot makes the bot that a configuration describes. former, the bot of its
	// configuration until now, or nil, is its to take over or to close.
	NewBot  func(config *chat.Bot, former bot.Bot) (bot.Bot, error)
	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Validate reports what is missing.
func (o *Options) Validate() error {
	switch {
	case o.Partitions < 1:
		return errors.New("botworker: the number of partitions must be at least 1")
	case o.Owner == nil, o.Open == nil, o.Replays == nil, o.Graveyard == nil, o.Sessions == nil, o.Publisher == nil,
		o.Directory == nil, o.Journal == nil, o.Events == nil, o.NewBot == nil, o.Log == nil, o.Metrics == nil:
		return errors.New("botworker: a part is missing")
	case o.Timeout < 0, o.DrainTimeout < 0:
		return errors.New("botworker: a time-out must not be negative")
	}
	return nil
}

// Service is the bot stage's worker.
type Service struct {
	handler   *handler
	engine    *lane.Engine
	owner     partition.Owner
	directory Directory
}

// New makes a Service; Run starts it.
func New(o Options) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Schedule == nil {
		o.Schedule = retry.Default()
	}
	h := newHandler(o)
	engine := lane.New(lane.Options{
		Stage: chat.StageUser, Alone: o.Alone, Open: h.open, Commands: o.Commands, Replays: o.Replays, Graveyard: o.Graveyard, Log: o.Log, Metrics: o.Metrics,
		DrainTimeout: o.DrainTimeout, Erased: h.erased, Reasons: []string{reasonChannelRemoved, reasonBotRemoved, reasonRefused, reasonInvalid, reasonSessionFull},
	}, h)
	return &Service{handler: h, engine: engine, owner: o.Owner, directory: o.Directory}, nil
}

// Ready is a readiness check; see lane.Engine.
func (s *Service) Ready(ctx context.Context) error { return s.engine.Ready(ctx) }

// Ages returns what waits at this worker; see lane.Engine.
func (s *Service) Ages() []lane.Age { return s.engine.Ages() }

// CircuitChanged is to be told which bot's circuit has opened, closed, or got
// another time for its next probe. It doesn't block.
func (s *Service) CircuitChanged(bot string) { s.engine.CircuitChanged(bot) }

// Run works until ctx ends; then it lets the turns under way end.
func (s *Service) Run(ctx context.Context) error {
	defer s.handler.bots.close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.engine.Run(ctx, s.owner) })
	g.Go(func() error { return s.directory.Follow(ctx, s.wakeChanged) })
	return g.Wait()
}

// wakeChanged wakes the lanes that wait because their bot or channel is paused,
// when a new configuration changes or removes that, and drops what the former
// bot held.
func (s *Service) wakeChanged(last, next *registry.Snapshot) {
	for _, botID := range changedBots(last, next) {
		now, _ := next.Bot(botID)
		s.handler.bots.change(botID, now)
		if now == nil {
			s.handler.policies.forget(botID)
		}
		s.engine.Wake(botID)
	}
}

// changedBots are those bots, and the bots of those channels, that were changed
// or removed.
func changedBots(last, next *registry.Snapshot) []string {
	var changed []string
	for _, old := range last.Bots() {
		if now, ok := next.Bot(old.ID); !ok || now != old {
			changed = append(changed, old.ID)
		}
	}
	for _, old := range last.Channels() {
		if now, ok := next.Channel(old.ID); !ok || now != old {
			changed = append(changed, old.BotID) // their lanes wait at that one
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed)
}
