package lane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/broker"
)

// tail is a source without a consumer, where this process alone writes and reads
// the work queue: it hands on what the process stores, reads what it missed from
// the stream, and removes what is settled in long runs. So a message costs the
// broker neither a delivery nor an acknowledgement.
//
// What is settled stands in the queue until all before it is settled too, and a
// little longer. A process that is killed then meets it again, as it meets one
// whose acknowledgement was lost, and the mark, or the session, says that it is
// done. What nothing says this of is removed at once, see Forget.
type tail struct {
	conn   *broker.Conn
	stream jetstream.Stream
	name   string
	feed   *broker.Feed

	// For Next alone.
	ready  []broker.Fed
	from   uint64 // what is to be delivered next has at least this sequence
	behind bool   // the stream may have more than the feed
	number uint64

	mu     sync.Mutex
	queue  []delivered // in order; those before the first open one are settled
	open   int         // the place of the first that isn't settled
	since  time.Time   // when that became the first
	urgent []uint64    // to be removed at once

	rest time.Time // no purge before this; for who removes alone

	hurry   chan struct{}
	stop    context.CancelFunc
	stopped chan struct{}
	failed  chan error // takes one
}

// delivered is a message that was handed to the engine.
type delivered struct {
	seq     uint64
	settled bool
	forget  bool // nothing but its removal says that it is settled
	gone    bool // removed by itself
}

const (
	// readSize is how many messages are read from the stream at a time.
	readSize = 256
	// lookEvery is how often the stream is looked at though the feed says that
	// there is nothing.
	lookEvery = 10 * time.Second
	// removeTick is how often settled messages are looked for, removeRun how
	// many are removed together, and removeWithin how long fewer may stand.
	removeTick   = 100 * time.Millisecond
	removeRun    = 256
	removeWithin = 500 * time.Millisecond
	// removeSingly is how many are removed one by one: a purge costs as much.
	removeSingly = 4
	// removeRest is how many times as long as a purge took nothing is purged
	// again: the server writes its index of the stream each time, which takes
	// as long as the stream has subjects.
	removeRest = 64
	// heldUp is how long one message may keep others, so many, from being removed.
	heldUp     = time.Second
	heldUpSome = 64
)

func newTail(ctx context.Context, conn *broker.Conn, stream jetstream.Stream) *tail {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	name := stream.CachedInfo().Config.Name
	t := &tail{
		conn: conn, stream: stream, name: name, feed: conn.Follow(name), from: 1, behind: true,
		hurry: make(chan struct{}, 1), stop: stop, stopped: make(chan struct{}), failed: make(chan error, 1),
	}
	go t.remover(ctx)
	return t
}

// Next implements Source.
func (t *tail) Next(ctx context.Context) (*Delivery, error) {
	for len(t.ready) == 0 {
		if err := t.fill(ctx); err != nil {
			return nil, err
		}
	}
	m := t.ready[0]
	t.ready[0] = broker.Fed{}
	t.ready = t.ready[1:]
	t.from = m.Seq + 1
	t.number++
	t.deliver(m.Seq)
	seq := m.Seq // alone, so that nothing keeps the rest
	return &Delivery{
		Message: Message{Seq: seq, Time: m.Time, Data: m.Data, Replay: replayOf(m.Header), Traceparent: traceparentOf(m.Header)},
		Number:  t.number,
		Ack:     func() { t.settle(seq) },
	}, nil
}

