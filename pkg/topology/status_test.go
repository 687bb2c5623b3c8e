package topology_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestReadStatus(t *testing.T) {
	conn := brokertest.New(t)
	empty, err := topology.ReadStatus(t.Context(), conn.JS, brokertest.Layout)
	require.NoError(t, err)
	require.Len(t, empty.Stages, 2)
	require.Nil(t, empty.Stages[0].Oldest)
	require.Len(t, empty.Stages[0].Partitions, brokertest.Layout.Partitions)
	require.Positive(t, empty.Dead.MaxBytes)

	publish := func(m broker.Message) {
		m.Data = []byte("x")
		_, err := conn.Publish(t.Context(), m)
		require.NoError(t, err)
	}
	key, other := chat.KeyOf("shop", "1"), chat.KeyOf("shop", "2")
	for range 3 {
		publish(broker.Message{Subject: topology.HotSubject(chat.StageUser, 1, "shop", key)})
	}
	consumer, err := conn.JS.CreateConsumer(t.Context(), topology.HotStream(chat.StageUser, 1),
		jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	require.NoError(t, err)
	_, err = consumer.Next()
	require.NoError(t, err)

	accepted := time.Unix(1_700_000_000, 0)
	for _, k := range []chat.ConversationKey{key, key, other} {
		messages, state := topology.LaneSubjects(chat.StageBot, 0, "crm", k)
		publish(broker.Message{Subject: state, Rollup: true})
		publish(broker.Message{Subject: messages, Headers: map[string]string{
			topology.HeaderTime: strconv.FormatInt(accepted.UnixNano(), 10),
		}})
	}
	publish(broker.Message{Subject: topology.DeadSubject(chat.StageBot, "shop", "crm", key, "msg_1")})

	s, err := topology.ReadStatus(t.Context(), conn.JS, brokertest.Layout)
	require.NoError(t, err)
	user, bot := s.Stages[0], s.Stages[1]
	require.EqualValues(t, 3, user.Waiting)
	p := user.Partitions[1]
	require.EqualValues(t, 2, p.Pending)
	require.Equal(t, 1, p.InFlight)
	require.True(t, p.Consumed)
	require.False(t, user.Partitions[0].Consumed)
	require.Equal(t, p.Oldest, user.Oldest)
	require.NotNil(t, user.Oldest)
	require.EqualValues(t, 2, bot.Parked.Lanes)
	require.EqualValues(t, 3, bot.Parked.Messages)
	require.Equal(t, accepted.UTC(), *bot.Oldest)
	require.EqualValues(t, 1, s.Dead.Messages)
}
