package ops_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	verrors "github.com/pb33f/libopenapi-validator/errors"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/parleyhq/parley/pkg/audit"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/erasure"
	"github.com/parleyhq/parley/pkg/httpserver"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/replay"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/wire"
	"github.com/parleyhq/parley/services/ops"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const opsToken = "a-bootstrap-token"

func deadLetter(t *testing.T, destination string) *chat.DeadLetter {
	t.Helper()
	at := time.UnixMilli(1_700_000_000_000)
	key := chat.KeyOf("shop", "anna")
	id := chat.BotMessageID(at, key, "msg_x", 0)
	data, err := wire.EncodeBotMessage(&chat.BotMessage{
		ID: id, ChannelID: "shop", ConversationID: "anna", CreatedAt: at, Event: chat.EventMessage,
		Message: json.RawMessage(`{"text":"Hello"}`),
	})
	require.NoError(t, err)
	return &chat.DeadLetter{
		MessageID: id, Stage: chat.StageBot, ChannelID: "shop", Destination: destination, ConversationID: "anna", Counter: 1,
		Reason: "exhausted", Error: "status 500", FirstFailure: at, DiedAt: at.Add(time.Hour), AttemptCount: 11, Data: data,
		Attempts: []chat.Attempt{{At: at, Duration: time.Second, Status: 500, Error: "status 500", Excerpt: []byte("oops\xff")}},
	}
}

// api is the API on a real broker. Every request and answer is checked
// against docs/api/ops.yaml.
type api struct {
	t         *testing.T
	url       string
	service   *ops.Service
	planned   *func() // called between a plan that deletes an endpoint and its changes
	validator validator.Validator
	registry  *registry.Registry
	conn      *broker.Conn
	dead      *chat.DeadLetter
	logs      *observer.ObservedLogs
	replays   *replay.Runner // makes jobs; runs none until it is told to
}

