package lane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// JetStreamCommands is the Commands over a key-value bucket.
type JetStreamCommands struct {
	conn      *broker.Conn
	stage     chat.Stage
	partition int
}

// NewJetStreamCommands returns a partition's commands; the bucket must exist.
func NewJetStreamCommands(conn *broker.Conn, stage chat.Stage, partition int) *JetStreamCommands {
	return &JetStreamCommands{conn: conn, stage: stage, partition: partition}
}

// goneFor is how long the bucket says that a command is done: who waits for it
// sees that.
const goneFor = time.Minute

func (j *JetStreamCommands) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	return openCommands(ctx, j.conn)
}

func openCommands(ctx context.Context, conn *broker.Conn) (jetstream.KeyValue, error) {
	kv, err := conn.JS.KeyValue(ctx, topology.BucketCommands)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w: %w", topology.BucketCommands, broker.ErrUnavailable, err)
	}
	return kv, nil
}

// Follow implements Commands.
func (j *JetStreamCommands) Follow(ctx context.Context, do func(*Command)) error {
	kv, err := j.bucket(ctx)
	if err != nil {
		return err
	}
	watcher, err := kv.Watch(ctx, topology.CommandFilter(j.stage, j.partition), jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("watching bucket %s: %w", topology.BucketCommands, err)
	}
	defer func() { _ = broker.StopWatch(watcher) }() // the store has failed, or nobody follows any more
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case entry, ok := <-watcher.Updates():
			if !ok {
				return fmt.Errorf("the watch of bucket %s has ended", topology.BucketCommands)
			}
			if entry == nil { // that was all there was before
				continue
			}
			c, err := commandOf(entry)
			if err != nil { // nothing that this version knows
				continue
			}
			do(c)
		}
	}
}

func commandOf(entry jetstream.KeyValueEntry) (*Command, error) {
	c := &Command{Revision: entry.Revision()}
	if err := json.Unmarshal(entry.Value(), c); err != nil {
		return nil, fmt.Errorf("reading a command: %w", err)
	}
	switch c.Action {
	case RetryNow, Skip, Discard, Erase:
	default:
		return nil, fmt.Errorf("reading a command: %q is unknown", c.Action)
	}
	var err error
	c.Lane.Group, c.Lane.Key, err = topology.ParseCommandKey(entry.Key())
	return c, err
}

// Done implements Commands.
func (j *JetStreamCommands) Done(ctx context.Context, c *Command) error {
	if err := j.conn.Sync(ctx); err != nil { // what came of it
		return err
	}
	kv, err := j.bucket(ctx)
	if err != nil {
		return err
	}
	key := topology.CommandKey(j.stage, j.partition, c.Lane.Group, c.Lane.Key)
	err = kv.Purge(ctx, key, jetstream.LastRevision(c.Revision), jetstream.PurgeTTL(goneFor))
	if errors.Is(broker.KindOf(err), broker.ErrConflict) {
		return nil // it has gone, or is another's
	}
	if err != nil {
		return fmt.Errorf("removing a command: %w", err)
	}
	return nil
}
