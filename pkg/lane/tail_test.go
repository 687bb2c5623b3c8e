package lane_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/topology"
)

// soleRig is a work queue with a source that has it to itself.
type soleRig struct {
	t      *testing.T
	conn   *broker.Conn
	store  *lane.JetStream
	source lane.Source
	stream jetstream.Stream
	next   int // the number in the next message
}

func newSoleRig(t *testing.T) *soleRig {
	t.Helper()
	conn := brokertest.New(t)
	store, err := lane.NewJetStream(t.Context(), conn, chat.StageBot, 0)
	require.NoError(t, err)
	store.Sole = true
	stream, err := conn.JS.Stream(t.Context(), topology.HotStream(chat.StageBot, 0))
	require.NoError(t, err)
	return &soleRig{t: t, conn: conn, store: store, stream: stream}
}

func (r *soleRig) open() {
	r.t.Helper()
	var err error
	r.source, err = r.store.Open(r.t.Context(), 1)
	require.NoError(r.t, err)
}

func (r *soleRig) close() {
	r.t.Helper()
	require.NoError(r.t, r.source.Close(r.t.Context(), true))
}

// publish stores messages, by the connection that the source follows.
func (r *soleRig) publish(n int) {
	r.t.Helper()
	for range n {
		_, err := r.conn.Publish(r.t.Context(), broker.Message{Subject: subjectOfSole, Data: r.data()})
		require.NoError(r.t, err)
	}
}

// publishUnseen stores a message behind the feed's back.
func (r *soleRig) publishUnseen() {
	r.t.Helper()
	_, err := r.conn.JS.Publish(r.t.Context(), subjectOfSole, r.data())
	require.NoError(r.t, err)
}

var subjectOfSole = topology.HotSubject(chat.StageBot, 0, "c", chat.ConversationKey{})

func (r *soleRig) data() []byte {
	r.next++
	return []byte(strconv.Itoa(r.next))
}

// take requires the next deliveries to be those of the messages first..last.
func (r *soleRig) take(first, last int) []*lane.Delivery {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	var out []*lane.Delivery
	for i := first; i <= last; i++ {
		d, err := r.source.Next(ctx)
		require.NoError(r.t, err)
		require.Equal(r.t, strconv.Itoa(i), string(d.Data))
		out = append(out, d)
	}
	return out
}

func ack(ds ...*lane.Delivery) {
	for _, d := range ds {
		d.Ack()
	}
}

// requireLeft waits until so many messages are in the stream.
func (r *soleRig) requireLeft(n int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		info, err := r.stream.Info(r.t.Context())
		return err == nil && info.State.Msgs == uint64(n)
	}, 20*time.Second, 5*time.Millisecond)
}

func TestTailDeliversAllInOrder(t *testing.T) {
	r := newSoleRig(t)
	r.publish(300) // more than one read
	r.open()
	r.publish(3)
	ack(r.take(1, 303)...)
	r.publish(2)
	ack(r.take(304, 305)...)
	r.publishUnseen()
	r.publish(2)
	ack(r.take(306, 308)...)
	r.requireLeft(0)
	r.publish(1)
	d := r.take(309, 309)[0]
	require.EqualValues(t, 309, d.Seq)
	require.EqualValues(t, 309, d.Number)
	require.WithinDuration(t, time.Now(), d.Time, time.Minute)
	r.close()
	names := r.stream.ConsumerNames(t.Context())
	for name := range names.Name() {
		t.Errorf("there is consumer %s", name)
	}
	require.NoError(t, names.Err())
}

// What was stored behind the feed's back, and is followed by nothing, is found
// too.
func TestTailLooksForWhatItWasNotToldOf(t *testing.T) {
	r := newSoleRig(t)
	r.open()
	r.publish(1)
	r.take(1, 1)
	found := make(chan error, 1)
	go func() {
		d, err := r.source.Next(t.Context())
		if err == nil && string(d.Data) != "2" {
			err = errors.New("another message")
		}
		found <- err
	}()
	r.publishUnseen()
	select {
	case err := <-found:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		t.Error("nobody looked")
	}
	r.close()
}

// What is settled goes as soon as all before it has; what is not comes again.
func TestTailRemovesWhatIsSettled(t *testing.T) {
	r := newSoleRig(t)
	r.publish(20)
	r.open()
	ds := r.take(1, 20)
	ack(ds[:3]...)
	r.requireLeft(17) // one by one
	ack(ds[4:]...)
	r.close()
	r.requireLeft(17) // the fourth holds them

	r.open()
	ds = r.take(4, 20)
	ack(ds[:16]...)
	r.requireLeft(1)
	r.close()
	r.open()
	ack(r.take(20, 20)...)
	r.close()
	r.requireLeft(0)
}

