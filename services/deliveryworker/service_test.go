package deliveryworker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/ledger"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{})
	require.ErrorContains(t, err, "a part is missing")
}

// start runs the service until the returned function is called.
func (r *rig) start(change ...func(*Options)) (stop func()) {
	r.t.Helper()
	o := r.options()
	var err error
	o.Owner, err = partition.NewSole(r.t.Context(), r.conn.JS, chat.StageBot, brokertest.Layout.Partitions, "test")
	require.NoError(r.t, err)
	o.Graveyard, err = deadletter.New(r.t.Context(), r.conn)
	require.NoError(r.t, err)
	kv, err := r.conn.KV(r.t.Context(), topology.BucketLedger)
	require.NoError(r.t, err)
	o.Marks = ledger.NewBucket(kv)
	for _, c := range change {
		c(&o)
	}
	svc, err := New(o)
	require.NoError(r.t, err)
	r.service = svc
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(r.t, <-ended)
		})
	}
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) publish(conversation string, m *lane.Message) {
	r.t.Helper()
	key := chat.KeyOf(channel, conversation)
	subject := topology.HotSubject(chat.StageBot, key.Partition(brokertest.Layout.Partitions), channel, key)
	_, err := r.conn.Publish(r.t.Context(), broker.Message{Subject: subject, Data: m.Data})
	require.NoError(r.t, err)
}

// TestDeliveredInOrder runs the whole stage against two endpoints that fail at
// random.
func TestDeliveredInOrder(t *testing.T) {
	const conversations, messages = 10, 15
	r := newRig(t)
	customers := map[string]*webhooktest.Receiver{}
	confirmed := map[string][]uint64{} // by endpoint and conversation
	posts := 0
	var mu sync.Mutex
	for _, id := range []string{"a", "b"} {
		customers[id] = webhooktest.New(t, webhooktest.WithScript(func(_ int, p *webhooktest.Received) webhooktest.Reply {
			mu.Lock()
			defer mu.Unlock()
			posts++
			switch rand.IntN(8) {
			case 0:
				return webhooktest.Reply{Status: http.StatusInternalServerError}
			case 1:
				return webhooktest.Reply{Fault: webhooktest.Reset}
			}
			name := id + " " + p.Body.SenderID
			confirmed[name] = append(confirmed[name], p.Body.MessageCounter)
			return webhooktest.Reply{}
		}))
		r.endpoint(id, customers[id].URL(), func(e *chat.Endpoint) {
			for range 20 {
				e.Retry = append(e.Retry, chat.Duration(time.Millisecond))
			}
			e.Retry = append(e.Retry, chat.Duration(time.Hour)) // nothing has waited too long
		})
	}
	for n := range uint64(messages) {
		for c := range conversations {
			conversation := fmt.Sprint("c", c)
			r.publish(conversation, r.message(conversation, n+1))
		}
	}
	stop := r.start()
	r.journal.await(t, chat.OutcomeDelivered, 2*conversations*messages)
	stop()

	require.Len(t, confirmed, 2*conversations)
	for name, counters := range confirmed {
		require.Len(t, counters, messages, name)
		for i, n := range counters {
			require.EqualValues(t, i+1, n, name)
		}
	}
	require.Len(t, r.journal.deliveries, posts, "an entry for each attempt")
	for _, d := range r.journal.deliveries {
		require.NotNil(t, d.Attempt)
		require.Positive(t, d.AttemptNumber)
	}

	// All is settled: nothing is sent once more after a restart.
	r.publish("c0", r.message("c0", messages+1))
	stop = r.start()
	r.journal.await(t, chat.OutcomeDelivered, 2*conversations*messages+2)
	stop()
	require.Len(t, confirmed["a c0"], messages+1)
	require.Len(t, confirmed["b c0"], messages+1)
}

func TestGoneParksUntilEnabled(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t, webhooktest.WithScript(func(n int, _ *webhooktest.Received) webhooktest.Reply {
		if n == 1 {
			return webhooktest.Reply{Status: http.StatusGone}
		}
		return webhooktest.Reply{}
	}))
	short := func(e *chat.Endpoint) {
		e.Retry = []chat.Duration{chat.Duration(time.Millisecond), chat.Duration(time.Hour)}
	}
	r.endpoint("a", customer.URL(), short)
	stop := r.start()
	r.publish("c1", r.message("c1", 1))
	r.journal.await(t, chat.OutcomeRetry, 1)
	require.Equal(t, answeredGone, r.h.Policy("a").Closed)
	r.publish("c1", r.message("c1", 2))
	r.publish("c2", r.message("c2", 1))
	stop()
	require.Len(t, customer.All(), 1, "nothing is sent to who wants no more")

	r.start()
	r.endpoint("a", "", func(e *chat.Endpoint) { e.Disabled = "" })
	r.journal.await(t, chat.OutcomeDelivered, 3)
	var c1 []uint64
	for _, p := range customer.Conversation("c1")[1:] {
		c1 = append(c1, p.Body.MessageCounter)
	}
	require.Equal(t, []uint64{1, 2}, c1)
}

