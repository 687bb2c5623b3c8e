package ingest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/ledger/idempotency"
	"github.com/parleyhq/parley/pkg/ledger/idempotency/idempotencytest"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
	"github.com/parleyhq/parley/services/ingest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The configuration of every test: the bot "pizza" serves the channels "shop"
// and "app", the bot "solo" serves "one".
const (
	verifyShop = "verify-shop"
	verifyApp  = "verify-app"
	verifyBoth = "verify-both"
)

// harness is the service on a real broker, a real registry and a Redis.
type harness struct {
	contract *contract
	broker   *broker.Conn
	stop     func() // ends the broker
	redis    *miniredis.Miniredis
	metrics  *prometheus.Registry
	registry *registry.Registry
	sessions *session.Store
	logs     *observer.ObservedLogs
	url      string
	shop     string // tokens
	app      string
	one      string
	ops      string
	client   *http.Client
}

// newHarness starts the service; change (which may be nil) adjusts it first.
func newHarness(t *testing.T, change func(*ingest.Options, *ingest.Deps)) *harness {
	t.Helper()
	h := &harness{contract: loadContract(t), metrics: prometheus.NewPedanticRegistry()}
	h.broker, h.stop = brokertest.Start(t, t.TempDir())
	require.NoError(t, topology.Ensure(t.Context(), h.broker.JS, brokertest.Layout))
	config := h.configure(t)
	var err error
	h.sessions, err = session.New(t.Context(), h.broker, brokertest.Layout.Partitions)
	require.NoError(t, err)
	var once *idempotency.Store
	once, h.redis = idempotencytest.New(t)
	core, logs := observer.New(zap.InfoLevel)
	h.logs = logs

	o := ingest.Options{Addr: "127.0.0.1:0", Partitions: brokertest.Layout.Partitions}
	d := ingest.Deps{
		Publisher: h.broker, Config: snapshots(config), CatchUp: catchUp(config), Once: once, Metrics: h.metrics, Log: zap.New(core),
		Journal: journal.NewReader(h.broker), Sessions: h.sessions,
	}
	if change != nil {
		change(&o, &d)
	}
	h.start(t, o, d)
	return h
}

func (h *harness) start(t testing.TB, o ingest.Options, d ingest.Deps) {
	t.Helper()
	service, err := ingest.New(o, d)
	require.NoError(t, err)
	h.url = "http://" + service.Addr()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	h.client = &http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		require.NoError(t, <-done)
	})
}

func snapshots(r *registry.Registry) func() ingest.Config {
	return func() ingest.Config { return r.Snapshot() }
}

func catchUp(r *registry.Registry) func(context.Context) (ingest.Config, error) {
	return func(ctx context.Context) (ingest.Config, error) { return r.CatchUp(ctx) }
}

func (h *harness) configure(t testing.TB) *registry.Registry {
	t.Helper()
	sealer, err := registry.NewSealer(make([]byte, 32))
	require.NoError(t, err)
	r, err := registry.Open(t.Context(), h.broker.JS, registry.Options{Sealer: sealer})
	require.NoError(t, err)
	for _, bot := range []string{"pizza", "solo"} {
		_, _, err = r.PutBot(t.Context(), chat.Bot{ID: bot, Kind: "echo"}, registry.Absent)
		require.NoError(t, err)
	}
	for channel, bot := range map[string]string{"shop": "pizza", "app": "pizza", "one": "solo"} {
		_, err = r.PutChannel(t.Context(), chat.Channel{ID: channel, BotID: bot}, registry.Absent)
		require.NoError(t, err)
	}
	for _, e := range []chat.Endpoint{
		{ID: "e1", ChannelID: "shop", VerifyToken: verifyShop},
		{ID: "e2", ChannelID: "shop", VerifyToken: verifyBoth},
		{ID: "e3", ChannelID: "app", VerifyToken: verifyApp},
		{ID: "e4", ChannelID: "app", VerifyToken: verifyBoth},
		{ID: "e5", ChannelID: "one"},
	} {
		e.URL = "https://customer.example/hook"
		_, _, err = r.PutEndpoint(t.Context(), e, registry.Absent)
		require.NoError(t, err)
	}
	for channel, clear := range map[string]*string{"shop": &h.shop, "app": &h.app, "one": &h.one, "": &h.ops} {
		var token chat.Token
		*clear, token = registry.NewToken(channel, "test", time.Now())
		_, err = r.PutToken(t.Context(), token, registry.Absent)
		require.NoError(t, err)
	}
	h.registry = r
	return r
}

