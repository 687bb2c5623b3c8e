package event

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stored is a broker that keeps what is published, and refuses what it is told to.
type stored struct {
	mu       sync.Mutex
	messages []broker.Message
	refuse   func(n int) error // the n-th publish, from 0
	asked    int
	hold     chan struct{} // if not nil, a publish waits for it
}

func (s *stored) Publish(ctx context.Context, m broker.Message) (uint64, error) {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.refuse != nil {
		if err := s.refuse(s.asked - 1); err != nil {
			return 0, err
		}
	}
	s.messages = append(s.messages, m)
	return uint64(len(s.messages)), nil
}

// decoded returns what was published.
func (s *stored) decoded(t *testing.T) []*chat.BotMessage {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*chat.BotMessage
	for _, m := range s.messages {
		bm, err := wire.DecodeBotMessage(m.Data)
		require.NoError(t, err)
		require.Equal(t, bm.ID, m.ID, "a publish whose answer was lost doesn't make two")
		require.Equal(t, topology.HotSubject(chat.StageBot, bm.Key().Partition(8), bm.ChannelID, bm.Key()), m.Subject)
		out = append(out, bm)
	}
	return out
}

// asked is a configuration in which an endpoint of the channel shop asks for all
// but endpoint.failing.
type asked struct{ snapshot *registry.Snapshot }

func (a asked) Snapshot() *registry.Snapshot { return a.snapshot }

func configuration(t *testing.T) asked {
	t.Helper()
	sealer, err := registry.NewSealer(make([]byte, registry.KeySize))
	require.NoError(t, err)
	reg, err := registry.Open(t.Context(), brokertest.New(t).JS, registry.Options{Sealer: sealer})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- reg.Run(ctx) }()
	_, _, err = reg.PutBot(ctx, chat.Bot{ID: "pizza", Kind: registry.BotEcho}, registry.Absent)
	require.NoError(t, err)
	_, err = reg.PutChannel(ctx, chat.Channel{ID: "shop", BotID: "pizza"}, registry.Absent)
	require.NoError(t, err)
	_, _, err = reg.PutEndpoint(ctx, chat.Endpoint{
		ID: "desk", ChannelID: "shop", URL: "https://example.com", VerifyToken: "t",
		Sending: chat.Sending{Secrets: []chat.Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}},
		Events: []string{
			chat.EventDeliveryFailed, chat.EventDeadLetterCreated, chat.EventEndpointDisabled, chat.EventEndpointRecovered,
		},
	}, registry.Absent)
	require.NoError(t, err)
	cancel()
	require.NoError(t, <-ended)
	return asked{reg.Snapshot()}
}

func newPublisher(t *testing.T, a asked, b Broker, change ...func(*Options)) (*Publisher, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	o := Options{Partitions: 8, Broker: b, Directory: a, Log: zap.New(core), Metrics: prometheus.NewRegistry()}
	for _, c := range change {
		c(&o)
	}
	p, err := New(o)
	require.NoError(t, err)
	return p, logs
}

// drained runs the publisher until all that was raised has left.
func drained(t *testing.T, p *Publisher) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, p.Run(ctx))
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{})
	require.ErrorContains(t, err, "at least 1")
	_, err = New(Options{Partitions: 1})
	require.ErrorContains(t, err, "a part is missing")
	_, err = New(Options{Partitions: 1, Queue: -1, Broker: &stored{}, Directory: asked{}, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()})
	require.ErrorContains(t, err, "negative")
}

