package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Mode says what is recorded.
type Mode string

// The modes. Failures are turns that were not processed and deliveries that are
// neither delivered nor filtered.
const (
	ModeAll      Mode = "all"
	ModeFailures Mode = "failures"
	ModeOff      Mode = "off"
)

// Options configure a Writer.
type Options struct {
	Mode Mode // empty means ModeAll
	// Queue is how many entries may wait to be written; 0 means 8192.
	Queue int
	// DrainTimeout bounds how long Run goes on writing what is queued after its
	// context ended; 0 means 5 s.
	DrainTimeout time.Duration
}

// Validate reports the first setting that can't work.
func (o Options) Validate() error {
	switch o.Mode {
	case "", ModeAll, ModeFailures, ModeOff:
	default:
		return fmt.Errorf("the journal's mode is %q: set it to %s, %s or %s", o.Mode, ModeAll, ModeFailures, ModeOff)
	}
	if o.Queue < 0 || o.DrainTimeout < 0 {
		return errors.New("the journal's queue or drain time-out is negative: leave it at 0 for the default")
	}
	return nil
}

// Publisher is where entries go; *broker.Conn is one.
type Publisher interface {
	Publish(ctx context.Context, m broker.Message) (uint64, error)
}

// Writer writes entries in the background. It is safe for concurrent use.
type Writer struct {
	publisher Publisher
	options   Options
	queues    [shards]chan entry
	metrics   *metrics
}

// shards is how many entries may be on their way at once: one of each queue. A
// conversation's entries share a queue, and so keep their order.
const shards = 32

type entry struct {
	turn     *chat.Turn
	delivery *chat.Delivery
}

// NewWriter makes a writer; nothing is written before Run.
func NewWriter(publisher Publisher, o Options, reg prometheus.Registerer) (*Writer, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Mode == "" {
		o.Mode = ModeAll
	}
	if o.Queue == 0 {
		o.Queue = 8192
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 5 * time.Second
	}
	w := &Writer{publisher: publisher, options: o, metrics: newMetrics(reg)}
	for i := range w.queues {
		w.queues[i] = make(chan entry, (o.Queue+shards-1)/shards)
	}
	return w, nil
}

// Turn records a turn. It keeps t: the caller must not change it any more.
func (w *Writer) Turn(t *chat.Turn) {
	if w.wants(t.Outcome == chat.OutcomeProcessed) {
		w.enqueue(kindTurn, t.Input.Key(), entry{turn: t})
	}
}

// Delivery records an attempt, or an end without one. It keeps d: the caller
// must not change it any more.
func (w *Writer) Delivery(d *chat.Delivery) {
	if w.wants(d.Outcome == chat.OutcomeDelivered || d.Outcome == chat.OutcomeFiltered) {
		w.enqueue(kindDelivery, chat.KeyOf(d.ChannelID, d.ConversationID), entry{delivery: d})
	}
}

// Run writes until ctx ends, and then what is queued, for DrainTimeout at most.
// What is left then, and what comes later, is dropped and counted. It returns
// nil: the journal's trouble is not the process's.
func (w *Writer) Run(ctx context.Context) error {
	var group sync.WaitGroup
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(w.options.DrainTimeout, func() { cancel(errDrain) })
	})
	defer stop()
	for _, queue := range w.queues {
		group.Go(func() { w.write(ctx, late, queue) })
	}
	group.Wait()
	return nil
}

var errDrain = errors.New("the journal was not drained in time")

func (w *Writer) wants(fine bool) bool {
	return w.options.Mode == ModeAll || w.options.Mode == ModeFailures && !fine
}

func (w *Writer) enqueue(kind string, key chat.ConversationKey, e entry) {
	select {
	case w.queues[key.Partition(shards)] <- e:
	default:
		w.metrics.entries.WithLabelValues(kind, resultDropped).Inc()
	}
}

// write publishes a queue's entries one after the other: until ctx ends as they
// come, then until the queue is empty; late cuts a publish short.
func (w *Writer) write(ctx, late context.Context, queue <-chan entry) {
	for {
		select {
		case e := <-queue:
			w.publish(late, e)
			continue
		case <-ctx.Done():
		}
		select {
		case e := <-queue:
			w.publish(late, e)
		default:
			return
		}
	}
}

func (w *Writer) publish(ctx context.Context, e entry) {
	kind, subject, data, err := encode(e)
	if ctx.Err() != nil {
		w.metrics.entries.WithLabelValues(kind, resultDropped).Inc()
		return
	}
	if err == nil {
		_, err = w.publisher.Publish(ctx, broker.Message{Subject: subject, Data: data, Later: true})
	}
	if err != nil {
		w.metrics.entries.WithLabelValues(kind, resultFailed).Inc()
		return
	}
	w.metrics.entries.WithLabelValues(kind, resultWritten).Inc()
}

func encode(e entry) (kind, subject string, data []byte, err error) {
	if t := e.turn; t != nil {
		data, err = wire.EncodeTurn(t)
		return kindTurn, topology.JournalSubject(t.Input.ChannelID, "", t.Input.Key()), data, err
	}
	d := e.delivery
	data, err = wire.EncodeDelivery(d)
	key := chat.KeyOf(d.ChannelID, d.ConversationID)
	return kindDelivery, topology.JournalSubject(d.ChannelID, d.EndpointID, key), data, err
}