// What no mark says to be settled doesn't wait for others.
func TestTailForgetsOutOfTurn(t *testing.T) {
	r := newSoleRig(t)
	r.publish(5)
	r.open()
	ds := r.take(1, 5)
	r.source.Forget(ds[2].Seq)
	ack(ds[2])
	r.requireLeft(4)
	ack(ds[3])
	r.source.Forget(ds[3].Seq)
	r.source.Forget(ds[3].Seq)
	r.requireLeft(3)
	r.source.Forget(99)
	ack(ds[0], ds[1])
	r.requireLeft(1)
	r.close()
	r.open()
	r.take(5, 5)
	r.close()
}

func TestTailSaysWhoHoldsTheOthersUp(t *testing.T) {
	r := newSoleRig(t)
	r.publish(80)
	r.open()
	ds := r.take(1, 80)
	ack(ds[0])
	_, held := r.source.HeldUp(time.Now())
	require.False(t, held, "not for long")
	seq, held := r.source.HeldUp(time.Now().Add(time.Minute))
	require.True(t, held)
	require.Equal(t, ds[1].Seq, seq)
	ack(ds[1:20]...)
	_, held = r.source.HeldUp(time.Now().Add(time.Minute))
	require.False(t, held, "not many")
	r.close()
}

// A source that can't remove is of no use: the partition is opened anew, and
// that is told of.
func TestTailEndsWhenItCannotRemove(t *testing.T) {
	r := newSoleRig(t)
	r.publish(1)
	r.open()
	ds := r.take(1, 1)
	config := r.stream.CachedInfo().Config
	config.DenyDelete, config.DenyPurge = true, true
	_, err := r.conn.JS.UpdateStream(t.Context(), config)
	require.NoError(t, err)
	ack(ds...)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = r.source.Next(ctx)
	require.ErrorContains(t, err, "removing a settled message of stream BOT_0")
	require.Error(t, r.source.Close(t.Context(), false))
}

// The consumer of a time when the work queue was shared goes; a later owner's
// stays.
func TestTailTakesOverFromAConsumer(t *testing.T) {
	r := newSoleRig(t)
	r.publish(2)
	r.store.Sole = false
	source, err := r.store.Open(t.Context(), 1)
	require.NoError(t, err)
	d, err := source.Next(t.Context())
	require.NoError(t, err)
	d.Ack()
	r.requireLeft(1)
	require.NoError(t, source.Close(t.Context(), false))
	r.store.Sole = true
	r.open()
	ack(r.take(2, 2)...)
	r.close()
	r.requireLeft(0)

	r.store.Sole = false
	later, err := r.store.Open(t.Context(), 7)
	require.NoError(t, err)
	r.store.Sole = true
	_, err = r.store.Open(t.Context(), 6)
	require.ErrorIs(t, err, lane.ErrFenced)
	require.NoError(t, later.Close(t.Context(), true))
}

// A head that takes long is parked once it keeps others in the work queue.
func TestWhatHoldsTheQueueUpIsParked(t *testing.T) {
	r := newRig(t)
	r.sole = true
	open := make(chan struct{})
	r.handler.script["slow"] = func(*lane.Task) lane.Verdict {
		<-open
		return lane.Done()
	}
	r.start()
	r.publish("slow", "a", 1)
	const others = 200
	for i := range others {
		r.publish("fast", "a", i+1)
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == others })
	stream, err := r.conn.JS.Stream(t.Context(), topology.HotStream(chat.StageBot, chat.KeyOf("c", "a").Partition(brokertest.Layout.Partitions)))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && info.State.Msgs == 0
	}, 20*time.Second, 5*time.Millisecond)
	close(open)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == others+1 })
	require.Equal(t, 1, r.handler.tries["slow a"])
	r.requireEmpty()
}

// Where the ledger fails, only the removal says that a message is settled.
func TestUnmarkedIsRemovedAtOnce(t *testing.T) {
	r := newRig(t)
	r.sole = true
	open := make(chan struct{})
	defer close(open)
	r.handler.script["slow"] = func(*lane.Task) lane.Verdict {
		<-open
		return lane.Done()
	}
	r.memory.deaf = true
	r.start()
	r.publish("slow", "a", 1)
	for i := range 3 {
		r.publish("fast", "a", i+1)
	}
	stream, err := r.conn.JS.Stream(t.Context(), topology.HotStream(chat.StageBot, chat.KeyOf("c", "a").Partition(brokertest.Layout.Partitions)))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && info.State.Msgs == 1
	}, 20*time.Second, 5*time.Millisecond)
}
