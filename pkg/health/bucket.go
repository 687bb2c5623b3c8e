package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
)

const (
	// A record goes by itself: of what has been well for an hour, and of what
	// nobody has tried for 30 days.
	closedTTL = time.Hour
	openTTL   = 30 * 24 * time.Hour

	// checkEvery is how often the watch is compared with the leader: the remedy
	// for every way in which a watch may fall silent.
	checkEvery   = 5 * time.Second
	watchTimeout = 5 * time.Second // until it has shown what is there

	codeTryAgain = 10164 // of replicated streams: another write to the key is under way
)

// Bucket is a Store in the JetStream bucket topology.BucketHealth. It outlives a
// restart of everything, but for what a power failure takes of the last minute.
type Bucket struct {
	conn   *broker.Conn
	log    *zap.Logger
	kv     jetstream.KeyValue
	stream jetstream.Stream
	check  time.Duration
}

var _ Store = (*Bucket)(nil)

// NewBucket opens the bucket, which must exist.
func NewBucket(ctx context.Context, conn *broker.Conn, log *zap.Logger) (*Bucket, error) {
	kv, err := conn.JS.KeyValue(ctx, topology.BucketHealth)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", topology.BucketHealth, err)
	}
	stream, err := conn.JS.Stream(ctx, topology.BucketStream(topology.BucketHealth))
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", topology.BucketHealth, err)
	}
	return &Bucket{conn: conn, log: log, kv: kv, stream: stream, check: checkEvery}, nil
}

// Put implements Store.
func (b *Bucket) Put(ctx context.Context, key string, r Record, expected uint64) (uint64, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("encoding the health of %s: %w", key, err)
	}
	ttl := closedTTL
	if r.Open {
		ttl = openTTL
	}
	revision, err := b.conn.Publish(ctx, broker.Message{
		Subject: topology.KeySubject(topology.BucketHealth, key), Data: data, ExpectLast: &expected, Later: true,
		Headers: map[string]string{jetstream.MsgTTLHeader: ttl.String()},
	})
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeTryAgain {
		err = fmt.Errorf("%w: %w", broker.ErrConflict, err)
	}
	return revision, err
}

// Get implements Store. It asks the leader.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	e := Entry{Key: key}
	msg, err := b.stream.GetLastMsgForSubject(ctx, topology.KeySubject(topology.BucketHealth, key))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return e, nil
	case err != nil:
		return e, fmt.Errorf("reading the health of %s: %w: %w", key, broker.ErrUnavailable, err)
	}
	e.Revision = msg.Sequence
	if msg.Header.Get(topology.HeaderKVOperation) == "" && msg.Header.Get(jetstream.MarkerReasonHeader) == "" {
		e.Record = b.decode(key, msg.Data)
	}
	return e, nil
}

// decode reads a record. What can't be read counts as none, and is replaced by
// the next transition.
func (b *Bucket) decode(key string, data []byte) Record {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		b.log.Warn("the health of a destination can't be read", zap.String("key", key), zap.Error(err))
		return Record{}
	}
	return r
}

var (
	errReconnected = errors.New("the broker was away")
	errWatchClosed = errors.New("the broker ended the watch")
	errWatchSlow   = fmt.Errorf("the watch has not begun within %s", watchTimeout)
	errDeaf        = errors.New("the watch has fallen behind the leader")
)

// Watch implements Store.
func (b *Bucket) Watch(ctx context.Context, apply func(Entry), alive func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	guard := time.AfterFunc(watchTimeout, func() { cancel(errWatchSlow) })
	defer guard.Stop()
	// Lost, or back again: it may have forgotten the watch.
	changed := b.conn.NATS.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CONNECTED)
	defer b.conn.NATS.RemoveStatusListener(changed)
	seen, err := b.last(ctx)
	if err != nil {
		return err
	}
	w, err := b.kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watching bucket %s: %w", topology.BucketHealth, err)
	}
	defer b.stopWatch(w)
	check := time.NewTicker(b.check)
	defer check.Stop()
	var due uint64 // what the watch must have shown by the next check
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
			return errReconnected
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.Join(errWatchClosed, context.Cause(ctx))
			case e == nil: // all that was there has been shown
				guard.Stop()
				due = seen
				alive()
			default:
				seen = max(seen, e.Revision())
				apply(b.entry(e))
			}
		case <-check.C:
			last, err := b.last(ctx)
			switch {
			case err != nil:
				return err
			case seen < due || last < seen:
				return errDeaf
			}
			due = last
			alive()
		}
	}
}

func (b *Bucket) entry(e jetstream.KeyValueEntry) Entry {
	out := Entry{Key: e.Key(), Revision: e.Revision()}
	if e.Operation() == jetstream.KeyValuePut {
		out.Record = b.decode(e.Key(), e.Value())
	}
	return out
}

// last asks the leader for the bucket's last revision.
func (b *Bucket) last(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	info, err := b.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking for the last revision of bucket %s: %w", topology.BucketHealth, err)
	}
	return info.State.LastSeq, nil
}

func (b *Bucket) stopWatch(w jetstream.KeyWatcher) {
	if err := broker.StopWatch(w); err != nil {
		b.log.Warn("stopping the watch of destinations' health", zap.Error(err))
	}
}