func TestWhatIsRaised(t *testing.T) {
	b := &stored{}
	a := configuration(t)
	p, _ := newPublisher(t, a, b)
	at := time.UnixMilli(1_700_000_000_000).UTC()
	key := chat.KeyOf("shop", "ann")
	failed := Event{
		Kind: chat.EventDeliveryFailed, ChannelID: "shop", EndpointID: "crm", MessageID: chat.BotMessageID(at, key, "in", 0),
		ConversationID: "ann", Reason: "exhausted", Error: "HTTP 500", At: at.Add(time.Hour),
	}
	p.Raise(failed)
	again := failed
	again.At = at.Add(2 * time.Hour)
	p.Raise(again)
	replayed := failed
	replayed.Replay = "r1"
	p.Raise(replayed)
	dead := failed
	dead.Kind = chat.EventDeadLetterCreated
	p.Raise(dead)
	p.RaiseEndpoint(chat.EventEndpointRecovered, "shop", "crm", "answers again")
	p.RaiseEndpoint(chat.EventEndpointFailing, "shop", "crm", "nobody asks for it")
	p.RaiseEndpoint(chat.EventEndpointRecovered, "other", "crm", "nobody asks for it there")
	p.Raise(Event{Kind: chat.EventDeadLetterCreated, ChannelID: "shop", MessageID: chat.KeyedMessageID(key, "shop", "k"), Reason: "refused", At: at})
	drained(t, p)

	got := b.decoded(t)
	require.Len(t, got, 6)
	require.Equal(t, got[0].ID, got[1].ID, "of one cause there is one event, whenever it is raised")
	ids := map[string]bool{}
	for _, m := range got[1:] {
		ids[m.ID] = true
		require.Equal(t, "shop", m.ChannelID)
		require.Equal(t, a.snapshot.Revision(), m.ConfigRevision)
		require.True(t, m.Ordinal.IsZero())
		_, parsed, err := chat.ParseMessageID(m.ID)
		require.NoError(t, err)
		require.Equal(t, m.Key(), parsed)
	}
	require.Len(t, ids, 5, "and of another cause another")
	require.Equal(t, failed.At, got[0].CreatedAt)
	require.JSONEq(t, `{"endpointId":"crm","conversationId":"ann","messageId":"`+failed.MessageID+`","reason":"exhausted","error":"HTTP 500"}`, string(got[0].Message))
	require.Equal(t, got[0].Key(), got[4].Key(), "what is about one endpoint comes in order")
	require.NotEqual(t, key, got[0].Key())
	require.JSONEq(t, `{"endpointId":"crm","reason":"answers again"}`, string(got[4].Message))
	require.NotEqual(t, got[0].Key(), got[5].Key())
	require.EqualValues(t, 3, testutil.ToFloat64(p.metrics.raised[chat.EventDeliveryFailed]))
	require.Zero(t, testutil.ToFloat64(p.metrics.dropped))

	p.Raise(Event{Kind: chat.EventUserMessage, ChannelID: "shop"})
	require.EqualValues(t, 1, testutil.ToFloat64(p.metrics.dropped), "what stands in a conversation is not raised")
}

func TestRaiseNeverBlocks(t *testing.T) {
	a := configuration(t)
	synctest.Test(t, func(t *testing.T) {
		b := &stored{hold: make(chan struct{})}
		p, logs := newPublisher(t, a, b, func(o *Options) { o.Queue = 3 })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		raise := func(n int) {
			for range n {
				p.RaiseEndpoint(chat.EventEndpointDisabled, "shop", "crm", "gone")
				synctest.Wait()
			}
		}
		raise(104) // one under way, three queued
		require.EqualValues(t, 100, testutil.ToFloat64(p.metrics.dropped))
		require.Equal(t, 1, logs.FilterMessage("an event was dropped").Len(), "one a second")
		time.Sleep(time.Second) //nolint:forbidigo // in a bubble: no time passes
		raise(1)
		require.Equal(t, 2, logs.FilterMessage("an event was dropped").Len())

		cancel()
		require.NoError(t, <-ended)
		require.EqualValues(t, 105, testutil.ToFloat64(p.metrics.dropped), "what isn't published in time at the end")
		require.Empty(t, b.messages)
	})
}

func TestRefusedEventIsPublishedLater(t *testing.T) {
	b := &stored{refuse: func(n int) error {
		if n < 3 {
			return errors.New("not now")
		}
		return nil
	}}
	a := configuration(t)
	synctest.Test(t, func(t *testing.T) {
		p, logs := newPublisher(t, a, b)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		p.RaiseEndpoint(chat.EventEndpointDisabled, "shop", "crm", "first")
		p.RaiseEndpoint(chat.EventEndpointRecovered, "shop", "crm", "then")
		synctest.Wait()
		b.mu.Lock()
		require.Equal(t, 1, b.asked)
		b.mu.Unlock()
		cancel() // what is queued has the drain's time
		require.NoError(t, <-ended)
		require.Equal(t, 1, logs.Len())
	})
	got := b.decoded(t)
	require.Len(t, got, 2)
	require.Equal(t, []string{chat.EventEndpointDisabled, chat.EventEndpointRecovered}, []string{got[0].Event, got[1].Event})
}
