package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stored is a message as it stands in a stream.
type Stored struct {
	Seq     uint64
	Subject string
	Time    time.Time // when it was stored
	Data    []byte
}

// A scan takes so many messages at a time, and waits so long for them.
const (
	scanSize = 256
	scanWait = 5 * time.Second
	// and asks again after so long where nobody answers.
	scanPause = 2 * time.Millisecond
)

// Scan visits the messages of a stream that match a filter (empty: all, which is
// cheaper than a wildcard), oldest first, from a sequence on (0: from the first),
// as many as there are when it begins; visit returns false to end it. For streams
// that anyone may read, which work queues are not. The error wraps
// ErrUnavailable.
func (c *Conn) Scan(ctx context.Context, stream, filter string, from uint64, visit func(Stored) bool) error {
	s := scan{next: from, left: math.MaxUint64, visit: visit}
	for stalled := false; ; {
		before := s.next
		done, err := s.read(ctx, c, stream, filter)
		if err == nil && !done && s.next == before {
			if stalled {
				err = fmt.Errorf("%w: messages that are there don't come", ErrUnavailable)
			}
			stalled = true
		} else {
			stalled = false
		}
		if err != nil || done {
			return err
		}
	}
}

// scan is how far a scan has come.
type scan struct {
	next  uint64 // in the stream
	left  uint64 // messages
	visit func(Stored) bool
}

// read goes on with a consumer of its own, until it is done or messages fail to
// come: the stream may have forgotten them, they may have been lost, or the
// server may be slow. What a new consumer still has tells.
func (s *scan) read(ctx context.Context, c *Conn, stream, filter string) (done bool, err error) {
	consumer, end, err := c.scanner(ctx, stream, filter, s.next)
	if err != nil {
		return false, err
	}
	defer end()
	s.left = min(s.left, consumer.CachedInfo().NumPending)
	unknown := time.Now().Add(scanWait)
	for read := uint64(0); s.left > 0; {
		most := int(min(s.left, scanSize))
		n, more, err := s.batch(ctx, consumer, most, read)
		read += uint64(n)
		switch {
		case errors.Is(err, nats.ErrNoResponders) && time.Now().Before(unknown) && pause(ctx, scanPause):
			// A consumer that was made on another server may not be known at ours yet.
		case err != nil:
			return false, fmt.Errorf("reading %s in stream %s: %w: %w", filter, stream, ErrUnavailable, err)
		case !more:
			return true, nil
		case n < most:
			return false, nil
		}
	}
	return true, nil
}

// pause reports whether it has waited.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Count returns how many messages of a stream match a filter. The error wraps
// ErrUnavailable.
func (c *Conn) Count(ctx context.Context, stream, filter string) (uint64, error) {
	n, _, err := c.CountFrom(ctx, stream, filter, 0)
	return n, err
}

// CountFrom is Count from a sequence on. In a cluster it says which server has
// counted: unless that is the stream's leader, it may not have the latest yet.
func (c *Conn) CountFrom(ctx context.Context, stream, filter string, from uint64) (n uint64, server string, err error) {
	consumer, end, err := c.scanner(ctx, stream, filter, from)
	if err != nil {
		return 0, "", err
	}
	defer end()
	info := consumer.CachedInfo()
	if info.Cluster != nil {
		server = info.Cluster.Leader
	}
	return info.NumPending, server, nil
}

// scanner makes a consumer; end deletes it.
func (c *Conn) scanner(ctx context.Context, stream, filter string, from uint64) (jetstream.Consumer, func(), error) {
	config := jetstream.ConsumerConfig{
		FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: 2 * scanWait,
	}
	if from > 0 {
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	consumer, err := c.JS.CreateConsumer(ctx, stream, config)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s in stream %s: %w: %w", filter, stream, ErrUnavailable, err)
	}
	return consumer, func() {
		// One that can't be deleted now goes after its InactiveThreshold.
		_ = c.JS.DeleteConsumer(context.WithoutCancel(ctx), stream, consumer.CachedInfo().Name)
	}, nil
}

// batch returns how many messages were visited behind those that the consumer
// has given, and whether to go on.
func (s *scan) batch(ctx context.Context, consumer jetstream.Consumer, most int, read uint64) (n int, more bool, err error) {
	wait, cancel := context.WithTimeout(ctx, scanWait)
	defer cancel()
	batch, err := consumer.Fetch(most, jetstream.FetchContext(wait))
	if err != nil {
		return 0, false, err
	}
	more, whole := true, true
	for msg := range batch.Messages() {
		if !more || !whole {
			continue // the rest of what was asked for
		}
		meta, err := msg.Metadata()
		if err != nil {
			return n, false, err
		}
		if whole = meta.Sequence.Consumer == read+uint64(n)+1; !whole {
			continue // one was lost on its way
		}
		n++
		s.left--
		s.next = meta.Sequence.Stream + 1
		more = s.visit(Stored{Seq: meta.Sequence.Stream, Subject: msg.Subject(), Time: meta.Timestamp, Data: msg.Data()})
	}
	if n == most || !more || !whole {
		return n, more, nil
	}
	if ctx.Err() == nil && (batch.Error() == nil || errors.Is(batch.Error(), context.DeadlineExceeded)) {
		return n, true, nil
	}
	return n, false, errors.Join(context.Cause(ctx), batch.Error())
}
