package lane_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/ledger"
	"github.com/parleyhq/parley/pkg/ledger/redistest"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/ratelimit"
)

func newRates(client ledger.Client) *ratelimit.Limiter {
	o := ratelimit.Options{Log: zap.NewNop(), Metrics: prometheus.NewRegistry()}
	if client != nil {
		o.Redis = client
	}
	return ratelimit.New(o)
}

// arrivals are the times at which attempts were made.
type arrivals struct {
	mu sync.Mutex
	at []time.Time
}

func (a *arrivals) note() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
}

func (a *arrivals) all() []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.at)
}

// requireKept asserts that no second had more than a rate and its burst, and
// that four fifths of the rate were used.
func requireKept(t *testing.T, at []time.Time, r chat.Rate) {
	t.Helper()
	from := 0
	for i := range at {
		for at[i].Sub(at[from]) >= time.Second {
			from++
		}
		require.LessOrEqual(t, i-from+1, r.Count+r.Burst, "within a second")
	}
	took := at[len(at)-1].Sub(at[0])
	require.GreaterOrEqual(t, float64(len(at)), .8*float64(r.Count)*took.Seconds(), "%d in %s", len(at), took)
}

// worker runs an engine beside others; partitions are shared.
func (r *rig) worker(name string, rates lane.Rates) {
	r.t.Helper()
	owner, err := partition.NewShared(r.t.Context(), r.conn.JS, chat.StageBot, brokertest.Layout.Partitions, name, partition.Options{Log: zap.NewNop()})
	require.NoError(r.t, err)
	engine := lane.New(lane.Options{
		Stage: chat.StageBot, Marks: r.memory, Graveyard: r.memory, Rates: rates,
		Log: zaptest.NewLogger(r.t, zaptest.Level(zap.ErrorLevel)), Metrics: prometheus.NewRegistry(),
		Open: func(ctx context.Context, p int) (lane.Store, error) {
			return lane.NewJetStream(ctx, r.conn, chat.StageBot, p)
		},
	}, r.handler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx, owner) }()
	stop := r.stop
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(r.t, <-done)
		if stop != nil {
			stop()
		}
	})
	r.t.Cleanup(r.stop)
}

// A backlog of parked lanes drains at its endpoint's rate, over two workers
// together, in order, and uses the rate.
func TestParkedBacklogKeepsToTheRate(t *testing.T) {
	for name, size := range map[string]struct{ convs, messages int }{"long lanes": {60, 10}, "many lanes": {600, 1}} {
		t.Run(name, func(t *testing.T) { testParkedBacklogKeepsToTheRate(t, size.convs, size.messages) })
	}
}

func testParkedBacklogKeepsToTheRate(t *testing.T, convs, messages int) {
	t.Helper()
	server := redistest.Start(t)
	r := newRig(t)
	limit := chat.Rate{Count: 200, Per: time.Second, Burst: 40}
	r.handler.policy["e"] = lane.Policy{Schedule: many, Closed: "for now"}
	r.start()
	for place := range messages {
		for c := range convs {
			r.publish("e", strconv.Itoa(c), place+1)
		}
	}
	r.requireParked(t, convs*messages)
	r.stop()

	var made arrivals
	r.handler.script["e"] = func(*lane.Task) lane.Verdict {
		made.note()
		return lane.Done()
	}
	r.handler.setPolicy("e", lane.Policy{Schedule: many, Rate: limit})
	for _, name := range []string{"one", "two"} {
		client, err := ledger.Connect(server.URL)
		require.NoError(t, err)
		t.Cleanup(func() { _ = client.Close() })
		r.worker(name, newRates(client))
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == convs*messages })
	requireKept(t, made.all(), limit)
	for c := range convs {
		require.Equal(t, upTo(messages), r.handler.seen["e "+strconv.Itoa(c)])
		require.Equal(t, messages, r.handler.tries["e "+strconv.Itoa(c)], "what waited for the rate was no attempt")
	}
	r.requireEmpty()
}

// requireParked waits until so many messages stand in the parked stream.
func (r *rig) requireParked(t *testing.T, n int) {
	t.Helper()
	stream, err := r.conn.JS.Stream(t.Context(), "BOT_PARKED")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && int(info.State.Msgs) >= n
	}, 20*time.Second, 5*time.Millisecond)
}

// startWith starts the engine with rates.
func (r *rig) startWith(rates lane.Rates) {
	r.rates = rates
	r.start()
}

// An endpoint that has used up its rate holds nobody up: its lanes wait without
// a place at the worker's gate, where there is but one.
func TestOverTheRateHoldsNobodyUp(t *testing.T) {
	r := newRig(t)
	r.handler.policy["slow"] = lane.Policy{Schedule: quick, Rate: chat.Rate{Count: 1, Per: time.Minute, Burst: 2}}
	r.inFlight = 1
	r.startWith(newRates(nil))
	for c := range 10 {
		r.publish("slow", strconv.Itoa(c), 1)
	}
	for c := range 100 {
		r.publish("free", strconv.Itoa(c), 1)
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 102 })
	tries := 0
	for c := range 10 {
		tries += r.handler.tries["slow "+strconv.Itoa(c)]
	}
	require.Equal(t, 2, tries)

	// A new rate counts at once for who waits, and none lets all through.
	r.handler.setPolicy("slow", lane.Policy{Schedule: quick, Rate: chat.Rate{Count: 1, Per: time.Minute, Burst: 4}})
	r.engine.Wake("slow")
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 106 })
	r.handler.setPolicy("slow", lane.Policy{Schedule: quick})
	r.engine.Wake("slow")
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 110 })
	r.requireEmpty()
}

// Who is turned away without an attempt (closed, not due, emptied) uses up
// nothing: the rate is there for those that make one.
func TestOnlyAttemptsCount(t *testing.T) {
	r := newRig(t)
	const convs = 20
	r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
		if task.Number == 1 {
			return lane.Retry(0, errors.New("no"))
		}
		return lane.Done()
	}
	r.handler.policy["e"] = lane.Policy{Schedule: many, Rate: chat.Rate{Count: 1, Per: time.Minute, Burst: 2 * convs}}
	r.startWith(newRates(nil))
	for c := range convs { // each lane is parked, tried again, emptied
		r.publish("e", strconv.Itoa(c), 1)
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == convs })
	r.requireEmpty()
}

// A worker that ends with lanes waiting for a rate leaves them to the next, and
// the waiting of its own doesn't use the rate up.
func TestHandOverOfWaitingLanes(t *testing.T) {
	r := newRig(t)
	rates := newRates(nil)
	limit := chat.Rate{Count: 50, Per: time.Second, Burst: 1}
	r.handler.policy["e"] = lane.Policy{Schedule: many, Rate: limit}
	var made arrivals
	r.handler.script["e"] = func(*lane.Task) lane.Verdict {
		made.note()
		return lane.Done()
	}
	r.startWith(rates)
	const convs = 100
	for c := range convs {
		r.publish("e", fmt.Sprint(c), 1)
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] >= 20 })
	r.stop()
	r.startWith(rates)
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == convs })
	for c := range convs {
		require.Equal(t, 1, r.handler.tries["e "+fmt.Sprint(c)])
	}
	requireKept(t, made.all()[25:], limit)
	r.requireEmpty()
}
