package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
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
	// NoBodies leaves out what was said: inputs, what the bot said, what the
	// session was given, and the beginnings of answers, which may quote it.
	NoBodies bool
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
	// PublishAll stores messages in their order and returns the last one's
	// sequence.
	PublishAll(ctx context.Context, ms ...broker.Message) (uint64, error)
}

// Writer writes entries in the background. It is safe for concurrent use.
type Writer struct {
	publisher Publisher
	options   Options
	queue     chan entry
	metrics   *metrics
}

// An entry is written at once when none has been for a while. Those that come
// within gatherFor of a group are the next one, since what a group costs is
// mostly its confirmation, and nobody waits for the journal.
const (
	gatherFor = 5 * time.Millisecond
	maxGroup  = 128 // the most that are lost, or counted as such, together
)

type entry struct {
	turn     *chat.Turn
	delivery *chat.Delivery
	// written is closed in place of an entry, once those before it are written.
	written chan struct{}
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
	return &Writer{publisher: publisher, options: o, queue: make(chan entry, o.Queue), metrics: newMetrics(reg)}, nil
}

// Turn records a turn. It keeps t: the caller must not change it any more.
func (w *Writer) Turn(t *chat.Turn) {
	if !w.wants(t.Outcome == chat.OutcomeProcessed) {
		return
	}
	if w.options.NoBodies {
		t = withoutBodies(t)
	}
	w.enqueue(entry{turn: t})
}

// Delivery records an attempt, or an end without one. It keeps d: the caller
// must not change it any more.
func (w *Writer) Delivery(d *chat.Delivery) {
	if !w.wants(d.Outcome == chat.OutcomeDelivered || d.Outcome == chat.OutcomeFiltered) {
		return
	}
	if w.options.NoBodies {
		d = withoutAnswer(d)
	}
	w.enqueue(entry{delivery: d})
}

// Run writes until ctx ends, and then what is queued, for DrainTimeout at most.
// What is left then, and what comes later, is dropped and counted. It returns
// nil: the journal's trouble is not the process's.
func (w *Writer) Run(ctx context.Context) error {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(w.options.DrainTimeout, func() { cancel(errDrain) })
	})
	defer stop()
	w.write(ctx, late)
	return nil
}

var errDrain = errors.New("the journal was not drained in time")

func (w *Writer) wants(fine bool) bool {
	return w.options.Mode == ModeAll || w.options.Mode == ModeFailures && !fine
}

func (w *Writer) enqueue(e entry) {
	select {
	case w.queue <- e:
	default:
		w.metrics.of(e, dropped).Inc()
	}
}

// write writes group after group: until ctx ends as entries come, then until the
// queue is empty; late cuts a group short.
func (w *Writer) write(ctx, late context.Context) {
	g := group{writer: w}
	gather := time.NewTimer(0)
	defer gather.Stop()
	for {
		select {
		case e := <-w.queue:
			g.publish(late, e)
			if len(w.queue) < maxGroup {
				gather.Reset(gatherFor)
				select {
				case <-gather.C:
				case <-ctx.Done():
				}
			}
			continue
		case <-ctx.Done():
		}
		select {
		case e := <-w.queue:
			g.publish(late, e)
		default:
			return
		}
	}
}
