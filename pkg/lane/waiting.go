package lane

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Waiting reads what is parked, for operators, whoever owns the lanes.
type Waiting struct {
	conn       *broker.Conn
	partitions int
}

// NewWaiting makes a Waiting; the streams must exist.
func NewWaiting(conn *broker.Conn, partitions int) *Waiting {
	return &Waiting{conn: conn, partitions: partitions}
}

const (
	// maxStates is how many state records are read at most to count or to find
	// lanes by them.
	maxStates = 50_000
	// statesRead is how many are read at a time.
	statesRead = 500
)

// Held counts the lanes of a stage that wait for an operator; all is false where
// there are too many lanes that failed to look at each. The error wraps
// broker.ErrUnavailable.
func (w *Waiting) Held(ctx context.Context, stage chat.Stage) (held uint64, all bool, err error) {
	all, err = w.eachState(ctx, stage, topology.LaneStates(stage, ""), func(_ ID, s *chat.LaneState) {
		if s.Held {
			held++
		}
	})
	return held, all, err
}

// eachState calls found for the state records that a filter matches; all says
// whether it was for each. It reads at the stream's leader, where direct reads
// may lag.
func (w *Waiting) eachState(ctx context.Context, stage chat.Stage, filter string, found func(ID, *chat.LaneState)) (all bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("reading the states of lanes: %w: %w", broker.ErrUnavailable, err)
		}
	}()
	stream, err := w.conn.JS.Stream(ctx, topology.ParkedStream(stage))
	if err != nil {
		return false, err
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return false, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = stream.DeleteConsumer(ctx, consumer.CachedInfo().Name) // else it goes by itself
	}()
	pending := consumer.CachedInfo().NumPending
	left := min(pending, maxStates)
	for left > 0 {
		batch, err := consumer.FetchNoWait(int(min(left, statesRead)))
		if err != nil {
			return false, err
		}
		n := uint64(0)
		for m := range batch.Messages() {
			n++
			id, err := laneOf(m.Subject())
			if err != nil {
				continue // none of ours
			}
			if state, err := wire.DecodeLaneState(m.Data()); err == nil { // else its owner says so
				found(id, state)
			}
		}
		if err := batch.Error(); err != nil {
			return false, err
		}
		if n == 0 { // some were replaced or dropped meanwhile
			break
		}
		left -= min(left, n)
	}
	return pending <= maxStates, ctx.Err()
}