func newAPI(t *testing.T) *api {
	t.Helper()
	conn := brokertest.New(t)
	sealer, err := registry.NewSealer(make([]byte, registry.KeySize))
	require.NoError(t, err)
	reg, err := registry.Open(t.Context(), conn.JS, registry.Options{
		Sealer: sealer, NewSecret: webhook.NewSecret,
		FlowCheck: func(_ string, yaml []byte) error {
			if strings.Contains(string(yaml), "bad") {
				return &chat.ValidationError{Problems: []chat.Problem{{Detail: "line 2, column 1: no such dialog"}}}
			}
			return nil
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- reg.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })

	store, err := deadletter.New(t.Context(), conn)
	require.NoError(t, err)
	for _, destination := range []string{"crm", "archive"} {
		require.NoError(t, store.Write(t.Context(), deadLetter(t, destination)))
	}
	guard := &webhook.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AnyPort: true}
	client, err := webhook.NewClient(webhook.Options{Guard: guard})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	jobs, err := replay.NewStore(t.Context(), conn)
	require.NoError(t, err)
	runner, err := replay.New(replay.Options{
		Store: jobs, Letters: store, Journal: journal.NewReader(conn), Publisher: conn, Partitions: brokertest.Layout.Partitions, Instance: "test",
		Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	trail, err := audit.New(t.Context(), conn, prometheus.NewRegistry())
	require.NoError(t, err)
	core, logs := observer.New(zap.InfoLevel)
	sessions, err := session.New(t.Context(), conn, brokertest.Layout.Partitions)
	require.NoError(t, err)
	lanes := lane.NewWaiting(conn, brokertest.Layout.Partitions)
	planned := new(func() {})
	svc, err := ops.New(ops.Options{BootstrapToken: opsToken, CommandWait: 50 * time.Millisecond}, ops.Deps{
		Registry: reg, DeadLetters: store, Client: client, Guard: guard,
		Parked: func(ctx context.Context, endpointID string) (uint64, error) {
			(*planned)()
			return conn.Count(ctx, topology.ParkedStream(chat.StageBot), topology.LaneMessages(chat.StageBot, endpointID))
		},
		Eraser: erasure.New(conn, lanes, store, sessions),
		Replays: struct {
			*replay.Runner
			*replay.Store
		}{runner, jobs},
		Lanes: lane.NewWaiting(conn, brokertest.Layout.Partitions), Journal: journal.NewReader(conn), Recording: journal.ModeAll, Log: zap.New(core), Audit: trail,
		Status: func(ctx context.Context) (*topology.Status, error) {
			return topology.ReadStatus(ctx, conn.JS, brokertest.Layout)
		},
		Backlog: func(ctx context.Context) (*topology.Backlog, error) {
			return topology.ReadBacklog(ctx, conn.JS, brokertest.Layout)
		},
		Owners: func(ctx context.Context, stage chat.Stage) (*partition.Owners, error) {
			return partition.ReadOwners(ctx, conn.JS, stage, brokertest.Layout.Partitions)
		},
		Ages: func(ctx context.Context, stage chat.Stage, workers int) (*lane.Report, error) {
			return lane.Ask(ctx, conn, stage, workers)
		},
		Circuits: circuits{"bot.crm": {
			Open: true, At: failed, FailingSince: failed, Failures: 12, LastFailure: failed, NextProbe: failed.Add(time.Hour), Warned: failed,
		}, "bot.well": {At: failed}},
		Health: []ops.HealthCheck{
			{Name: "broker", Check: func(context.Context) error { return conn.Ready() }},
			{Name: "ledger", Check: func(context.Context) error { return errors.New("it is away") }},
		},
	})
	require.NoError(t, err)
	e := httpserver.NewEcho(zap.NewNop())
	svc.Mount(e)
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	return &api{t: t, service: svc, planned: planned, url: srv.URL, validator: openAPI(t), registry: reg, conn: conn, dead: deadLetter(t, "crm"), logs: logs, replays: runner}
}

func openAPI(t *testing.T) validator.Validator {
	t.Helper()
	text, err := os.ReadFile("../../docs/api/ops.yaml")
	require.NoError(t, err)
	doc, err := libopenapi.NewDocument(text)
	require.NoError(t, err)
	v, errs := validator.NewValidator(doc)
	require.Empty(t, errs)
	valid, problems := v.ValidateDocument()
	require.True(t, valid, "%v", problems)
	return v
}

// request is one call; a nil body sends none.
type request struct {
	method, path string
	body         string
	header       map[string]string
	token        string // "": the bootstrap token; "-": none
	// offContract says that the request itself breaks the description.
	offContract bool
}

type answer struct {
	*http.Response
	body []byte
}

func (a *api) do(r request) answer {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), r.method, a.url+ops.Root+r.path, strings.NewReader(r.body))
	require.NoError(a.t, err)
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	switch r.token {
	case "":
		req.Header.Set("Authorization", "Bearer "+opsToken)
	case "-":
	default:
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	if !r.offContract {
		copied := req.Clone(req.Context())
		copied.Body = io.NopCloser(strings.NewReader(r.body))
		if r.body == "" {
			copied.Body = http.NoBody
		}
		ok, problems := a.validator.ValidateHttpRequest(copied)
		require.True(a.t, ok, "%s %s: the request is not as described: %v", r.method, r.path, explain(problems))
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(a.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	ok, problems := a.validator.ValidateHttpResponse(req, resp)
	require.True(a.t, ok, "%s %s: the answer is not as described: %v\n%s", r.method, r.path, explain(problems), body)
	return answer{resp, body}
}

// ok does a call that must be answered with the status, and reads its body.
func ok[T any](a *api, status int, r request) (out T, got answer) {
	a.t.Helper()
	got = a.do(r)
	require.Equal(a.t, status, got.StatusCode, "%s", got.body)
	require.NoError(a.t, json.Unmarshal(got.body, &out))
	return out, got
}

// refused does a call that must be refused.
func (a *api) refused(status int, slug string, r request) problem.Problem {
	a.t.Helper()
	got := a.do(r)
	require.Equal(a.t, status, got.StatusCode, "%s", got.body)
	require.Equal(a.t, problem.ContentType, got.Header.Get("Content-Type"))
	var p problem.Problem
	require.NoError(a.t, json.Unmarshal(got.body, &p))
	require.Equal(a.t, slug, p.Slug())
	require.NotEmpty(a.t, p.Detail)
	return p
}

func TestConfiguration(t *testing.T) {
	a := newAPI(t)
	bot, got := ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"pizza","kind":"echo"}`})
	require.Equal(t, "/ops/v1/bots/pizza", got.Header.Get("Location"))
	require.NotEmpty(t, got.Header.Get("ETag"))
	require.Equal(t, "echo", bot.Kind)
	ok[ops.Channel](a, 201, request{method: "PUT", path: "/channels/shop", body: `{"botId":"pizza","name":"Shop"}`})
	_, got = ok[ops.Channel](a, 200, request{method: "PUT", path: "/channels/shop", body: `{"botId":"pizza"}`})
	etag := got.Header.Get("ETag")

	e, _ := ok[ops.Endpoint](a, 201, request{method: "POST", path: "/channels/shop/endpoints", body: `{"url":"https://example.com/hook","verifyToken":"verify-me","retry":["1s","1m30s"],"timeout":"5s"}`})
	require.Regexp(t, "^ep-", e.ID)
	require.Regexp(t, "^whsec_", e.Secrets[0], "a secret is shown when it is made")
	secret := e.Secrets[0]
	require.Equal(t, ops.Redacted, *e.VerifyToken)
	require.Equal(t, []string{"1s", "1m30s"}, e.Retry)

	_, got = ok[ops.Endpoint](a, 200, request{method: "GET", path: "/endpoints/" + e.ID})
	require.NotContains(t, string(got.body), secret)
	require.NotContains(t, string(got.body), "verify-me")
	changed, _ := ok[ops.Endpoint](a, 200, request{method: "PUT", path: "/endpoints/" + e.ID, body: string(got.body), header: map[string]string{"If-Match": got.Header.Get("ETag")}})
	require.Greater(t, changed.Revision, e.Revision)
	stored, found := a.registry.Snapshot().Endpoint(e.ID)
	require.True(t, found)
	require.Equal(t, "verify-me", stored.VerifyToken.Reveal(), "what was read can be put again")
	require.Equal(t, secret, stored.Secrets[0].Reveal())

	off, _ := ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/" + e.ID + "/disable", body: `{"reason":"moving"}`})
	require.Equal(t, "moving", off.Disabled)
	off, _ = ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/" + e.ID + "/disable"})
	require.NotEmpty(t, off.Disabled)
	status, _ := ok[ops.Status](a, 200, request{method: "GET", path: "/status"})
	require.Equal(t, 1, status.Config.DisabledEndpoints)
	on, _ := ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/" + e.ID + "/enable"})
	require.Empty(t, on.Disabled)
	list, _ := ok[ops.List[ops.Endpoint]](a, 200, request{method: "GET", path: "/channels/shop/endpoints"})
	require.Len(t, list.Items, 1)

	a.refused(409, "in-use", request{method: "DELETE", path: "/channels/shop"})
	a.refused(409, "in-use", request{method: "DELETE", path: "/bots/pizza"})
	ok[ops.Deleted](a, 200, request{method: "DELETE", path: "/endpoints/" + e.ID})
	a.refused(412, "changed", request{method: "DELETE", path: "/channels/shop", header: map[string]string{"If-Match": `"1"`}})
	deleted, _ := ok[ops.Deleted](a, 200, request{method: "DELETE", path: "/channels/shop", header: map[string]string{"If-Match": etag}})
	require.Equal(t, a.registry.Snapshot().Revision(), deleted.Revision)
	for _, path := range []string{"/channels", "/endpoints", "/tokens"} {
		empty, _ := ok[ops.List[any]](a, 200, request{method: "GET", path: path})
		require.Empty(t, empty.Items)
	}
}

func TestPause(t *testing.T) {
	a := newAPI(t)
	ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"pizza","kind":"flow","flow":"bot: 1"}`})
	ok[ops.Channel](a, 201, request{method: "POST", path: "/channels", body: `{"id":"shop","botId":"pizza"}`})
	ok[ops.Endpoint](a, 201, request{method: "POST", path: "/channels/shop/endpoints", body: `{"id":"crm","url":"https://example.com/hook"}`})
	paused := func() []int {
		s, _ := ok[ops.Status](a, 200, request{method: "GET", path: "/status"})
		return []int{s.Config.PausedChannels, s.Config.PausedEndpoints, s.Config.PausedBots}
	}
	for _, path := range []string{"/channels/shop", "/endpoints/crm", "/bots/pizza"} {
		type object struct {
			Paused, Disabled string
		}
		o, _ := ok[object](a, 200, request{method: "POST", path: path + "/pause", body: `{"reason":"moving"}`})
		require.Equal(t, object{Paused: "moving"}, o)
		o, got := ok[object](a, 200, request{method: "GET", path: path})
		require.Equal(t, "moving", o.Paused)
		o, _ = ok[object](a, 200, request{method: "PUT", path: path, body: string(got.body)})
		require.Equal(t, "moving", o.Paused, "what was read can be put again")
		a.refused(412, "changed", request{method: "POST", path: path + "/resume", header: map[string]string{"If-Match": `"1"`}})
		a.refused(422, "invalid", request{method: "POST", path: path + "/pause", body: `{"reason":"` + strings.Repeat("x", 201) + `"}`, offContract: true})
		a.refused(404, "not-found", request{method: "POST", path: path + "x/pause"})
	}
	require.Equal(t, []int{1, 1, 1}, paused())
	ok[ops.Bot](a, 200, request{method: "PUT", path: "/bots/pizza", body: "bot: 2", header: map[string]string{"Content-Type": "application/yaml"}})
	require.Equal(t, []int{1, 1, 1}, paused(), "a new flow is no reason to go on")

	e, _ := ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/crm/disable"})
	require.NotEmpty(t, e.Disabled)
	e, _ = ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/crm/resume"})
	require.Empty(t, e.Paused)
	require.NotEmpty(t, e.Disabled, "a pause is apart from that")
	ok[ops.Channel](a, 200, request{method: "POST", path: "/channels/shop/resume"})
	ok[ops.Bot](a, 200, request{method: "POST", path: "/bots/pizza/resume"})
	require.Equal(t, []int{0, 0, 0}, paused())
	b, _ := ok[ops.Bot](a, 200, request{method: "POST", path: "/bots/pizza/pause"})
	require.NotEmpty(t, b.Paused, "a reason is given where none is")
}

