package main

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

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
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/replay"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/wire"
	"github.com/parleyhq/parley/services/ops"
)

const testOpsToken = "an-ops-token-for-tests"

// opsServer is the real ops API on a real broker, with the environment that
// leads the commands there.
func opsServer(t *testing.T) (env []string, letter *chat.DeadLetter) {
	t.Helper()
	conn := brokertest.New(t)
	sealer, err := registry.NewSealer(make([]byte, registry.KeySize))
	require.NoError(t, err)
	reg, err := registry.Open(t.Context(), conn.JS, registry.Options{
		Sealer: sealer, NewSecret: webhook.NewSecret, FlowCheck: checkFlow,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- reg.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })

	const conversation = "anna\x1b[2J"
	at := time.UnixMilli(1_700_000_000_000)
	letter = &chat.DeadLetter{
		MessageID: chat.NewMessageID(at, chat.KeyOf("shop", conversation), 1), Stage: chat.StageBot, ChannelID: "shop",
		Destination: "crm", ConversationID: conversation, Counter: 3, Reason: "exhausted", Error: "status 500", DiedAt: at, AttemptCount: 1,
		Attempts: []chat.Attempt{{At: at, Duration: 1500 * time.Millisecond, Status: 500, Error: "server error", Excerpt: []byte("oops")}},
	}
	store, err := deadletter.New(t.Context(), conn)
	require.NoError(t, err)
	require.NoError(t, store.Write(t.Context(), letter))
	parkLane(t, conn)
	recordTurns(t, conn)
	newer := *letter
	newer.Destination = "archive"
	require.NoError(t, store.Write(t.Context(), &newer))
	guard := &webhook.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AnyPort: true}
	client, err := webhook.NewClient(webhook.Options{Guard: guard})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	sessions, err := session.New(t.Context(), conn, brokertest.Layout.Partitions)
	require.NoError(t, err)
	lanes := lane.NewWaiting(conn, brokertest.Layout.Partitions)
	trail, err := audit.New(t.Context(), conn, prometheus.NewRegistry())
	require.NoError(t, err)
	jobs, err := replay.NewStore(t.Context(), conn)
	require.NoError(t, err)
	runner, err := replay.New(replay.Options{
		Store: jobs, Letters: store, Journal: journal.NewReader(conn), Publisher: conn, Partitions: brokertest.Layout.Partitions, Instance: "test",
		Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	ran := make(chan error, 1)
	go func() { ran <- runner.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.ErrorIs(t, <-ran, context.Canceled) })
	svc, err := ops.New(ops.Options{BootstrapToken: testOpsToken, CommandWait: 50 * time.Millisecond}, ops.Deps{
		Registry: reg, DeadLetters: store, Replays: replayJobs{runner, jobs}, Client: client, Guard: guard,
		Lanes: lane.NewWaiting(conn, brokertest.Layout.Partitions), Journal: journal.NewReader(conn), Recording: journal.ModeAll, Audit: trail,
		Parked: func(ctx context.Context, endpointID string) (uint64, error) {
			return conn.Count(ctx, topology.ParkedStream(chat.StageBot), topology.LaneMessages(chat.StageBot, endpointID))
		},
		Eraser: erasure.New(conn, lanes, store, sessions),
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
		Health: []ops.HealthCheck{{Name: "broker", Check: func(context.Context) error { return conn.Ready() }}},
	})
	require.NoError(t, err)
	e := httpserver.NewEcho(zap.NewNop())
	svc.Mount(e)
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	return []string{"PARLEY_OPS_URL=" + srv.URL, "PARLEY_OPS_TOKEN=" + testOpsToken}, letter
}

// good runs a command line that must succeed, and returns what it prints.
func good(t *testing.T, env []string, args ...string) string {
	t.Helper()
	r := parley(t, env, "", args...)
	require.Equal(t, exitOK, r.code, "parley %v: %s", args, r.stderr)
	require.Empty(t, r.stderr)
	return r.stdout
}