// fill gets what comes next, or waits until there may be something.
func (t *tail) fill(ctx context.Context) error {
	select {
	case err := <-t.failed:
		return err
	default:
	}
	run, behind := t.feed.Take(t.from)
	if t.behind = t.behind || behind; len(run) > 0 {
		t.ready = run
		return nil
	}
	if t.behind {
		return t.read(ctx)
	}
	look := time.NewTimer(lookEvery)
	defer look.Stop()
	select {
	case <-t.feed.More():
	case <-look.C:
		t.behind = true
	case err := <-t.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// read reads from the stream; where it finds nothing, all is with the feed.
func (t *tail) read(ctx context.Context) error {
	found, err := t.conn.ReadNext(ctx, t.name, ">", t.from, readSize)
	if err != nil {
		return err
	}
	t.behind = len(found) > 0
	t.ready = make([]broker.Fed, len(found))
	for i, m := range found {
		t.ready[i] = broker.Fed{Seq: m.Sequence, Time: m.Time, Data: m.Data, Header: m.Header}
	}
	return nil
}

func (t *tail) deliver(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == len(t.queue) {
		t.since = time.Now()
	}
	t.queue = append(t.queue, delivered{seq: seq})
}

// find returns what was delivered and is not removed; the mutex is held.
func (t *tail) find(seq uint64) *delivered {
	i, ok := slices.BinarySearchFunc(t.queue, seq, func(d delivered, seq uint64) int { return cmp.Compare(d.seq, seq) })
	if !ok {
		return nil
	}
	return &t.queue[i]
}

// settle notes that a message may be removed.
func (t *tail) settle(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.find(seq)
	if d == nil {
		return
	}
	d.settled = true
	if d.forget {
		t.hasten(seq)
	}
	before := t.open
	for t.open < len(t.queue) && t.queue[t.open].settled {
		t.open++
	}
	if t.open > before {
		t.since = time.Now()
	}
	if before == 0 && t.open > 0 {
		t.wake()
	}
}

// Forget implements Source.
func (t *tail) Forget(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.find(seq)
	if d == nil || d.forget {
		return
	}
	d.forget = true
	if d.settled {
		t.hasten(seq)
	}
}

// hasten has a message removed at once; the mutex is held.
func (t *tail) hasten(seq uint64) {
	t.urgent = append(t.urgent, seq)
	t.wake()
}

// wake has the remover look.
func (t *tail) wake() {
	select {
	case t.hurry <- struct{}{}:
	default:
	}
}

// HeldUp implements Source.
func (t *tail) HeldUp(now time.Time) (seq uint64, held bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue)-t.open <= heldUpSome || now.Sub(t.since) < heldUp {
		return 0, false
	}
	return t.queue[t.open].seq, true
}

// remover removes what is settled until the source is closed or the broker
// refuses; then the partition is opened anew.
func (t *tail) remover(ctx context.Context) {
	defer close(t.stopped)
	var last time.Time
	for {
		var tick <-chan time.Time // while there is something to remove
		if t.removable() > 0 {
			tick = time.After(removeTick)
		}
		select {
		case <-tick:
		case <-t.hurry:
		case <-ctx.Done():
			return
		}
		err := t.removeUrgent(ctx)
		now := time.Now()
		if n := t.removable(); err == nil && now.After(t.rest) && (n >= removeRun || n > 0 && now.Sub(last) >= removeWithin) {
			err = t.removeSettled(ctx)
			last = time.Now()
		}
		if err != nil && ctx.Err() == nil {
			t.failed <- err
			return
		}
	}
}

func (t *tail) removable() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// removeUrgent removes messages out of their turn.
func (t *tail) removeUrgent(ctx context.Context) error {
	t.mu.Lock()
	urgent := slices.Clone(t.urgent)
	t.mu.Unlock()
	if len(urgent) == 0 {
		return nil
	}
	if err := t.conn.Sync(ctx); err != nil { // what came of them
		return err
	}
	for _, seq := range urgent {
		if err := t.removeOne(ctx, seq); err != nil {
			return err
		}
		t.mu.Lock()
		t.urgent = t.urgent[1:]
		if d := t.find(seq); d != nil {
			d.gone = true
		}
		t.mu.Unlock()
	}
	return nil
}

func (t *tail) removeOne(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	err := t.stream.DeleteMsg(ctx, seq)
	if err == nil {
		return nil
	}
	// The refusal of one that isn't there is like any other.
	if _, gone := t.stream.GetMsg(ctx, seq); errors.Is(gone, jetstream.ErrMsgNotFound) {
		return nil
	}
	return fmt.Errorf("removing a settled message of stream %s: %w", t.name, err)
}

// removeTimeout bounds one removal.
const removeTimeout = 10 * time.Second

// removeSettled removes all before the first that is open.
func (t *tail) removeSettled(ctx context.Context) error {
	t.mu.Lock()
	settled := slices.Clone(t.queue[:t.open])
	t.mu.Unlock()
	if len(settled) == 0 {
		return nil
	}
	if err := t.conn.Sync(ctx); err != nil { // what came of them
		return err
	}
	last := len(settled) - 1
	if len(settled) > removeSingly {
		// Not the last one: to purge all of a stream is dearer.
		limited, cancel := context.WithTimeout(ctx, removeTimeout)
		began := time.Now()
		err := t.stream.Purge(limited, jetstream.WithPurgeSequence(settled[last].seq))
		cancel()
		t.rest = time.Now().Add(removeRest * time.Since(began))
		if err != nil {
			return fmt.Errorf("removing settled messages of stream %s: %w", t.name, err)
		}
		settled = settled[last:]
	}
	for _, d := range settled {
		if d.gone {
			continue
		}
		if err := t.removeOne(ctx, d.seq); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = slices.Clone(t.queue[last+1:])
	t.open -= last + 1
	return nil
}

// Close implements Source. What is settled is removed, whether the partition is
// released or opened anew.
func (t *tail) Close(ctx context.Context, _ bool) error {
	t.conn.Unfollow(t.feed)
	t.stop()
	<-t.stopped
	if err := t.removeUrgent(ctx); err != nil {
		return err
	}
	return t.removeSettled(ctx)
}
