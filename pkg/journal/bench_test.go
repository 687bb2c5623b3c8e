package journal

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
)

// benchEntries are the turn and the delivery of a message in a conversation.
func benchEntries(conversation string) (*chat.Turn, *chat.Delivery) {
	at := time.UnixMilli(1785240000000)
	key := chat.KeyOf("shop", conversation)
	ordinal := chat.Ordinal{Epoch: 1785240000000, Counter: 17, InputAt: 1785240000000}
	in := chat.UserMessage{
		ID: chat.NewMessageID(at, key, 1), ChannelID: "shop", ConversationID: conversation, AcceptedAt: at, ConfigRevision: 9,
		Input: chat.Input{Kind: chat.InputText, Body: []byte(`{"text":"` + strings.Repeat("x", 200) + `"}`)},
	}
	out := chat.BotMessage{
		ID: chat.BotMessageID(at, key, in.ID, 0), ChannelID: "shop", ConversationID: conversation, BotID: "pizza", InputID: in.ID,
		Ordinal: ordinal, CreatedAt: at, ConfigRevision: 9, Event: chat.EventMessage, Message: []byte(`{"text":"` + strings.Repeat("x", 200) + `"}`),
	}
	return &chat.Turn{At: at, Input: in, Output: []chat.BotMessage{out}, BotID: "pizza", Duration: time.Millisecond, Outcome: chat.OutcomeProcessed},
		&chat.Delivery{
			At: at, ChannelID: "shop", ConversationID: conversation, MessageID: out.ID, EndpointID: "customer", Ordinal: ordinal, AttemptNumber: 1,
			Attempt: &chat.Attempt{At: at, Duration: time.Millisecond, Status: 200, Excerpt: []byte("ok")}, Outcome: chat.OutcomeDelivered,
		}
}

func BenchmarkEncode(b *testing.B) {
	turn, delivery := benchEntries("1")
	for name, e := range map[string]entry{"turn": {turn: turn}, "delivery": {delivery: delivery}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := encode(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWrite is an entry's whole way to its confirmation by the broker, while
// many are under way.
func BenchmarkWrite(b *testing.B) {
	const underWay = 1024
	p := benchPublisher{Conn: brokertest.New(b), room: make(chan struct{}, underWay)}
	w, err := NewWriter(p, Options{}, prometheus.NewRegistry())
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	turns, deliveries := make([]*chat.Turn, 64), make([]*chat.Delivery, 64)
	for i := range turns {
		turns[i], deliveries[i] = benchEntries(strconv.Itoa(i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		p.room <- struct{}{}
		if i%2 == 0 {
			w.Turn(turns[i/2%64])
		} else {
			w.Delivery(deliveries[i/2%64])
		}
	}
	for range underWay {
		p.room <- struct{}{}
	}
	b.StopTimer()
	cancel()
	require.NoError(b, <-ended)
}

// benchPublisher gives room for what is confirmed.
type benchPublisher struct {
	*broker.Conn

	room chan struct{}
}

func (p benchPublisher) PublishAll(ctx context.Context, ms ...broker.Message) (uint64, error) {
	seq, err := p.Conn.PublishAll(ctx, ms...)
	for range ms {
		<-p.room
	}
	return seq, err
}