// TestExpired: what is too old is not sent, nor is what was parked when it gets
// too old; each is journalled and counted.
func TestExpired(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		return webhooktest.Reply{Status: http.StatusInternalServerError}
	}))
	r.endpoint("a", customer.URL(), func(e *chat.Endpoint) {
		e.Retry = []chat.Duration{chat.Duration(time.Hour)}
		e.ExpireAfter = chat.Duration(time.Hour)
	})
	r.start()
	r.publish("c1", r.message("c1", 1, func(m *chat.BotMessage) { m.CreatedAt = time.Now().Add(-2 * time.Hour) }))
	r.publish("c1", r.message("c1", 2, func(m *chat.BotMessage) { m.ExpiresAt = time.Now().Add(500 * time.Millisecond) }))
	expired := r.journal.await(t, chat.OutcomeExpired, 2)
	for i, d := range expired {
		require.EqualValues(t, i+1, d.Ordinal.Counter)
		require.Nil(t, d.Attempt)
		require.Equal(t, chat.ExpiredByTime, d.Reason)
	}
	require.Len(t, customer.All(), 1, "the second, before its time was up")
	require.NoError(t, testutil.GatherAndCompare(r.metrics, strings.NewReader(`
# HELP parley_delivery_outcomes_total Attempts and ends of bot messages at endpoints, by outcome.
# TYPE parley_delivery_outcomes_total counter
parley_delivery_outcomes_total{outcome="dead"} 0
parley_delivery_outcomes_total{outcome="delivered"} 0
parley_delivery_outcomes_total{outcome="discarded"} 0
parley_delivery_outcomes_total{outcome="expired"} 2
parley_delivery_outcomes_total{outcome="filtered"} 0
parley_delivery_outcomes_total{outcome="retry"} 1
parley_delivery_outcomes_total{outcome="unrouted"} 0
`), "parley_delivery_outcomes_total"))
}

func TestPausedEndpointSendsInOrderWhenResumed(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t)
	r.endpoint("a", customer.URL(), func(e *chat.Endpoint) { e.Paused = "moving" })
	r.endpoint("b", customer.URL())
	stop := r.start()
	for n := range uint64(3) {
		r.publish("c1", r.message("c1", n+1))
	}
	r.journal.await(t, chat.OutcomeDelivered, 3)
	stop() // a pause lasts
	r.start()
	r.endpoint("a", "", func(e *chat.Endpoint) { e.Disabled, e.Paused = "too", "" })
	r.publish("c1", r.message("c1", 4))
	r.journal.await(t, chat.OutcomeDelivered, 4)
	r.endpoint("a", "", func(e *chat.Endpoint) { e.Disabled = "" })
	var sent []uint64
	for _, d := range r.journal.await(t, chat.OutcomeDelivered, 8)[4:] {
		require.Equal(t, "a", d.EndpointID)
		sent = append(sent, d.Ordinal.Counter)
	}
	require.Equal(t, []uint64{1, 2, 3, 4}, sent)
	require.Empty(t, r.journal.with(chat.OutcomeRetry))
}

func TestRemovedEndpointsMessagesBecomeDeadLetters(t *testing.T) {
	r := newRig(t)
	r.endpoint("a", "https://example.com/a", func(e *chat.Endpoint) { e.Disabled = "paused" })
	m := r.message("c1", 1)
	r.publish("c1", m)
	r.start()
	// It is taken up and parked: the work queue is empty then.
	stream, err := r.conn.JS.Stream(t.Context(), topology.HotStream(chat.StageBot, chat.KeyOf(channel, "c1").Partition(brokertest.Layout.Partitions)))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && info.State.Msgs == 0
	}, 30*time.Second, 10*time.Millisecond)
	_, err = r.registry.DeleteEndpoint(t.Context(), "a", registry.Present)
	require.NoError(t, err)
	dead := r.journal.await(t, chat.OutcomeDead, 1)
	require.Equal(t, "a", dead[0].EndpointID)
	letters, err := deadletter.New(t.Context(), r.conn)
	require.NoError(t, err)
	found, err := letters.Get(t.Context(), dead[0].MessageID)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, reasonEndpointRemoved, found[0].Reason)
	require.Equal(t, m.Data, found[0].Data)
}

// An endpoint gets what its rate allows, the rest waits without an attempt; a
// changed rate counts at once, for what waits.
func TestRateLimit(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t)
	limited := func(text string) func(*chat.Endpoint) {
		rate, err := chat.ParseRate(text)
		require.NoError(t, err)
		return func(e *chat.Endpoint) { e.RateLimit = &rate }
	}
	r.endpoint("crm", customer.URL(), limited("1/m:2"))
	r.start()
	const conversations = 6
	for c := range conversations {
		name := fmt.Sprint(c)
		r.publish(name, r.message(name, 1))
	}
	r.journal.await(t, chat.OutcomeDelivered, 2)
	r.endpoint("crm", customer.URL(), limited("1/m:3"))
	r.journal.await(t, chat.OutcomeDelivered, 5)
	r.endpoint("crm", customer.URL(), limited("off"))
	for _, d := range r.journal.await(t, chat.OutcomeDelivered, conversations) {
		require.Equal(t, 1, d.AttemptNumber)
	}
}
