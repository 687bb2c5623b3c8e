package deliveryworker

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/event"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/ratelimit"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journalled keeps the journal's deliveries, and tells of each.
type journalled struct {
	mu         sync.Mutex
	deliveries []*chat.Delivery
	changed    chan struct{}
}

func (j *journalled) Flush(context.Context) error { return nil }

func (j *journalled) Delivery(d *chat.Delivery) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.deliveries = append(j.deliveries, d)
	close(j.changed)
	j.changed = make(chan struct{})
}

// with returns the deliveries of an outcome.
func (j *journalled) with(o chat.Outcome) []*chat.Delivery {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.of(o)
}

func (j *journalled) of(o chat.Outcome) []*chat.Delivery {
	var out []*chat.Delivery
	for _, d := range j.deliveries {
		if d.Outcome == o {
			out = append(out, d)
		}
	}
	return out
}

// await waits until there are n of an outcome.
func (j *journalled) await(t *testing.T, o chat.Outcome, n int) []*chat.Delivery {
	t.Helper()
	for {
		j.mu.Lock()
		got, changed := j.of(o), j.changed
		j.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			require.Fail(t, "the journal has not what is awaited", "%d of %d %s", len(got), n, o)
		}
	}
}

// rig is a handler on a real broker with real configuration and a real client.
type rig struct {
	t        testing.TB
	conn     *broker.Conn
	registry *registry.Registry
	sealer   *registry.Sealer
	guard    *webhook.Guard
	client   *webhook.Client
	sessions *session.Store
	lost     Sessions // in their place, where it is set
	journal  *journalled
	events   *event.Publisher
	metrics  *prometheus.Registry
	h        *handler
	service  *Service // that was started last
	seq      uint64
}

const channel = "shop"

func newRig(t testing.TB) *rig {
	t.Helper()
	sealer, err := registry.NewSealer(make([]byte, registry.KeySize))
	require.NoError(t, err)
	r := &rig{
		t: t, conn: brokertest.New(t), sealer: sealer, journal: &journalled{changed: make(chan struct{})},
		guard: &webhook.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AnyPort: true},
	}
	r.client, err = webhook.NewClient(webhook.Options{Guard: r.guard})
	require.NoError(t, err)
	t.Cleanup(r.client.Close)
	r.registry = r.open()
	r.events, err = event.New(event.Options{
		Partitions: brokertest.Layout.Partitions, Broker: r.conn, Directory: r.registry, Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	r.beside(r.events.Run)
	r.sessions, err = session.New(t.Context(), r.conn, brokertest.Layout.Partitions)
	require.NoError(t, err)
	_, _, err = r.registry.PutBot(t.Context(), chat.Bot{ID: "pizza", Kind: registry.BotEcho}, registry.Absent)
	require.NoError(t, err)
	_, err = r.registry.PutChannel(t.Context(), chat.Channel{ID: channel, BotID: "pizza"}, registry.Absent)
	require.NoError(t, err)
	r.h = newHandler(r.options())
	return r
}

// open opens the configuration as another process does.
func (r *rig) open() *registry.Registry {
	r.t.Helper()
	reg, err := registry.Open(r.t.Context(), r.conn.JS, registry.Options{Sealer: r.sealer, NewSecret: webhook.NewSecret})
	require.NoError(r.t, err)
	r.beside(reg.Run)
	return reg
}

// beside runs something until the test ends.
func (r *rig) beside(run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		require.NoError(r.t, <-ended)
	})
}

func (r *rig) options() Options {
	r.metrics = prometheus.NewRegistry()
	var sessions Sessions = r.sessions
	if r.lost != nil {
		sessions = r.lost
	}
	return Options{
		MaxRetryAfter: time.Hour,
		Open: func(ctx context.Context, p int) (lane.Store, error) {
			return lane.NewJetStream(ctx, r.conn, chat.StageBot, p)
		},
		Directory: r.registry, Sessions: sessions, Journal: r.journal, Events: r.events, Client: r.client, Guard: r.guard, Log: zap.NewNop(), Metrics: r.metrics,
		Rates: ratelimit.New(ratelimit.Options{Log: zap.NewNop(), Metrics: r.metrics}),
	}
}

// endpoint stores an endpoint of the channel.
func (r *rig) endpoint(id, url string, change ...func(*chat.Endpoint)) *chat.Endpoint {
	r.t.Helper()
	e := chat.Endpoint{ID: id, ChannelID: channel, URL: url, VerifyToken: "verify-me"}
	if old, ok := r.registry.Snapshot().Endpoint(id); ok {
		e = *old
	}
	for _, c := range change {
		c(&e)
	}
	_, _, err := r.registry.PutEndpoint(r.t.Context(), e, registry.Any)
	require.NoError(r.t, err)
	stored, ok := r.registry.Snapshot().Endpoint(id)
	require.True(r.t, ok)
	return stored
}

// message is a conversation's n-th bot message as the work queue has it.
func (r *rig) message(conversation string, n uint64, change ...func(*chat.BotMessage)) *lane.Message {
	r.t.Helper()
	r.seq++
	key := chat.KeyOf(channel, conversation)
	bm := &chat.BotMessage{
		ID:        chat.BotMessageID(time.UnixMilli(int64(n)), key, conversation, int(n)),
		ChannelID: channel, ConversationID: conversation, BotID: "pizza", InputID: "in",
		Ordinal:   chat.Ordinal{Epoch: 1, Counter: n, InputAt: int64(n)},
		CreatedAt: time.Now(), ConfigRevision: r.registry.Snapshot().Revision(),
		Event: chat.EventMessage, Message: []byte(`{"text":"` + strconv.FormatUint(n, 10) + `"}`),
	}
	for _, c := range change {
		c(bm)
	}
	data, err := wire.EncodeBotMessage(bm)
	require.NoError(r.t, err)
	return &lane.Message{Seq: r.seq, Time: time.UnixMilli(int64(n)), Data: data}
}

func (r *rig) route(m *lane.Message) []lane.Target {
	r.t.Helper()
	targets, err := r.h.Route(r.t.Context(), m)
	require.NoError(r.t, err)
	return targets
}

// task is the n-th attempt at a message for one endpoint.
func (r *rig) task(m *lane.Message, endpoint string, n int) *lane.Task {
	r.t.Helper()
	target, err := r.h.Restore(m, endpoint)
	require.NoError(r.t, err)
	return &lane.Task{Target: target, Message: m, Destination: r.h.Destination(endpoint), Number: n}
}