// goodJSON is good with --json.
func goodJSON[T any](t *testing.T, env []string, args ...string) (v T) {
	t.Helper()
	out := good(t, env, append(args, "--json")...)
	require.NoError(t, json.Unmarshal([]byte(out), &v), out)
	return v
}

func TestConfigure(t *testing.T) {
	env, _ := opsServer(t)
	good(t, env, "bot", "create", "pizza")
	good(t, env, "channel", "create", "shop", "--bot", "pizza", "--name", "The shop")
	require.Regexp(t, `(?m)^shop +pizza +enabled +The shop$`, good(t, env, "channel", "list"))
	require.Regexp(t, `(?m)^bot +pizza$`, good(t, env, "channel", "show", "shop"))
	good(t, env, "channel", "update", "shop", "--rate-limit", "100/s:200")
	require.Regexp(t, `(?ms)^name +The shop$.*^limit +100/s:200$`, good(t, env, "channel", "show", "shop"))

	e := goodJSON[ops.Endpoint](t, env, "endpoint", "create", "crm", "--channel", "shop", "--url", "https://example.com/hook",
		"--verify-token", "verify-me", "--event", "message,user_message", "--event", "delivery.failed", "--retry", "1s,1m30s", "--timeout", "5s", "--expire-after", "24h", "--supersede",
		"--on-exhausted", "hold", "--max-in-flight", "7")
	require.Regexp(t, "^whsec_", e.Secrets[0])
	require.True(t, e.Supersede)
	require.Equal(t, []string{"message", "user_message", "delivery.failed"}, e.Events)
	wrong := parley(t, env, "", "endpoint", "update", "crm", "--event", "typing")
	require.Equal(t, exitFailed, wrong.code)
	require.Contains(t, wrong.stderr, `/events/0: "typing" is no event: use message, user_message, offload, delivery.failed, `)
	require.Regexp(t, `signing secret +whsec_\S+  \(keep it`, good(t, env, "endpoint", "create", "--channel", "shop", "--url", "https://example.com/two"))

	after := goodJSON[ops.Endpoint](t, env, "endpoint", "update", "crm", "--timeout", "9s", "--max-in-flight", "0")
	want := e
	want.Timeout, want.MaxInFlight, want.Secrets, want.Revision = "9s", 0, []string{ops.Redacted}, after.Revision
	require.Equal(t, want, after, "the rest stays")

	require.Contains(t, good(t, env, "endpoint", "disable", "crm", "--reason", "moving"), "disabled: moving")
	require.Regexp(t, `(?m)^crm +shop +disabled: moving +https://example.com/hook$`, good(t, env, "endpoint", "list"))
	good(t, env, "endpoint", "enable", "crm")
	require.Regexp(t, `(?m)^state +enabled$`, good(t, env, "endpoint", "show", "crm"))
	require.Contains(t, good(t, env, "endpoint", "pause", "crm", "--reason", "counting"), "paused: counting")
	good(t, env, "endpoint", "disable", "crm", "--reason", "moving")
	require.Regexp(t, `(?m)^state +disabled: moving; paused: counting$`, good(t, env, "endpoint", "show", "crm"))
	good(t, env, "endpoint", "enable", "crm")
	require.Regexp(t, `(?m)^state +enabled$`, good(t, env, "endpoint", "resume", "crm"))
	require.Regexp(t, `(?m)^state +paused: paused by an operator$`, good(t, env, "channel", "pause", "shop"))
	require.Regexp(t, `(?m)^shop +pizza +paused: paused by an operator +The shop$`, good(t, env, "channel", "list"))
	require.Regexp(t, `(?m)^state +paused: night$`, good(t, env, "bot", "pause", "pizza", "--reason", "night"))
	require.Contains(t, good(t, env, "status"), "1 channels (1 paused), 2 endpoints (0 disabled, 0 paused), 1 bots (1 paused)")
	require.Regexp(t, `(?m)^state +enabled$`, good(t, env, "channel", "resume", "shop"))
	require.Regexp(t, `(?m)^state +enabled$`, good(t, env, "bot", "resume", "pizza"))
	require.Len(t, goodJSON[ops.List[ops.Endpoint]](t, env, "endpoint", "list", "--channel", "shop").Items, 2)
	require.Regexp(t, `(?m)^rate limit +10/s:20$`, good(t, env, "endpoint", "update", "crm", "--rate-limit", "10/s:20"))
	require.Contains(t, good(t, env, "endpoint", "delete", "crm"), "deleted crm")

	token := goodJSON[ops.Token](t, env, "token", "create", "--channel", "shop")
	require.Regexp(t, "^pat_", token.Token)
	require.Regexp(t, `(?m)^opens +the ops API$`, good(t, env, "token", "create", "--ops", "--name", "ci"))
	list := good(t, env, "token", "list")
	require.Regexp(t, "(?m)^"+token.ID+" +channel shop ", list)
	require.NotContains(t, list, "pat_")
	good(t, env, "token", "delete", token.ID)
}

