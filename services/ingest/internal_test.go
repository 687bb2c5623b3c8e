package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/ratelimit"
)

func TestOptions(t *testing.T) {
	require.NoError(t, Options{Partitions: 8}.Validate())
	for name, o := range map[string]Options{
		"no partitions":       {},
		"too many":            {Partitions: 257},
		"negative body":       {Partitions: 1, MaxBody: -1},
		"negative wait":       {Partitions: 1, RepeatWait: -1},
		"publish too patient": {Partitions: 1, PublishTimeout: time.Minute},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, o.Validate(), "set it") })
	}
}

func TestNewRefuses(t *testing.T) {
	good := Deps{Publisher: &broker.Conn{}, Config: func() Config { return fixed{} }, CatchUp: fixedLater, Metrics: prometheus.NewRegistry(), Log: zap.NewNop()}
	_, err := New(Options{Addr: "127.0.0.1:0"}, good)
	require.ErrorContains(t, err, "partitions")
	_, err = New(Options{Addr: "nowhere", Partitions: 1}, good)
	require.ErrorContains(t, err, "host:port")
	_, err = New(Options{Addr: "127.0.0.1:0", Partitions: 1}, Deps{})
	require.ErrorContains(t, err, "needs a publisher")
}

// fixed is a configuration of one channel, which every token opens.
type fixed struct{ Config }

func (fixed) Revision() uint64 { return 7 }

func (fixed) Authenticate(string) (chat.Token, bool) { return chat.Token{ChannelID: "shop"}, true }

func (fixed) Channel(string) (*chat.Channel, bool) { return &shop, true }

var shop = chat.Channel{ID: "shop"}

func fixedLater(context.Context) (Config, error) { return fixed{}, nil }

type confirms struct{}

func (confirms) Publish(context.Context, broker.Message) (uint64, error) { return 1, nil }

// BenchmarkHandler is the service's own part of a message, without HTTP's, where
// there are no limits.
func BenchmarkHandler(b *testing.B) {
	const body = `{"conversationId":"c1","message":{"textMessage":{"text":"A large pizza with mushrooms, please"}}}`
	benchmarkHandler(b, contentJSON, body, http.StatusAccepted)
}

// BenchmarkBatchHandler is that of a batch: 1,000 messages of 100 conversations.
func BenchmarkBatchHandler(b *testing.B) {
	var body strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&body, `{"conversationId":"c%d","message":{"textMessage":{"text":"A large pizza with mushrooms, please"}}}`+"\n", i%100)
	}
	benchmarkHandler(b, contentNDJSON, body.String(), http.StatusOK)
}

func benchmarkHandler(b *testing.B, content, body string, status int) {
	b.Helper()
	d, err := Deps{
		Publisher: confirms{}, Config: func() Config { return fixed{} }, CatchUp: fixedLater, Metrics: prometheus.NewRegistry(), Log: zap.NewNop(),
		Limiter: ratelimit.New(ratelimit.Options{Log: zap.NewNop(), Metrics: prometheus.NewRegistry()}),
	}.withDefaults()
	require.NoError(b, err)
	s := &Service{opts: Options{Partitions: 8}.withDefaults(), deps: d, metrics: newMetrics(d.Metrics)}
	s.batches = make(chan struct{}, s.opts.MaxBatches)
	e := s.routes()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/channels/webhook/shop/messages", strings.NewReader(body))
		r.Header.Set("Content-Type", content)
		r.Header.Set("Authorization", "Bearer x")
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, r)
		if rec.Code != status {
			b.Fatal(rec.Body)
		}
	}
}

func TestAppendJSON(t *testing.T) {
	for _, s := range []string{"", "c1", `a"b\c`, "<&>", "é", "\u2028", "a\x7f\tb", "\xff"} {
		want, err := json.Marshal(s)
		require.NoError(t, err)
		require.Equal(t, "x"+string(want), string(appendJSON([]byte("x"), s)))
	}
}
