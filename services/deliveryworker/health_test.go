package deliveryworker

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/event"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// board shares circuits through the broker, as another process does.
func (r *rig) board(o health.CircuitOptions, changed func(endpoint string)) *health.Board {
	r.t.Helper()
	store, err := health.NewBucket(r.t.Context(), r.conn, zap.NewNop())
	require.NoError(r.t, err)
	b, err := health.NewBoard(health.BoardOptions{
		Store: store, Instance: "test", Circuit: o, Log: zap.NewNop(),
		Changed: func(key string, _ health.State) {
			_, endpoint := topology.ParseHealthKey(key)
			changed(endpoint)
		},
	})
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		require.NoError(r.t, <-ended)
	})
	require.Eventually(r.t, b.Shared, 10*time.Second, time.Millisecond)
	return b
}

// withBoard runs the service with circuits.
func (r *rig) withBoard(o health.CircuitOptions, change ...func(*Options)) (*Service, *health.Board) {
	r.t.Helper()
	var svc atomic.Pointer[Service]
	b := r.board(o, func(endpoint string) {
		if s := svc.Load(); s != nil {
			s.CircuitChanged(endpoint)
		}
	})
	r.start(append(change, func(o *Options) {
		o.Circuits = func(endpoint string) Circuit { return b.Destination(topology.HealthKey(chat.StageBot, endpoint)) }
	})...)
	svc.Store(r.service)
	return r.service, b
}

// broken is a customer whose endpoint fails until it is mended.
func broken(t *testing.T) (customer *webhooktest.Receiver, mend func()) {
	t.Helper()
	var well atomic.Bool
	customer = webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		if well.Load() {
			return webhooktest.Reply{}
		}
		return webhooktest.Reply{Status: http.StatusInternalServerError}
	}))
	return customer, func() { well.Store(true) }
}

// confirmed is the counters of a conversation's confirmed messages, in order.
func (r *rig) confirmed(conversation string) (counters []uint64) {
	for _, d := range r.journal.with(chat.OutcomeDelivered) {
		if d.ConversationID == conversation {
			counters = append(counters, d.Ordinal.Counter)
		}
	}
	return counters
}

// An endpoint that fails gets no more than a few attempts and then the probes,
// whatever waits for it; when one succeeds everything arrives, in order.
func TestOpenCircuitSparesTheEndpoint(t *testing.T) {
	const failures, conversations, messages = 5, 30, 3
	r := newRig(t)
	customer, mend := broken(t)
	r.endpoint("a", customer.URL())
	_, board := r.withBoard(health.CircuitOptions{Failures: failures, CoolDown: 100 * time.Millisecond})
	for n := range uint64(messages) {
		for c := range conversations {
			conversation := fmt.Sprint("c", c)
			r.publish(conversation, r.message(conversation, n+1))
		}
	}
	probes := func() int {
		return board.Destination(topology.HealthKey(chat.StageBot, "a")).Status(time.Now()).Openings - 1
	}
	require.Eventually(t, func() bool { return probes() >= 3 }, 20*time.Second, time.Millisecond)
	attempts, after := len(customer.All()), probes()
	require.LessOrEqual(t, attempts, failures+health.NewLimit(health.LimitOptions{}).Cap()+after+1)
	mend()
	r.journal.await(t, chat.OutcomeDelivered, conversations*messages)
	for c := range conversations {
		require.Equal(t, []uint64{1, 2, 3}, r.confirmed(fmt.Sprint("c", c)))
	}
}

// The messages of one lane whose endpoint is down for good are given up about as
// soon as their short schedule says, though an open circuit may wait for 30 s.
func TestOpenCircuitKeepsToAShortSchedule(t *testing.T) {
	const messages = 20
	r := newRig(t)
	customer, _ := broken(t)
	r.endpoint("a", customer.URL(), func(e *chat.Endpoint) {
		e.Retry = slices.Repeat([]chat.Duration{chat.Duration(10 * time.Millisecond)}, 2)
	})
	r.withBoard(health.CircuitOptions{})
	for n := range uint64(messages) {
		r.publish("one", r.message("one", n+1))
	}
	began := time.Now()
	r.journal.await(t, chat.OutcomeDead, messages)
	require.Less(t, time.Since(began), 30*time.Second, "one pause of a circuit that doesn't know the schedule")
}