const helloFlow = `bot: 1
dialogs:
  hello:
    - say: Hello
`

func TestBots(t *testing.T) {
	env, _ := opsServer(t)
	dir := t.TempDir()
	sample, bad := "../../deploy/samples/pizza.yaml", filepath.Join(dir, "bad.yaml")
	require.NoError(t, os.WriteFile(bad, []byte(helloFlow+"nonsense: true\n"), 0o600))

	require.Contains(t, good(t, nil, "bot", "check", sample), "is a good flow")
	for _, args := range [][]string{{"bot", "check", bad}, {"bot", "create", "b", "--file", bad}} {
		r := parley(t, env, "", args...)
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.stderr, bad+":", "it names the line")
	}
	r := parley(t, nil, "", "bot", "check", bad, "--json")
	require.Equal(t, exitFailed, r.code)
	var check flowCheck
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &check))
	require.False(t, check.OK)
	require.Positive(t, check.Errors[0].Line)

	b := goodJSON[ops.Bot](t, env, "bot", "create", "pizza", "--file", sample)
	require.Equal(t, registry.BotFlow, b.Kind)
	b = goodJSON[ops.Bot](t, env, "bot", "update", "pizza", "--name", "Pizza")
	require.Equal(t, registry.BotFlow, b.Kind)
	require.NotEmpty(t, b.Flow)
	require.Contains(t, good(t, env, "bot", "show", "pizza"), b.Flow)
	b = goodJSON[ops.Bot](t, env, "bot", "update", "pizza", "--kind", "echo")
	require.Empty(t, b.Flow)
	require.Regexp(t, `(?m)^pizza +echo +enabled +Pizza$`, good(t, env, "bot", "list"))
	good(t, env, "bot", "delete", "pizza")
}

func TestHTTPBots(t *testing.T) {
	env, _ := opsServer(t)
	const at = "https://bot.example.com/turn"
	b := goodJSON[ops.Bot](t, env, "bot", "create", "helper", "--kind", "http", "--url", at, "--name", "Helper",
		"--timeout", "5s", "--retry", "1s,3s", "--max-in-flight", "7", "--fallback", "Sorry, not now.")
	require.Len(t, b.Secrets, 1)
	require.Regexp(t, "^whsec_", b.Secrets[0])
	want := ops.Bot{
		ID: "helper", Kind: "http", Name: "Helper", URL: at, Sending: ops.Sending{Secrets: []string{ops.Redacted}},
		Retry: []string{"1s", "3s"}, Timeout: "5s", MaxInFlight: 7, Fallback: "Sorry, not now.",
	}
	same := func(b ops.Bot) {
		t.Helper()
		want.Revision = b.Revision
		require.Equal(t, want, b)
	}
	same(goodJSON[ops.Bot](t, env, "bot", "show", "helper"))
	want.Timeout = "9s"
	same(goodJSON[ops.Bot](t, env, "bot", "update", "helper", "--timeout", "9s"))
	out := good(t, env, "bot", "show", "helper")
	require.Regexp(t, `(?m)^fallback +Sorry, not now\.$`, out)
	require.Regexp(t, `(?m)^signing secret +\[redacted\]$`, out)

	secrets := []string{webhook.NewSecret().Reveal(), webhook.NewSecret().Reveal()}
	want.Secrets = append(want.Secrets, ops.Redacted)
	same(goodJSON[ops.Bot](t, env, "bot", "update", "helper", "--secret", strings.Join(secrets, ",")))
	require.Regexp(t, `signing secret +whsec_\S+  \(keep it`, good(t, env, "bot", "create", "other", "--kind", "http", "--url", at))

	b = goodJSON[ops.Bot](t, env, "bot", "update", "helper", "--kind", "echo")
	require.Equal(t, ops.Bot{ID: "helper", Kind: "echo", Name: "Helper", Revision: b.Revision}, b, "what was of the former kind goes")
	b = goodJSON[ops.Bot](t, env, "bot", "update", "helper", "--kind", "http", "--url", at)
	require.Regexp(t, "^whsec_", b.Secrets[0], "a new one, since there was none")

	r := parley(t, env, "", "bot", "create", "x", "--url", at)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, `/url: a bot of kind "echo" has none`)
}