// call is a request; its zero values are a good one.
type call struct {
	method  string // POST
	path    string // the shop's messages
	token   string // the shop's; "-" for none
	body    string
	content string // application/json; "-" for none
	key     string // Idempotency-Key
	header  [2]string
}

type answer struct {
	status int
	header http.Header
	body   string
}

const shopMessages = "/v1/channels/webhook/shop/messages"

func (h *harness) request(t testing.TB, c call) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), or(c.method, http.MethodPost), h.url+or(c.path, shopMessages), strings.NewReader(c.body))
	require.NoError(t, err)
	if token := or(c.token, h.shop); token != "-" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if content := or(c.content, "application/json"); content != "-" {
		r.Header.Set("Content-Type", content)
	}
	if c.key != "" {
		r.Header.Set("Idempotency-Key", c.key)
	}
	if c.header[0] != "" {
		r.Header.Set(c.header[0], c.header[1])
	}
	return r
}

// do sends a request and holds the answer against the API's description.
func (h *harness) do(t *testing.T, c call) answer {
	t.Helper()
	a, err := h.send(h.request(t, c))
	require.NoError(t, err)
	if c.method == "" && a.header.Get("Content-Type") != "" && !strings.HasPrefix(c.path, "/nowhere") {
		h.contract.requireAnswer(t, h.request(t, c), a)
	}
	return a
}

// send may be called from any goroutine.
func (h *harness) send(r *http.Request) (answer, error) {
	resp, err := h.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, err
}

// good sends a request that must be described, and accepted.
func (h *harness) good(t *testing.T, c call) (messageID, conversationID string) {
	t.Helper()
	require.Empty(t, h.contract.request(h.request(t, c)))
	a := h.do(t, c)
	require.Equal(t, http.StatusAccepted, a.status, a.body)
	return ids(t, a)
}

func ids(t *testing.T, a answer) (messageID, conversationID string) {
	t.Helper()
	var got struct{ MessageID, ConversationID string }
	require.NoError(t, json.Unmarshal([]byte(a.body), &got))
	return got.MessageID, got.ConversationID
}

func (a answer) problem(t *testing.T) *problem.Problem {
	t.Helper()
	require.Equal(t, problem.ContentType, a.header.Get("Content-Type"), a.body)
	return parseProblem(t, a.body)
}

func parseProblem(t *testing.T, body string) *problem.Problem {
	t.Helper()
	var p problem.Problem
	require.NoError(t, json.Unmarshal([]byte(body), &p))
	return &p
}

func (a answer) lines() []string {
	var out []string
	for s := bufio.NewScanner(strings.NewReader(a.body)); s.Scan(); {
		out = append(out, s.Text())
	}
	return out
}

// stored returns the messages in the user stage's streams, in each one's order.
func (h *harness) stored(t *testing.T) []*chat.UserMessage {
	t.Helper()
	var out []*chat.UserMessage
	for p := range brokertest.Layout.Partitions {
		stream, err := h.broker.JS.Stream(t.Context(), topology.HotStream(chat.StageUser, p))
		require.NoError(t, err)
		for seq := range stream.CachedInfo().State.LastSeq {
			raw, err := stream.GetMsg(t.Context(), seq+1)
			require.NoError(t, err)
			m, err := wire.DecodeUserMessage(raw.Data)
			require.NoError(t, err)
			require.Equal(t, topology.HotSubject(chat.StageUser, p, m.ChannelID, m.Key()), raw.Subject)
			require.Equal(t, p, m.Key().Partition(brokertest.Layout.Partitions))
			out = append(out, m)
		}
	}
	return out
}

func text(conversation, s string) string {
	return `{"conversationId":"` + conversation + `","message":{"textMessage":{"text":"` + s + `"}}}`
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// publisher stands in for the broker where a test must hold or fail publishes.
type publisher func(ctx context.Context, m broker.Message) (uint64, error)

func (p publisher) Publish(ctx context.Context, m broker.Message) (uint64, error) { return p(ctx, m) }