func TestFlowBot(t *testing.T) {
	a := newAPI(t)
	yaml := map[string]string{"Content-Type": "application/yaml"}
	ok[ops.Bot](a, 201, request{method: "PUT", path: "/bots/pizza", body: "dialogs: {}\n", header: yaml})
	p := a.refused(422, "invalid", request{method: "PUT", path: "/bots/pizza", body: "x:\n  bad\n", header: yaml})
	require.Equal(t, []chat.Problem{{Pointer: "/flow", Detail: "line 2, column 1: no such dialog"}}, p.Errors)
	bot, _ := ok[ops.Bot](a, 200, request{method: "GET", path: "/bots/pizza"})
	require.Equal(t, "dialogs: {}\n", bot.Flow)
	list, _ := ok[ops.List[ops.Bot]](a, 200, request{method: "GET", path: "/bots"})
	require.Empty(t, list.Items[0].Flow)
}

func TestHTTPBot(t *testing.T) {
	a := newAPI(t)
	bot, got := ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"helper","kind":"http","url":"https://example.com/turn","retry":["1s"],"timeout":"5s","maxInFlight":3,"fallback":"Sorry."}`})
	require.Regexp(t, "^whsec_", bot.Secrets[0], "a secret is shown when it is made")
	secret := bot.Secrets[0]
	etag := got.Header.Get("ETag")
	a.refused(409, "exists", request{method: "POST", path: "/bots", body: `{"id":"helper","kind":"echo"}`})

	_, got = ok[ops.Bot](a, 200, request{method: "GET", path: "/bots/helper"})
	require.NotContains(t, string(got.body), secret)
	changed, _ := ok[ops.Bot](a, 200, request{method: "PUT", path: "/bots/helper", body: string(got.body), header: map[string]string{"If-Match": etag}})
	require.Equal(t, []string{ops.Redacted}, changed.Secrets)
	ok[ops.Bot](a, 200, request{method: "PUT", path: "/bots/helper", body: `{"kind":"http","url":"https://example.com/other"}`})
	stored, _ := a.registry.Snapshot().Bot("helper")
	require.Equal(t, []chat.Secret{chat.Secret(secret)}, stored.Secrets, "what is left out stays")
	require.Empty(t, stored.Fallback)
	a.refused(412, "changed", request{method: "PUT", path: "/bots/helper", body: string(got.body), header: map[string]string{"If-Match": etag}})
	a.refused(404, "not-found", request{method: "PUT", path: "/bots/none", body: `{"kind":"echo"}`, header: map[string]string{"If-Match": "*"}})
	p := a.refused(422, "invalid", request{method: "PUT", path: "/bots/new", body: `{"kind":"http","url":"https://example.com","timeout":"2m","retry":["x"]}`, offContract: true})
	require.Equal(t, "/retry/0", p.Errors[0].Pointer)

	ok[ops.Bot](a, 200, request{method: "PUT", path: "/bots/helper", body: `{"kind":"echo"}`})
	stored, _ = a.registry.Snapshot().Bot("helper")
	require.Equal(t, chat.Bot{ID: "helper", Kind: "echo"}, *stored)
}

func TestTokens(t *testing.T) {
	a := newAPI(t)
	ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"pizza","kind":"echo"}`})
	ok[ops.Channel](a, 201, request{method: "POST", path: "/channels", body: `{"id":"shop","botId":"pizza"}`})
	forShop, _ := ok[ops.Token](a, 201, request{method: "POST", path: "/tokens", body: `{"channelId":"shop"}`})
	forOps, _ := ok[ops.Token](a, 201, request{method: "POST", path: "/tokens", body: `{"ops":true,"name":"ci"}`})

	a.refused(403, "forbidden", request{method: "GET", path: "/channels", token: forShop.Token})
	list, got := ok[ops.List[ops.Token]](a, 200, request{method: "GET", path: "/tokens", token: forOps.Token})
	require.Len(t, list.Items, 2)
	require.NotContains(t, string(got.body), "pat_")
	ok[ops.Deleted](a, 200, request{method: "DELETE", path: "/tokens/" + forOps.ID})
	a.refused(401, "unauthorized", request{method: "GET", path: "/tokens", token: forOps.Token})
}