// TestCheckFlow: the API's problems name the line too.
func TestCheckFlow(t *testing.T) {
	err := checkFlow("b", []byte(helloFlow+"nonsense: true\n"))
	var invalid *chat.ValidationError
	require.ErrorAs(t, err, &invalid)
	require.Regexp(t, `^line \d+, column \d+: `, invalid.Problems[0].Detail)
}

func TestStatusAndDeadLetters(t *testing.T) {
	env, letter := opsServer(t)
	out := good(t, env, "status")
	require.Regexp(t, `(?m)^user +0 +0 +0 +0\.0 % +- +none$`, out)
	require.Regexp(t, `(?m)^bot +parked +2 in 1 lanes `, out)
	require.Regexp(t, `(?m)^broker +ok$`, out)
	require.Len(t, goodJSON[ops.Status](t, env, "status").Stages, 2)

	out = good(t, env, "dead", "list", "--stage", "bot", "--channel", "shop", "--limit", "1")
	require.Contains(t, out, letter.MessageID)
	require.Contains(t, out, "more: --before 2")
	require.NotContains(t, out, "\x1b", "a terminal's commands are not passed on")
	out = good(t, env, "dead", "show", letter.MessageID)
	require.Contains(t, out, "after 1.5s, status 500: server error")
	require.Contains(t, out, "oops")
	require.Len(t, goodJSON[ops.DeadLetterPage](t, env, "dead", "list", "--before", "2").Items, 1)
}

// parkLane parks a lane that is held, of a conversation whose id is awkward.
func parkLane(t *testing.T, conn *broker.Conn) {
	t.Helper()
	const conversation = "ben\x1b[2J"
	id, at := lane.ID{Group: "crm", Key: chat.KeyOf("shop", conversation)}, time.UnixMilli(1_700_000_000_000)
	store, err := lane.NewJetStream(t.Context(), conn, chat.StageBot, id.Key.Partition(brokertest.Layout.Partitions))
	require.NoError(t, err)
	for seq := range uint64(2) {
		data, err := wire.EncodeBotMessage(&chat.BotMessage{
			ID: chat.BotMessageID(at, id.Key, "msg_x", int(seq)), ChannelID: "shop", ConversationID: conversation, Message: []byte(`{}`),
		})
		require.NoError(t, err)
		_, err = store.Append(t.Context(), id, &lane.Message{Seq: seq + 1, Time: at, Data: data})
		require.NoError(t, err)
	}
	require.NoError(t, store.PutState(t.Context(), id, &chat.LaneState{
		HeadSeq: 1, AttemptCount: 11, Held: true, Attempts: []chat.Attempt{{At: at, Status: 500, Error: "status 500"}},
	}))
}