// tellTale keeps what it is told of endpoints.
type tellTale struct {
	mu        sync.Mutex
	endpoints []string
}

func (*tellTale) Raise(event.Event) {}

func (t *tellTale) RaiseEndpoint(kind, channelID, endpointID, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if reason != "" {
		t.endpoints = append(t.endpoints, kind+" "+channelID+" "+endpointID)
	}
}

// An endpoint that does nothing but fail is warned of, then disabled; what waits
// arrives in order once it is enabled again, and that it has recovered is told.
func TestFailingEndpointIsDisabled(t *testing.T) {
	const conversations = 12
	r := newRig(t)
	customer, mend := broken(t)
	r.endpoint("a", customer.URL(), func(e *chat.Endpoint) {
		e.Retry = append(slices.Repeat([]chat.Duration{chat.Duration(20 * time.Millisecond)}, 49), chat.Duration(time.Hour))
	})
	var told tellTale
	svc, _ := r.withBoard(health.CircuitOptions{Failures: 3, CoolDown: 5 * time.Millisecond, MaxCoolDown: 10 * time.Millisecond}, func(o *Options) {
		o.DisableAfter = 400 * time.Millisecond
		o.Events = &told
	})
	for c := range conversations {
		conversation := fmt.Sprint("c", c)
		r.publish(conversation, r.message(conversation, 1))
		r.publish(conversation, r.message(conversation, 2))
	}
	disabled := func() string {
		svc.handler.judgeFailing(t.Context(), time.Now())
		e, _ := r.registry.Snapshot().Endpoint("a")
		return e.Disabled
	}
	require.Eventually(t, func() bool { return disabled() != "" }, 30*time.Second, 5*time.Millisecond)
	require.Contains(t, disabled(), "nothing but failures since ")
	require.InDelta(t, 1, testutil.ToFloat64(svc.handler.metrics.disabled[disabledFailing]), 0)
	require.InDelta(t, 1, testutil.ToFloat64(svc.handler.metrics.warned), 0)

	mend()
	r.endpoint("a", customer.URL(), func(e *chat.Endpoint) { e.Disabled = "" })
	r.journal.await(t, chat.OutcomeDelivered, 2*conversations)
	for c := range conversations {
		require.Equal(t, []uint64{1, 2}, r.confirmed(fmt.Sprint("c", c)))
	}
	require.Empty(t, disabled(), "what was before it was enabled is not held against it")
	told.mu.Lock()
	defer told.mu.Unlock()
	require.Equal(t, []string{"endpoint.failing shop a", "endpoint.disabled shop a", "endpoint.recovered shop a"}, told.endpoints)
}

func TestDisableAfter(t *testing.T) {
	for _, test := range []struct {
		own  time.Duration
		want time.Duration
	}{{0, time.Hour}, {time.Minute, time.Minute}, {-1, 0}} {
		h := &handler{Options: Options{DisableAfter: time.Hour}}
		require.Equal(t, test.want, h.disableAfter(&chat.Endpoint{DisableAfter: chat.Duration(test.own)}))
	}
}

func TestWhatAnAttemptSaysOfItsEndpoint(t *testing.T) {
	for _, test := range []struct {
		class webhook.Class
		kind  webhook.Kind
		want  health.Outcome
	}{
		{webhook.Delivered, "", health.Succeeded},
		{webhook.Throttled, "", health.Throttled},
		{webhook.Failed, "", health.Failed},
		{webhook.Gone, "", health.Failed},
		{webhook.Failed, webhook.KindTimeout, health.TimedOut},
		{webhook.Failed, webhook.KindRefused, health.Failed},
	} {
		var err error
		if test.kind != "" {
			err = &webhook.Failure{Kind: test.kind, Err: http.ErrHandlerTimeout}
		}
		require.Equal(t, test.want, saysOf(test.class, err), "%s %s", test.class, test.kind)
	}
}