func TestRefusals(t *testing.T) {
	a := newAPI(t)
	ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"pizza","kind":"echo"}`})
	ok[ops.Channel](a, 201, request{method: "POST", path: "/channels", body: `{"id":"shop","botId":"pizza"}`})
	ok[ops.Endpoint](a, 201, request{method: "POST", path: "/channels/shop/endpoints", body: `{"id":"crm","url":"https://example.com"}`})
	header := func(name, value string) map[string]string { return map[string]string{name: value} }
	const echoBot = `{"id":"pizza","kind":"echo"}`
	for name, c := range map[string]struct {
		request  request
		status   int
		slug     string
		pointers []string
	}{
		"no token":           {request{method: "GET", path: "/bots", token: "-", offContract: true}, 401, "unauthorized", nil},
		"wrong token":        {request{method: "GET", path: "/bots", token: "x"}, 401, "unauthorized", nil},
		"almost the token":   {request{method: "GET", path: "/bots", token: opsToken + "x"}, 401, "unauthorized", nil},
		"wrong scheme":       {request{method: "GET", path: "/bots", header: header("Authorization", "Basic "+opsToken), offContract: true}, 401, "unauthorized", nil},
		"exists":             {request{method: "POST", path: "/bots", body: echoBot}, 409, "exists", nil},
		"unknown bot":        {request{method: "GET", path: "/bots/other"}, 404, "not-found", nil},
		"unknown channel":    {request{method: "GET", path: "/channels/other"}, 404, "not-found", nil},
		"unknown endpoint":   {request{method: "GET", path: "/endpoints/other"}, 404, "not-found", nil},
		"disable unknown":    {request{method: "POST", path: "/endpoints/other/disable"}, 404, "not-found", nil},
		"delete unknown":     {request{method: "DELETE", path: "/tokens/other"}, 404, "not-found", nil},
		"endpoints of none":  {request{method: "GET", path: "/channels/other/endpoints"}, 404, "not-found", nil},
		"endpoint for none":  {request{method: "POST", path: "/channels/other/endpoints", body: `{"url":"https://example.com"}`}, 404, "not-found", nil},
		"empty body":         {request{method: "POST", path: "/bots", header: header("Content-Type", "application/json"), offContract: true}, 400, "bad-json", []string{""}},
		"not JSON":           {request{method: "POST", path: "/bots", body: `{"id"`, offContract: true}, 400, "bad-json", []string{""}},
		"two objects":        {request{method: "POST", path: "/bots", body: echoBot + echoBot, offContract: true}, 400, "bad-json", []string{""}},
		"unknown field":      {request{method: "POST", path: "/bots", body: `{"id":"a","kind":"echo","colour":"red"}`, offContract: true}, 400, "bad-json", []string{""}},
		"wrong type":         {request{method: "PUT", path: "/endpoints/crm", body: `{"url":5}`, offContract: true}, 400, "bad-json", []string{"/url"}},
		"form":               {request{method: "POST", path: "/bots", body: "id=a", header: header("Content-Type", "application/x-www-form-urlencoded"), offContract: true}, 415, "unsupported-media-type", nil},
		"too large":          {request{method: "POST", path: "/bots", body: `{"id":"` + strings.Repeat("x", 2*registry.MaxFlow) + `"}`, offContract: true}, 413, "too-large", nil},
		"bad id":             {request{method: "POST", path: "/bots", body: `{"id":"A b","kind":"echo"}`, offContract: true}, 422, "invalid", []string{"/id"}},
		"bad kind":           {request{method: "POST", path: "/bots", body: `{"id":"a","kind":"magic"}`, offContract: true}, 422, "invalid", []string{"/kind"}},
		"bot is missing":     {request{method: "POST", path: "/channels", body: `{"id":"a","botId":"other"}`}, 422, "invalid", []string{"/botId"}},
		"ids differ":         {request{method: "PUT", path: "/bots/pizza", body: `{"id":"pasta","kind":"echo"}`}, 422, "invalid", []string{"/id"}},
		"channels differ":    {request{method: "POST", path: "/channels/shop/endpoints", body: `{"channelId":"other","url":"https://example.com"}`}, 422, "invalid", []string{"/channelId"}},
		"bad endpoint":       {request{method: "PUT", path: "/endpoints/crm", body: `{"url":"x","maxInFlight":-1}`, offContract: true}, 422, "invalid", []string{"/url", "/maxInFlight"}},
		"bad durations":      {request{method: "PUT", path: "/endpoints/crm", body: `{"url":"https://example.com","retry":["1s","soon"],"timeout":"-1s"}`}, 422, "invalid", []string{"/timeout", "/retry/1"}},
		"token for both":     {request{method: "POST", path: "/tokens", body: `{"channelId":"shop","ops":true}`}, 422, "invalid", []string{"/channelId"}},
		"token for none":     {request{method: "POST", path: "/tokens", body: `{"name":"x"}`}, 422, "invalid", []string{"/channelId"}},
		"token for unknown":  {request{method: "POST", path: "/tokens", body: `{"channelId":"other"}`}, 422, "invalid", []string{"/channelId"}},
		"old revision":       {request{method: "PUT", path: "/bots/pizza", body: echoBot, header: header("If-Match", `"1"`)}, 412, "changed", nil},
		"old endpoint":       {request{method: "PUT", path: "/endpoints/crm", body: `{"url":"https://example.com"}`, header: header("If-Match", `"1"`)}, 412, "changed", nil},
		"old on disable":     {request{method: "POST", path: "/endpoints/crm/disable", header: header("If-Match", `"1"`)}, 412, "changed", nil},
		"absent expected":    {request{method: "PUT", path: "/bots/pizza", body: echoBot, header: header("If-None-Match", "*")}, 409, "exists", nil},
		"presence expected":  {request{method: "PUT", path: "/bots/other", body: `{"kind":"echo"}`, header: header("If-Match", "*")}, 404, "not-found", nil},
		"no endpoint to put": {request{method: "PUT", path: "/endpoints/other", body: `{"url":"https://example.com"}`, header: header("If-Match", "*")}, 404, "not-found", nil},
		"put in no channel":  {request{method: "PUT", path: "/endpoints/other", body: `{"url":"https://example.com"}`}, 422, "invalid", []string{"/channelId"}},
		"bad ETag":           {request{method: "PUT", path: "/bots/pizza", body: echoBot, header: header("If-Match", "x")}, 400, "bad-condition", nil},
		"bad query":          {request{method: "GET", path: "/dead-letters?stage=x&channel=a.b&limit=0", offContract: true}, 400, "bad-query", []string{"stage", "channel", "limit"}},
		"bad before":         {request{method: "GET", path: "/dead-letters?before=yesterday", offContract: true}, 400, "bad-query", []string{"before"}},
		"odd message id":     {request{method: "GET", path: "/dead-letters/*"}, 404, "not-found", nil},
		"no dead letter":     {request{method: "GET", path: "/dead-letters/" + chat.NewMessageID(time.Now(), chat.KeyOf("a", "b"), 1)}, 404, "not-found", nil},
	} {
		t.Run(name, func(t *testing.T) {
			at := *a
			at.t = t
			p := at.refused(c.status, c.slug, c.request)
			var pointers []string
			for _, e := range p.Errors {
				pointers = append(pointers, e.Pointer)
				require.NotEmpty(t, e.Detail)
			}
			require.ElementsMatch(t, c.pointers, pointers)
		})
	}
}

// What is parked doesn't call for workers, and where the broker can't say how
// much waits there is no number.
func TestLag(t *testing.T) {
	a := newAPI(t)
	path := request{method: "GET", path: "/lag"}
	lag, _ := ok[ops.Lag](a, 200, path)
	require.Zero(t, lag)
	for i, conversation := range []string{"anna", "ben", "cleo"} {
		_, err := a.conn.Publish(t.Context(), broker.Message{
			Subject: topology.HotSubject(chat.StageUser, i%brokertest.Layout.Partitions, "shop", chat.KeyOf("shop", conversation)), Data: []byte("x"),
		})
		require.NoError(t, err)
	}
	_, err := a.conn.Publish(t.Context(), broker.Message{
		Subject: topology.HotSubject(chat.StageBot, 1, "shop", chat.KeyOf("shop", "anna")), Data: []byte("x"),
	})
	require.NoError(t, err)
	a.park("crm", "anna", &chat.LaneState{}, 5)
	lag, _ = ok[ops.Lag](a, 200, path)
	require.Equal(t, ops.Lag{User: ops.StageLag{Waiting: 3}, Bot: ops.StageLag{Waiting: 1}}, lag)

	require.NoError(t, a.conn.JS.DeleteStream(t.Context(), topology.HotStream(chat.StageUser, 0)))
	a.refused(503, "broker-unavailable", path)
}

func TestStatus(t *testing.T) {
	a := newAPI(t)
	_, err := a.conn.Publish(t.Context(), broker.Message{
		Subject: topology.HotSubject(chat.StageUser, 0, "shop", chat.KeyOf("shop", "1")), Data: []byte("x"),
	})
	require.NoError(t, err)
	leases, err := a.conn.JS.KeyValue(t.Context(), topology.BucketLeases)
	require.NoError(t, err)
	epoch, err := leases.Put(t.Context(), topology.LeaseKey(chat.StageBot, 1), []byte(`{"instance":"worker-a","sole":true}`))
	require.NoError(t, err)
	accepted := time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	answering := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		answering <- lane.Answer(ctx, a.conn, chat.StageBot, func() []lane.Age {
			return []lane.Age{{Group: "crm", Lanes: 3, Oldest: &accepted}, {Group: "new", Lanes: 1}}
		})
	}()
	t.Cleanup(func() { stop(); require.NoError(t, <-answering) })
	var s ops.Status
	require.Eventually(t, func() bool {
		s, _ = ok[ops.Status](a, 200, request{method: "GET", path: "/status"})
		return s.Waiting[1].Answered == 1
	}, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, &lane.Report{Stage: chat.StageUser, Groups: []lane.Age{}}, s.Waiting[0])
	require.Equal(t, 1, s.Waiting[1].Workers)
	require.Equal(t, []lane.Age{{Group: "crm", Lanes: 3, Oldest: &accepted}, {Group: "new", Lanes: 1}}, s.Waiting[1].Groups)
	require.EqualValues(t, 1, s.Stages[0].Waiting)
	require.NotNil(t, s.Stages[0].Oldest)
	require.Len(t, s.Owners, 2)
	require.Equal(t, chat.StageBot, s.Owners[1].Stage)
	require.Empty(t, s.Owners[1].Partitions[0].Instance)
	require.Equal(t, "worker-a", s.Owners[1].Partitions[1].Instance)
	require.Equal(t, epoch, s.Owners[1].Partitions[1].Epoch)
	require.Equal(t, a.registry.Snapshot().Revision(), s.Config.Revision)
	require.Equal(t, []ops.Health{{Name: "broker", OK: true}, {Name: "ledger", Error: "it is away"}}, s.Health)

	ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"pizza","kind":"echo"}`})
	ok[ops.Channel](a, 201, request{method: "POST", path: "/channels", body: `{"id":"shop","botId":"pizza"}`})
	ok[ops.Endpoint](a, 201, request{method: "POST", path: "/channels/shop/endpoints", body: `{"id":"crm","url":"https://example.com/hook","onExhausted":"hold"}`})
	for i, held := range []bool{true, false, true} {
		a.park("crm", fmt.Sprint("c", i), &chat.LaneState{HeadSeq: 1, Held: held, AttemptCount: 11}, 1)
	}
	s, _ = ok[ops.Status](a, 200, request{method: "GET", path: "/status"})
	require.EqualValues(t, 3, s.Stages[1].Parked.Lanes)
	require.EqualValues(t, 2, s.Stages[1].Parked.Held)

	a.conn.Close()
	a.refused(503, "broker-unavailable", request{method: "GET", path: "/status"})
	a.refused(503, "broker-unavailable", request{method: "GET", path: "/dead-letters"})
	a.refused(503, "broker-unavailable", request{method: "POST", path: "/bots", body: `{"id":"a","kind":"echo"}`})
}

