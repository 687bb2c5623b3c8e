package lane_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
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
	return newCountedRates(client, prometheus.NewRegistry())
}

func newCountedRates(client ledger.Client, metrics prometheus.Registerer) *ratelimit.Limiter {
	o := ratelimit.Options{Log: zap.NewNop(), Metrics: metrics}
	if client != nil {
		o.Redis = client
	}
	return ratelimit.New(o)
}

// decidedAlone is how often limiters decided without Redis.
func decidedAlone(t *testing.T, metrics prometheus.Gatherer) (n float64) {
	t.Helper()
	families, err := metrics.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "parley_ratelimit_local_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// decisions are what engines that share a rate were granted, and what they made
// of it.
type decisions struct {
	t  *testing.T
	mu sync.Mutex
	// all has the span of each call in which tokens were granted, or, below 0,
	// given back.
	all     []decision
	granted int // less what was given back
	made    int
}

type decision struct {
	from, to time.Time
	n        int
}

// of returns rates whose decisions are noted.
func (d *decisions) of(rates lane.Rates) lane.Rates { return decidedRates{rates, d} }

type decidedRates struct {
	lane.Rates
	noted *decisions
}

func (r decidedRates) Take(name string, rate chat.Rate, n int) ratelimit.Decision {
	from := time.Now()
	decided := r.Rates.Take(name, rate, n)
	r.noted.note(from, decided.Granted)
	return decided
}

func (r decidedRates) GiveBack(name string, rate chat.Rate, n int) {
	// First: another may be granted them as soon as they are back.
	r.noted.note(time.Now(), -n)
	r.Rates.GiveBack(name, rate, n)
}

func (d *decisions) note(from time.Time, n int) {
	if n == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, decision{from, time.Now(), n})
	d.granted += n
}

// attempt is called by each attempt: there is none that was not granted.
func (d *decisions) attempt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made++
	assert.LessOrEqual(d.t, d.made, d.granted, "attempts of those granted")
}

// requireKept asserts that in no second more was decided than a rate and its
// burst, so many times, and that four fifths of what was granted were used.
// When the attempts themselves are made depends on how soon a busy machine runs
// them; that each was granted before doesn't.
func (d *decisions) requireKept(r chat.Rate, times int) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, first := range d.all {
		n := 0
		for _, later := range d.all[i:] {
			if later.to.Sub(first.from) < time.Second && !later.from.Before(first.from) {
				n += later.n
			}
		}
		require.LessOrEqual(d.t, n, times*(r.Count+r.Burst), "within a second")
	}
	require.GreaterOrEqual(d.t, float64(d.made), .8*float64(d.granted), "used")
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

	noted, metrics := decisions{t: t}, prometheus.NewRegistry()
	r.handler.script["e"] = func(*lane.Task) lane.Verdict {
		noted.attempt()
		return lane.Done()
	}
	r.handler.setPolicy("e", lane.Policy{Schedule: many, Rate: limit})
	for _, name := range []string{"one", "two"} {
		client, err := ledger.Connect(server.URL)
		require.NoError(t, err)
		t.Cleanup(func() { _ = client.Close() })
		r.worker(name, noted.of(newCountedRates(client, prometheus.WrapRegistererWith(prometheus.Labels{"worker": name}, metrics))))
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == convs*messages })
	times := 1
	if decidedAlone(t, metrics) > 0 {
		// Redis was late, and each worker decided by itself for a second, beside what
		// they had had together.
		times = 3
	}
	noted.requireKept(limit, times)
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

// What waits for a rate and gets no attempt doesn't wait for its turn: whose time
// is up ends, and uses up nothing.
func TestExpiryOverTheRate(t *testing.T) {
	withEachSource(t, func(r *rig) {
		const convs, messages = 5, 3
		limit := chat.Rate{Count: 1, Per: time.Hour, Burst: 2}
		r.handler.policy["e"] = lane.Policy{Schedule: quick, Rate: limit}
		rates := newRates(nil)
		require.Equal(r.t, 1, rates.Take("bot-destination:e", limit, 1).Granted)
		r.handler.script["e"] = func(*lane.Task) lane.Verdict { return lane.Done() }
		r.startWith(rates)
		r.publish("e", "first", 1)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 1 })
		r.handler.setPolicy("e", lane.Policy{Schedule: quick, Rate: limit, ExpireAfter: soon})
		for place := range messages {
			for c := range convs {
				r.publish("e", strconv.Itoa(c), place+1)
			}
		}
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeExpired] == convs*messages })
		for c := range convs {
			require.Zero(r.t, r.handler.tries["e "+strconv.Itoa(c)])
		}
		require.Zero(r.t, rates.Take("bot-destination:e", limit, 1).Granted, "nobody gives back what it was not granted")
		r.requireEmpty()
	})
}

// An operator's command reaches a lane that waits for a rate; an attempt that is
// asked for waits for it as any other.
func TestCommandOverTheRate(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.handler.policy["e"] = lane.Policy{Schedule: quick, Rate: chat.Rate{Count: 1, Per: time.Hour, Burst: 1}}
		r.startWith(newRates(nil))
		r.publish("e", "first", 1)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 1 })
		for place := range 3 {
			r.publish("e", "a", place+1)
		}
		r.awaitParked("e", "a", 3)
		r.command("e", "a", lane.Skip)
		r.command("e", "a", lane.RetryNow)
		require.Zero(r.t, r.handler.tries["e a"])
		r.command("e", "a", lane.Discard)
		require.Equal(r.t, map[uint64]string{1: lane.ReasonSkipped, 2: lane.ReasonDiscarded, 3: lane.ReasonDiscarded}, r.reasons())
		r.publish("e", "a", 4)
		r.handler.setPolicy("e", lane.Policy{Schedule: quick})
		r.engine.Wake("e")
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2 })
		require.Equal(r.t, []uint64{4}, r.handler.seen["e a"])
		r.requireEmpty()
	})
}

// A worker that ends with lanes waiting for a rate leaves them to the next, and
// the waiting of its own doesn't use the rate up.
func TestHandOverOfWaitingLanes(t *testing.T) {
	r := newRig(t)
	limit := chat.Rate{Count: 50, Per: time.Second, Burst: 1}
	r.handler.policy["e"] = lane.Policy{Schedule: many, Rate: limit}
	noted := decisions{t: t}
	rates := noted.of(newRates(nil))
	r.handler.script["e"] = func(*lane.Task) lane.Verdict {
		noted.attempt()
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
	noted.requireKept(limit, 1)
	r.requireEmpty()
}