func TestLanes(t *testing.T) {
	env, _ := opsServer(t)
	name := "bot.crm." + chat.KeyOf("shop", "ben\x1b[2J").String()
	out := good(t, env, "lane", "list", "--endpoint", "crm", "--held")
	require.Regexp(t, `(?m)^`+name+` +crm +ben\?\[2J +2 +\S+ +11 +held +status 500$`, out)
	require.NotContains(t, out, "\x1b")
	require.NotContains(t, good(t, env, "lane", "list", "--stage", "user"), name)
	out = good(t, env, "lane", "show", name)
	require.Regexp(t, `(?m)^messages +2$`, out)
	require.Regexp(t, `(?m)^ +11 .*status 500`, out)

	require.Equal(t, "skip: done by 0 of 1 lanes\nqueued for 1: their owner does it as soon as it can\n", good(t, env, "lane", "skip", name))
	require.Regexp(t, `(?m)^state +held, skip asked by the bootstrap token$`, good(t, env, "lane", "show", name))
	r := parley(t, env, "", "lane", "retry-now", name)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "409")
	good(t, env, "bot", "create", "pizza")
	good(t, env, "channel", "create", "shop", "--bot", "pizza")
	good(t, env, "endpoint", "create", "crm", "--channel", "shop", "--url", "https://example.com/hook")
	require.Contains(t, good(t, env, "lane", "discard", "--endpoint", "crm", "--held"), "not asked of 1: they have not done yet")
	for _, args := range [][]string{{}, {name, "--endpoint", "crm"}, {name, "--held"}, {"--held"}} {
		r := parley(t, env, "", append([]string{"lane", "skip"}, args...)...)
		require.Equal(t, exitFailed, r.code, args)
		require.Contains(t, r.stderr, "--endpoint", args)
	}
}

func TestAge(t *testing.T) {
	now := time.Unix(1000, 0)
	at := now.Add(-90 * time.Second)
	require.Equal(t, "1m30s", age(&at, now))
	require.Empty(t, age(nil, now))
	require.Equal(t, "0s", age(&now, at))
}

func TestClientErrors(t *testing.T) {
	env, _ := opsServer(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, opsTokenFile), []byte(testOpsToken+"\n"), 0o600))
	good(t, env[:1], "status", "--data-dir", dir)

	for name, c := range map[string]struct {
		env  []string
		args []string
		code int
		want []string
	}{
		"refused with places": {env, []string{"endpoint", "create", "crm", "--channel", "shop", "--url", "x"}, 1, []string{"404", "channel \"shop\""}},
		"rules":               {env, []string{"bot", "create", "A b", "--kind", "magic"}, 1, []string{"422", "/id:", "/kind:", `use "echo", "flow" or "http"`}},
		"not found":           {env, []string{"dead", "show", chat.NewMessageID(time.Now(), chat.KeyOf("a", "b"), 2)}, 1, []string{"no dead letter"}},
		"odd id":              {env, []string{"channel", "show", "../bots"}, 1, []string{"404"}},
		"no token":            {env[:1], []string{"status", "--data-dir", t.TempDir()}, 1, []string{"--ops-token", "PARLEY_OPS_TOKEN"}},
		"wrong token":         {env[:1], []string{"status", "--ops-token", "x"}, 1, []string{"401", "token"}},
		"bad URL":             {nil, []string{"status", "--ops-url", "localhost"}, 1, []string{"http://127.0.0.1:8081"}},
		"nobody there":        {nil, []string{"status", "--ops-url", "http://127.0.0.1:1", "--ops-token", "x"}, 1, []string{"can't be reached"}},
		"neither":             {env, []string{"token", "create"}, 2, []string{"channel ops"}},
		"no bot":              {env, []string{"channel", "create", "x"}, 2, []string{`"bot"`}},
		"no file":             {env, []string{"bot", "create", "x", "--file", filepath.Join(dir, "none")}, 1, []string{"--file"}},
		"nothing to check":    {nil, []string{"bot", "check", filepath.Join(dir, "none")}, 1, []string{"none"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := parley(t, c.env, "", c.args...)
			require.Equal(t, c.code, r.code, r.stderr)
			require.Empty(t, strings.TrimSpace(r.stdout))
			for _, want := range c.want {
				require.Contains(t, r.stderr, want)
			}
		})
	}
}