func TestLanes(t *testing.T) {
	a := newAPI(t)
	ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"pizza","kind":"echo"}`})
	ok[ops.Channel](a, 201, request{method: "POST", path: "/channels", body: `{"id":"shop","botId":"pizza"}`})
	for id, supersede := range map[string]string{"crm": "false", "archive": "true"} {
		ok[ops.Endpoint](a, 201, request{method: "POST", path: "/channels/shop/endpoints", body: `{"id":"` + id + `","url":"https://example.com/hook","supersede":` + supersede + `}`})
	}
	due := time.UnixMilli(1_900_000_000_000)
	failed := []chat.Attempt{{At: due, Status: 500, Error: "status 500"}}
	names := map[string]string{}
	for conversation, state := range map[string]*chat.LaneState{
		"ben": {HeadSeq: 1, AttemptCount: 3, Due: due, Attempts: failed}, "eve": {HeadSeq: 1, AttemptCount: 11, Held: true, Attempts: failed},
		"void": {HeadSeq: 7, AttemptCount: 3}, "none": nil,
	} {
		names[conversation] = "bot." + a.park("crm", conversation, state, 2).String()
	}
	yields := "bot." + a.park("archive", "ben", nil, 1).String()

	all, _ := ok[ops.LanePage](a, 200, request{method: "GET", path: "/lanes"})
	require.Len(t, all.Items, 5)
	first, _ := ok[ops.LanePage](a, 200, request{method: "GET", path: "/lanes?endpoint=crm&limit=3"})
	require.Len(t, first.Items, 3)
	rest, _ := ok[ops.LanePage](a, 200, request{method: "GET", path: "/lanes?endpoint=crm&limit=3&after=" + first.Next})
	require.Len(t, rest.Items, 1)
	require.Empty(t, rest.Next)
	held, _ := ok[ops.LanePage](a, 200, request{method: "GET", path: "/lanes?held=true"})
	require.Len(t, held.Items, 1)
	require.Equal(t, "eve", held.Items[0].ConversationID)
	none, _ := ok[ops.LanePage](a, 200, request{method: "GET", path: "/lanes?channel=shop"})
	require.Empty(t, none.Items)

	l, _ := ok[ops.Lane](a, 200, request{method: "GET", path: "/lanes/" + names["ben"]})
	require.Equal(t, "shop", l.ChannelID)
	require.Equal(t, "crm", l.Destination)
	require.EqualValues(t, 2, l.Messages)
	require.Equal(t, due.UTC(), *l.DueAt)
	require.False(t, l.Supersede)
	require.Equal(t, "status 500", l.LastError)
	require.Len(t, l.Attempts, 1)
	l, _ = ok[ops.Lane](a, 200, request{method: "GET", path: "/lanes/" + names["void"]})
	require.Zero(t, l.AttemptCount, "the state is another message's")
	l, _ = ok[ops.Lane](a, 200, request{method: "GET", path: "/lanes/" + yields})
	require.True(t, l.Supersede)

	// Nobody owns the partitions here: what is asked waits.
	token, _ := ok[ops.Token](a, 201, request{method: "POST", path: "/tokens", body: `{"ops":true,"name":"ada"}`})
	done, _ := ok[ops.LaneCommanded](a, 202, request{method: "POST", path: "/lanes/" + names["eve"] + "/retry-now", token: token.Token})
	require.Equal(t, ops.LaneCommanded{Action: lane.RetryNow, Lanes: 1, Queued: 1}, done)
	l, _ = ok[ops.Lane](a, 200, request{method: "GET", path: "/lanes/" + names["eve"]})
	require.True(t, l.Held)
	require.Equal(t, lane.RetryNow, l.Asked.Action)
	require.Equal(t, "ada", l.Asked.By)
	a.refused(409, "busy", request{method: "POST", path: "/lanes/" + names["eve"] + "/skip"})
	done, _ = ok[ops.LaneCommanded](a, 202, request{method: "POST", path: "/endpoints/crm/lanes/discard"})
	require.Equal(t, ops.LaneCommanded{Action: lane.Discard, Lanes: 3, Queued: 3, Busy: 1}, done)
	done, _ = ok[ops.LaneCommanded](a, 200, request{method: "POST", path: "/endpoints/crm/lanes/skip?held=true"})
	require.Equal(t, ops.LaneCommanded{Action: lane.Skip, Busy: 1}, done)
	logged := a.logs.FilterMessage("an operator's command to lanes").All()
	require.Len(t, logged, 4)
	require.Equal(t, "ada", logged[0].ContextMap()["by"])
	require.Equal(t, names["eve"], logged[0].ContextMap()["lane"])
	require.Equal(t, "the bootstrap token", logged[2].ContextMap()["by"])

	a.refused(404, "not-found", request{method: "GET", path: "/lanes/bot.crm." + chat.KeyOf("shop", "nobody").String()})
	a.refused(404, "not-found", request{method: "POST", path: "/lanes/bot.crm." + chat.KeyOf("shop", "nobody").String() + "/skip"})
	a.refused(404, "not-found", request{method: "GET", path: "/lanes/x"})
	a.refused(404, "not-found", request{method: "POST", path: "/lanes/x/skip"})
	a.refused(404, "not-found", request{method: "POST", path: "/endpoints/nobody/lanes/skip"})
	for _, query := range []string{"stage=x", "held=x", "limit=0", "after=x", "endpoint=A", "endpoint=crm&channel=shop", "endpoint=crm&stage=user"} {
		a.refused(400, "bad-query", request{method: "GET", path: "/lanes?" + query, offContract: true})
	}
	a.refused(400, "bad-query", request{method: "POST", path: "/endpoints/crm/lanes/skip?held=x", offContract: true})
	a.conn.Close()
	a.refused(503, "broker-unavailable", request{method: "GET", path: "/lanes"})
	a.refused(503, "broker-unavailable", request{method: "POST", path: "/lanes/" + names["ben"] + "/skip"})
}

// park parks messages of a conversation at an endpoint as its owner would, with
// a state unless it is nil.
func (a *api) park(endpoint, conversation string, state *chat.LaneState, messages uint64) lane.ID {
	a.t.Helper()
	id := lane.ID{Group: endpoint, Key: chat.KeyOf("shop", conversation)}
	store, err := lane.NewJetStream(a.t.Context(), a.conn, chat.StageBot, id.Key.Partition(brokertest.Layout.Partitions))
	require.NoError(a.t, err)
	at := time.UnixMilli(1_700_000_000_000)
	for n := range messages {
		data, err := wire.EncodeBotMessage(&chat.BotMessage{
			ID: chat.BotMessageID(at, id.Key, "msg_x", int(n)), ChannelID: "shop", ConversationID: conversation, CreatedAt: at,
			Event: chat.EventMessage, Message: json.RawMessage(`{"text":"Hello"}`), Ordinal: chat.Ordinal{Epoch: 1, Counter: n + 1},
		})
		require.NoError(a.t, err)
		_, err = store.Append(a.t.Context(), id, &lane.Message{Seq: n + 1, Time: at, Data: data})
		require.NoError(a.t, err)
	}
	if state != nil {
		require.NoError(a.t, store.PutState(a.t.Context(), id, state))
	}
	return id
}

func TestDeadLetters(t *testing.T) {
	a := newAPI(t)
	page, _ := ok[ops.DeadLetterPage](a, 200, request{method: "GET", path: "/dead-letters?limit=1"})
	require.Len(t, page.Items, 1)
	require.Equal(t, "archive", page.Items[0].Destination, "the newest is first")
	require.Nil(t, page.Items[0].Message)
	page, _ = ok[ops.DeadLetterPage](a, 200, request{method: "GET", path: "/dead-letters?limit=1&before=" + page.Next})
	require.Len(t, page.Items, 1)
	require.Equal(t, "crm", page.Items[0].Destination)
	require.Empty(t, page.Next)
	page, _ = ok[ops.DeadLetterPage](a, 200, request{method: "GET", path: "/dead-letters?stage=bot&channel=shop&destination=crm"})
	require.Len(t, page.Items, 1)
	page, _ = ok[ops.DeadLetterPage](a, 200, request{method: "GET", path: "/dead-letters?stage=user"})
	require.Empty(t, page.Items)

	page, _ = ok[ops.DeadLetterPage](a, 200, request{method: "GET", path: "/dead-letters/" + a.dead.MessageID})
	require.Len(t, page.Items, 2, "one for each destination")
	require.JSONEq(t, `{"text":"Hello"}`, string(page.Items[0].Message))
	require.Equal(t, "oops\uFFFD", page.Items[0].Attempts[0].Excerpt)
	require.EqualValues(t, 1000, page.Items[0].Attempts[0].DurationMS)
}

func TestOptions(t *testing.T) {
	require.NoError(t, ops.Options{}.Validate())
	require.ErrorContains(t, ops.Options{BootstrapToken: "short"}.Validate(), "16")
	_, err := ops.New(ops.Options{}, ops.Deps{})
	require.Error(t, err)
}

func explain(problems []*verrors.ValidationError) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.Message + ": " + p.Reason)
		for _, s := range p.SchemaValidationErrors {
			b.WriteString("; " + s.FieldPath + " " + s.Reason)
		}
	}
	return b.String()
}
