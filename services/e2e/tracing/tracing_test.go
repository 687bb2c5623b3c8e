package tracing

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
)

// binaries are built once for all tests.
var binaries *e2e.Binaries

func TestMain(m *testing.M) {
	// The testing package exits with what m.Run returned.
	if err := e2e.Main(m, func(b *e2e.Binaries) { binaries = b }); err != nil {
		panic(err)
	}
}

const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"

// bot is an http bot that says back what it was told, and what it was asked with.
type bot struct {
	*httptest.Server
	mu   sync.Mutex
	seen []http.Header
	fail bool // with what it was told in the error
}

func startBot(t *testing.T) *bot {
	t.Helper()
	b := &bot{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		b.seen = append(b.seen, r.Header)
		fail := b.fail
		b.mu.Unlock()
		if fail {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(said)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"messages":[{"text":"you said `+marked+`"}]}`)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *bot) asked() []http.Header {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

func (b *bot) breakDown() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = true
}

// marked is a text, and secret a secret, that must not be met where they have no
// place; where they are looked for, the parts that quoting might change are left out.
const (
	marked = "zebra-8f1c"
	secret = "hush-77aa"
)

// start starts the binary with a channel whose bot and endpoint are on this machine.
func start(t *testing.T, env []string, botURL string, options ...webhooktest.Option) (*e2e.System, *e2e.Customer) {
	t.Helper()
	s := e2e.NewSystem(t, binaries)
	s.Add("serve", "serve", append(env, "PARLEY_ALLOW_CIDRS=127.0.0.0/8", "PARLEY_ALLOW_PORTS=any"),
		"--public-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data-dir", t.TempDir()).Start()
	shop := e2e.NewCustomerWith(t, s, "shop", "echo", []string{"--retry", "20ms,20ms"}, options...)
	s.Parley("bot", "update", "shop", "--kind", "http", "--url", botURL, "--retry", "20ms")
	return s, shop
}

// send posts a user message with a trace, or without.
func send(t *testing.T, s *e2e.System, shop *e2e.Customer, conversation, traceparent string) {
	t.Helper()
	body := fmt.Sprintf(`{"conversationId":%q,"message":{"textMessage":{"text":%q}}}`, conversation, "I said "+marked)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.PublicURL()+"/v1/channels/webhook/"+shop.Channel+"/messages", strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+shop.Token)
	r.Header.Set("Content-Type", "application/json")
	if traceparent != "" {
		r.Header.Set("Traceparent", traceparent)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusAccepted, answer.StatusCode)
}

// A user's message, the turn, the bot's answer and two attempts, of which the first
// fails, are one trace; the bot and the customer get the context of their own span.
func TestOneTrace(t *testing.T) {
	for protocol, url := range map[string]func(*collector) string{"http/protobuf": (*collector).serveHTTP, "grpc": (*collector).serveGRPC} {
		t.Run(protocol, func(t *testing.T) {
			c, b := newCollector(t), startBot(t)
			s, shop := start(t, []string{
				"PARLEY_OTLP_ENDPOINT=" + url(c), "PARLEY_OTLP_PROTOCOL=" + protocol, "PARLEY_TRACE_SAMPLE=0", "OTEL_BSP_SCHEDULE_DELAY=100",
			}, b.URL+"/hook/"+secret+"?key="+secret, webhooktest.WithSteps(
				webhooktest.Step{Conversation: "anna", Reply: webhooktest.Reply{Status: http.StatusInternalServerError}}))
			send(t, s, shop, "carl", "") // one that begins here is not recorded, as --trace-sample has it
			untraced := shop.Await(1)
			send(t, s, shop, "anna", "00-"+traceID+"-00f067aa0ba902b7-01")
			delivered := shop.Await(3)

			spans := map[string]*otlp.Span{}
			for _, span := range c.await(traceID, 6) {
				name := span.GetName()
				if span.GetKind() == otlp.Span_SPAN_KIND_CLIENT {
					name += " " + attribute(span.GetAttributes(), "parley.endpoint") + " " + attribute(span.GetAttributes(), "parley.attempt")
				}
				spans[name] = span
				require.NotContains(t, span.String(), marked)
				require.NotContains(t, span.String(), secret)
				require.NotContains(t, span.String(), "anna")
			}
			server, publish := spans["POST /v1/channels/webhook/:channelId/messages"], spans["publish user"]
			process, asked := spans["process user"], spans["POST  "]
			first, second := spans["POST "+shop.EndpointID+" 1"], spans["POST "+shop.EndpointID+" 2"]
			require.Len(t, spans, 6, "%v", spans)
			require.Equal(t, "00f067aa0ba902b7", hex.EncodeToString(server.GetParentSpanId()))
			for child, parent := range map[*otlp.Span]*otlp.Span{publish: server, process: publish, asked: process, first: process, second: process} {
				require.Equal(t, parent.GetSpanId(), child.GetParentSpanId(), "the parent of %s", child)
			}
			require.Equal(t, otlp.Span_SPAN_KIND_SERVER, server.GetKind())
			require.Equal(t, "202", attribute(server.GetAttributes(), "http.response.status_code"))
			require.Equal(t, otlp.Span_SPAN_KIND_PRODUCER, publish.GetKind())
			require.Equal(t, otlp.Span_SPAN_KIND_CONSUMER, process.GetKind())
			for span, want := range map[*otlp.Span][]string{first: {"retry", "500", "500"}, second: {"delivered", "200", ""}} {
				attributes := span.GetAttributes()
				require.Equal(t, want, []string{
					attribute(attributes, "parley.outcome"), attribute(attributes, "http.response.status_code"), attribute(attributes, "error.type"),
				})
				require.Equal(t, "127.0.0.1", attribute(attributes, "server.address"))
			}

			own := func(span *otlp.Span) string {
				return "00-" + traceID + "-" + hex.EncodeToString(span.GetSpanId()) + "-01"
			}
			require.Equal(t, own(first), delivered[1].Header.Get("Traceparent"))
			require.Equal(t, own(second), delivered[2].Header.Get("Traceparent"))
			asks := b.asked()
			require.Equal(t, own(asked), asks[len(asks)-1].Get("Traceparent"))
			require.Regexp(t, "-00$", untraced[0].Header.Get("Traceparent"))
			require.Equal(t, untraced[0].Header.Get("Traceparent"), asks[0].Get("Traceparent"), "it goes on as it was made")
			require.True(t, c.services["parley"])
		})
	}
}

// The log has a line for each attempt, with its trace, and neither a secret nor a
// word of what was said, whatever goes wrong: an endpoint that says back what it was
// sent, as an answer or as no HTTP at all, a bot that does, and a dead letter of each.
func TestLogs(t *testing.T) {
	b := startBot(t)
	echo := webhooktest.WithScript(func(_ int, r *webhooktest.Received) webhooktest.Reply {
		return webhooktest.Reply{Status: http.StatusInternalServerError, Body: string(r.Raw)}
	})
	s, shop := start(t, nil, b.URL+"/hook/"+secret+"?key="+secret, echo)
	garbled := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said, _ := io.ReadAll(r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = conn.Write(append(said, "\r\n\r\n"...))
			_ = conn.Close()
		}
	}))
	t.Cleanup(garbled.Close)
	s.Parley("endpoint", "create", "--channel", "shop", "--url", garbled.URL+"/"+secret+"?key="+secret, "--verify-token", secret,
		"--header", "X-Key: "+secret, "--retry", "20ms,20ms")
	send(t, s, shop, "anna", "00-"+traceID+"-00f067aa0ba902b7-01")
	s.AwaitIdle()
	b.breakDown()
	send(t, s, shop, "bert", "00-"+traceID+"-00f067aa0ba902b7-01")
	s.AwaitIdle()
	letters, err := s.DeadLetters(t.Context(), "shop")
	require.NoError(t, err)
	require.Len(t, letters, 3, "one at each endpoint, and one turn")
	bots, posts := len(b.asked()), len(shop.All())
	s.Services["serve"].Stop()

	log := s.Services["serve"].Tail()
	require.Contains(t, log, `"msg":"ready"`, "the whole log")
	for _, never := range []string{marked, secret, shop.Token, shop.VerifyToken, s.Services["serve"].At.OpsToken} {
		require.NotEmpty(t, never)
		require.NotContains(t, log, never)
	}
	lines := map[string]int{}
	for scanner := bufio.NewScanner(bytes.NewBufferString(log)); scanner.Scan(); {
		var line map[string]any
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &line), scanner.Text())
		if line["message"] != nil {
			require.Equal(t, traceID, line["trace_id"], scanner.Text())
		}
		if line["msg"] != "attempt" {
			continue
		}
		where := fmt.Sprint(line["bot"], line["endpoint"])
		lines[where]++
		require.EqualValues(t, "info", line["level"])
		for _, field := range []string{"time", "logger", "channel", "conversation", "attempt", "outcome", "duration"} {
			require.Contains(t, line, field)
		}
	}
	require.Equal(t, bots, lines["shop<nil>"])
	require.Equal(t, posts, lines["<nil>"+shop.EndpointID])
	require.Len(t, lines, 3)
	require.NotZero(t, posts)
}
