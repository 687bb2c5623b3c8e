package event

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Broker stores a message and waits for the broker's word.
type Broker interface {
	Publish(ctx context.Context, m broker.Message) (uint64, error)
}

// Directory is the configuration.
type Directory interface {
	Snapshot() *registry.Snapshot
}

// Options are what a Publisher is made of. All but the bounds are required.
type Options struct {
	Partitions int
	// Queue is how many events may wait for the broker; 0 means 1,024.
	Queue int
	// DrainTimeout bounds the publishing of what is queued at the end; 0 means 5 s.
	DrainTimeout time.Duration

	Broker    Broker
	Directory Directory
	Log       *zap.Logger
	Metrics   prometheus.Registerer
}

// Validate reports what is missing.
func (o *Options) Validate() error {
	switch {
	case o.Partitions < 1:
		return errors.New("event: the number of partitions must be at least 1")
	case o.Broker == nil, o.Directory == nil, o.Log == nil, o.Metrics == nil:
		return errors.New("event: a part is missing")
	case o.Queue < 0, o.DrainTimeout < 0:
		return errors.New("event: a bound must not be negative")
	}
	return nil
}

// againAfter is the pause before an event that the broker refused is published
// again.
const againAfter = time.Second

// Publisher publishes events. It is safe for concurrent use.
type Publisher struct {
	Options
	queue   chan Event
	metrics *metrics
	told    atomic.Int64 // when a drop was logged last, Unix milliseconds
}

// New makes a Publisher; nothing is published before Run.
func New(o Options) (*Publisher, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Queue == 0 {
		o.Queue = 1024
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 5 * time.Second
	}
	return &Publisher{Options: o, queue: make(chan Event, o.Queue), metrics: newMetrics(o.Metrics)}, nil
}

// Raise has an event published if an endpoint of the channel asks for it. It
// never blocks.
func (p *Publisher) Raise(e Event) {
	if !chat.Operational(e.Kind) {
		p.drop(&e, errKind)
		return
	}
	if !p.Directory.Snapshot().Wants(e.ChannelID, e.Kind) {
		return
	}
	select {
	case p.queue <- e:
	default:
		p.drop(&e, errFull)
	}
}

// RaiseEndpoint raises an event about an endpoint that happens now.
func (p *Publisher) RaiseEndpoint(kind, channelID, endpointID, reason string) {
	p.Raise(Event{Kind: kind, ChannelID: channelID, EndpointID: endpointID, Reason: reason, At: time.Now()})
}

var (
	errKind  = errors.New("this is no operational event")
	errFull  = errors.New("too many events wait for the broker")
	errDrain = errors.New("the events were not published in time")
)

// Run publishes until ctx ends, and then what is queued, for DrainTimeout at
// most. What is left then is dropped and counted. It returns nil: an event is
// not worth a process.
func (p *Publisher) Run(ctx context.Context) error {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(p.DrainTimeout, func() { cancel(errDrain) })
	})
	defer stop()
	for {
		select {
		case e := <-p.queue:
			p.publish(late, &e)
			continue
		case <-ctx.Done():
		}
		select {
		case e := <-p.queue:
			p.publish(late, &e)
		default:
			return nil
		}
	}
}

// publish publishes an event, as often as it takes until ctx ends.
func (p *Publisher) publish(ctx context.Context, e *Event) {
	m, err := e.message(p.Directory.Snapshot().Revision())
	if err != nil {
		p.drop(e, err)
		return
	}
	data, err := wire.EncodeBotMessage(m)
	if err != nil {
		p.drop(e, err)
		return
	}
	key := m.Key()
	stored := broker.Message{
		Subject: topology.HotSubject(chat.StageBot, key.Partition(p.Partitions), m.ChannelID, key), Data: data, ID: m.ID,
	}
	for told := false; ; told = true {
		_, err := p.Broker.Publish(ctx, stored)
		if err == nil {
			p.metrics.raised[e.Kind].Inc()
			return
		}
		if !told {
			p.Log.Warn("an event could not be published, it is tried again", zap.String("event", e.Kind), zap.Error(err))
		}
		select {
		case <-time.After(againAfter):
		case <-ctx.Done():
			p.drop(e, fmt.Errorf("%w: %w", context.Cause(ctx), err))
			return
		}
	}
}

// drop counts an event that is lost, and logs one a second.
func (p *Publisher) drop(e *Event, why error) {
	p.metrics.dropped.Inc()
	last, now := p.told.Load(), time.Now().UnixMilli()
	if now-last < time.Second.Milliseconds() || !p.told.CompareAndSwap(last, now) {
		return
	}
	p.Log.Warn("an event was dropped", zap.String("event", e.Kind), zap.String("channel", e.ChannelID),
		zap.String("endpoint", e.EndpointID), zap.String("message", e.MessageID), zap.Error(why))
}

type metrics struct {
	raised  map[string]prometheus.Counter
	dropped prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	raised := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_events_raised_total", Help: "Operational events that were published, by event.",
	}, []string{"event"})
	m := &metrics{
		raised: map[string]prometheus.Counter{},
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_events_dropped_total", Help: "Operational events that were asked for and not published.",
		}),
	}
	reg.MustRegister(raised, m.dropped)
	for _, event := range chat.Events() {
		if chat.Operational(event) {
			m.raised[event] = raised.WithLabelValues(event)
		}
	}
	return m
}
