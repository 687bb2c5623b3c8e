package broker

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

func TestAcknowledgements(t *testing.T) {
	p := &publisher{names: map[string]string{}}
	for data, want := range map[string]outcome{
		`{"stream":"USER_0","seq":1}`:                                      {stream: "USER_0", seq: 1},
		`{"stream":"USER_0","seq":18446744073709551610}`:                   {stream: "USER_0", seq: math.MaxUint64 - 5},
		`{"stream":"A", "domain":"hub","seq":7}`:                           {stream: "A", seq: 7},
		`{"stream":"A","seq":7,"duplicate":true}`:                          {stream: "A", seq: 7},
		`{"stream":"\u0041\",\"seq\":9","seq":7}`:                          {stream: `A","seq":9`, seq: 7},
		`{"type":"io.nats.jetstream.api.v1.pub_ack","stream":"A","seq":3}`: {stream: "A", seq: 3},
	} {
		require.Equal(t, want, p.decode(&nats.Msg{Data: []byte(data)}), data)
	}
	for data, want := range map[string]string{
		``:                         "no stream takes the subject",
		`{"stream":"","seq":1}`:    "names no stream",
		`{"stream":"A","seq":}`:    "can't be read",
		`{"stream":"A","seq":1`:    "can't be read",
		`{"stream":"A","seq":1.5}`: "can't be read",
		`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"A","seq":0}`: "maximum bytes exceeded",
	} {
		require.ErrorContains(t, p.decode(&nats.Msg{Data: []byte(data)}).err, want, data)
	}
}

// A seat is used again only once its answer has come, so no answer reaches
// another publish.
func TestLateAnswersReachNobodyElse(t *testing.T) {
	conn := onPlatter(t, &platter{})
	requests := make(chan *nats.Msg, 1)
	_, err := conn.NATS.ChanSubscribe("slow", requests)
	require.NoError(t, err)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := conn.Publish(ctx, Message{Subject: "slow"})
		left <- err
	}()
	first := <-requests
	leave()
	require.ErrorIs(t, <-left, context.Canceled)

	answered := make(chan uint64, 1)
	publish := func() {
		seq, err := conn.Publish(t.Context(), Message{Subject: "slow", Later: true})
		if err != nil {
			t.Error(err)
		}
		answered <- seq
	}
	go publish()
	second := <-requests
	require.NotEqual(t, first.Reply, second.Reply)
	require.NoError(t, first.Respond([]byte(`{"stream":"A","seq":1}`)))
	require.NoError(t, second.Respond([]byte(`{"stream":"A","seq":2}`)))
	require.EqualValues(t, 2, <-answered)

	go publish()
	third := <-requests
	require.Contains(t, []string{first.Reply, second.Reply}, third.Reply, "both are free again")
	require.NoError(t, third.Respond([]byte(`{"stream":"A","seq":3}`)))
	require.EqualValues(t, 3, <-answered)
}

func TestSeatsEndWithTheConnection(t *testing.T) {
	p := &publisher{life: "0"}
	waiting, err := p.sit(&nats.Msg{})
	require.NoError(t, err)
	answered, err := p.sit(&nats.Msg{})
	require.NoError(t, err)
	answered.since = time.Time{}
	p.disconnected()
	require.ErrorIs(t, (<-waiting.answer).err, errDisconnected)
	p.release(answered)
	next, err := p.sit(&nats.Msg{})
	require.NoError(t, err)
	require.NotContains(t, []string{waiting.reply, answered.reply}, next.reply)
}

func TestPlainAckIsWhatTheServerSays(t *testing.T) {
	for _, seq := range []uint64{0, 1, 10, math.MaxUint64/10 - 1} {
		stream, got, ok := plainAck(fmt.Appendf(nil, `{"stream":"BOT_12","seq":%d}`, seq))
		require.True(t, ok)
		require.Equal(t, "BOT_12", string(stream))
		require.Equal(t, seq, got)
	}
}
