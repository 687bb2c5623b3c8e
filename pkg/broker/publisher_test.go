package broker_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

func hotSubject() string {
	return topology.HotSubject(chat.StageUser, 1, "shop", chat.KeyOf("shop", "1"))
}

func TestConcurrentPublishesEachGetTheirOwnSequence(t *testing.T) {
	conn := brokertest.New(t)
	const n = 500
	seqs := make([]uint64, n)
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			seqs[i], errs[i] = conn.Publish(t.Context(), broker.Message{Subject: hotSubject(), Data: []byte("x")})
		})
	}
	group.Wait()
	require.NoError(t, errors.Join(errs...))
	slices.Sort(seqs)
	for i, seq := range seqs {
		require.EqualValues(t, i+1, seq)
	}
}

func TestPublishIsBoundedByItsContext(t *testing.T) {
	conn := brokertest.New(t)
	_, err := conn.NATS.SubscribeSync("deaf") // takes, and never answers
	require.NoError(t, err)
	reason := errors.New("not needed any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	_, err = conn.Publish(ctx, broker.Message{Subject: "deaf"})
	require.ErrorIs(t, err, broker.ErrUnavailable)
	require.ErrorIs(t, err, reason)
}

func TestCloseFailsWhatIsUnanswered(t *testing.T) {
	conn := brokertest.New(t)
	sub, err := conn.NATS.SubscribeSync("deaf")
	require.NoError(t, err)
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Publish(context.WithoutCancel(t.Context()), broker.Message{Subject: "deaf"})
		failed <- err
	}()
	_, err = sub.NextMsgWithContext(t.Context()) // it is under way
	require.NoError(t, err)
	conn.Close()
	require.ErrorIs(t, <-failed, broker.ErrUnavailable)
	_, err = conn.Publish(t.Context(), broker.Message{Subject: "deaf"})
	require.ErrorIs(t, err, broker.ErrUnavailable)
}

func TestPublishAll(t *testing.T) {
	conn := brokertest.New(t)
	key := chat.KeyOf("shop", "1")
	messages := make([]broker.Message, 300)
	for i := range messages {
		messages[i] = broker.Message{Subject: topology.JournalSubject("shop", key), Data: []byte(strconv.Itoa(i))}
	}
	seq, err := conn.PublishAll(t.Context(), messages...)
	require.NoError(t, err)
	require.EqualValues(t, len(messages), seq)
	n := 0
	require.NoError(t, conn.Scan(t.Context(), topology.StreamJournal, topology.JournalFilter("shop", key), 0, func(m broker.Stored) bool {
		require.Equal(t, strconv.Itoa(n), string(m.Data), "in their order")
		n++
		return true
	}))
	require.Equal(t, len(messages), n)
	seq, err = conn.PublishAll(t.Context(), messages[0])
	require.NoError(t, err)
	require.EqualValues(t, len(messages)+1, seq)

	_, err = conn.PublishAll(t.Context(), messages[0], broker.Message{Subject: "nowhere"})
	require.ErrorIs(t, err, broker.ErrUnavailable)
	messages[0].Data = make([]byte, broker.MaxPayload+1)
	_, err = conn.PublishAll(t.Context(), messages...)
	require.ErrorContains(t, err, "maximum payload")
}

// What a publish costs with many under way, beside that of nats.go: to the
// journal, which drops its oldest and so is never full.
func BenchmarkPublish(b *testing.B) {
	conn := brokertest.New(b)
	data := make([]byte, 512)
	subject := topology.JournalSubject("shop", chat.KeyOf("shop", "1"))
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := conn.Publish(b.Context(), broker.Message{Subject: subject, Data: data}); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("nats.go", func(b *testing.B) {
		js, err := jetstream.New(conn.NATS)
		require.NoError(b, err)
		b.ReportAllocs()
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				future, err := js.PublishAsync(subject, data)
				if err != nil {
					b.Error(err)
					return
				}
				select {
				case <-future.Ok():
				case err := <-future.Err():
					b.Error(err)
				}
			}
		})
	})
}
