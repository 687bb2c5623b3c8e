package broker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var subject = topology.HotSubject(chat.StageUser, 1, "shop", chat.KeyOf("shop", "1"))

func TestPublish(t *testing.T) {
	conn := brokertest.New(t)
	require.NoError(t, conn.Ready())
	seq, err := conn.Publish(t.Context(), broker.Message{Subject: subject, Data: []byte("a"), Headers: map[string]string{"X": "1"}})
	require.NoError(t, err)
	require.EqualValues(t, 1, seq)
	stream, err := conn.JS.Stream(t.Context(), topology.HotStream(chat.StageUser, 1))
	require.NoError(t, err)
	stored, err := stream.GetMsg(t.Context(), seq)
	require.NoError(t, err)
	require.Equal(t, "a", string(stored.Data))
	require.Equal(t, "1", stored.Header.Get("X"))

	zero := uint64(0)
	_, err = conn.Publish(t.Context(), broker.Message{Subject: subject, Data: []byte("b"), ExpectLast: &zero})
	require.ErrorIs(t, err, broker.ErrConflict)
	next, err := conn.Publish(t.Context(), broker.Message{Subject: subject, Data: []byte("b"), ExpectLast: &seq})
	require.NoError(t, err)
	require.EqualValues(t, 2, next)
	_, err = conn.Publish(t.Context(), broker.Message{Subject: "nobody.listens", Data: []byte("b")})
	require.ErrorIs(t, err, broker.ErrUnavailable)
}

func TestPublishTwiceUnderOneID(t *testing.T) {
	conn := brokertest.New(t)
	first, err := conn.Publish(t.Context(), broker.Message{Subject: subject, ID: "once"})
	require.NoError(t, err)
	second, err := conn.Publish(t.Context(), broker.Message{Subject: subject, ID: "once"})
	require.NoError(t, err)
	require.Equal(t, first, second)
}

func TestRollupReplaces(t *testing.T) {
	conn := brokertest.New(t)
	_, state := topology.LaneSubjects(chat.StageBot, 0, "crm", chat.KeyOf("shop", "1"))
	for _, s := range []string{"one", "two"} {
		_, err := conn.Publish(t.Context(), broker.Message{Subject: state, Data: []byte(s), Rollup: true})
		require.NoError(t, err)
	}
	stream, err := conn.JS.Stream(t.Context(), topology.ParkedStream(chat.StageBot))
	require.NoError(t, err)
	require.EqualValues(t, 1, stream.CachedInfo().State.Msgs)
}

func TestFull(t *testing.T) {
	conn := brokertest.New(t)
	_, err := conn.JS.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "TINY", Subjects: []string{"tiny"}, MaxBytes: 1024, Discard: jetstream.DiscardNew,
	})
	require.NoError(t, err)
	m := broker.Message{Subject: "tiny", Data: make([]byte, 600)}
	_, err = conn.Publish(t.Context(), m)
	require.NoError(t, err)
	_, err = conn.Publish(t.Context(), m)
	require.ErrorIs(t, err, broker.ErrFull)
	require.NotErrorIs(t, err, broker.ErrUnavailable)
}

func TestShutdown(t *testing.T) {
	dir := t.TempDir()
	srv, err := broker.StartServer(options(dir), zap.NewNop())
	require.NoError(t, err)
	conn, err := srv.Connect("test", zap.NewNop())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	require.NoError(t, srv.Close(t.Context()))

	// Publishes end by themselves: nobody gives them a deadline.
	var g errgroup.Group
	for range 20 {
		g.Go(func() error {
			_, err := conn.Publish(t.Context(), broker.Message{Subject: subject})
			return err
		})
	}
	require.ErrorIs(t, g.Wait(), broker.ErrUnavailable)
	require.Eventually(t, func() bool { return errors.Is(conn.Ready(), broker.ErrUnavailable) }, 10*time.Second, time.Millisecond)
	conn.Close()
	_, err = conn.Publish(t.Context(), broker.Message{Subject: subject})
	require.ErrorIs(t, err, broker.ErrUnavailable)
}
