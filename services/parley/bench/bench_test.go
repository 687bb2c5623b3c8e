package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(fakeBinary) != "" {
		fakeMain(os.Args[1:])
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func good() Options {
	return Options{
		Setup:       Setup{Body: 300, Sync: "always", Journal: "all", Bot: "echo"},
		Connections: 4, Conversations: 8, Messages: 100, Rounds: 1,
	}
}

func TestOptions(t *testing.T) {
	require.NoError(t, good().Validate())
	for want, change := range map[string]func(*Options){
		"--connections is 0":            func(o *Options) { o.Connections = 0 },
		"--conversations is 3":          func(o *Options) { o.Conversations = 3 },
		"--messages is -1":              func(o *Options) { o.Messages = -1 },
		"--duration is 2h0m0s":          func(o *Options) { o.Duration = 2 * time.Hour },
		"--messages and --duration are": func(o *Options) { o.Messages = 0 },
		"--rounds is 0":                 func(o *Options) { o.Rounds = 0 },
		"--body is 10 bytes":            func(o *Options) { o.Body = 10 },
		"--rate is -1":                  func(o *Options) { o.Rate = -1 },
		"--batch is 1001":               func(o *Options) { o.Batch = 1001 },
		"--batch and --rate are":        func(o *Options) { o.Batch, o.Rate = 1, 1 },
		"--connections is 17":           func(o *Options) { o.Batch, o.Connections, o.Conversations = 1, 17, 17 },
		"--redis and --redis-url are":   func(o *Options) { o.Redis, o.RedisURL = true, "redis://h" },
		`--bot is "rasa"`:               func(o *Options) { o.Bot = "rasa" },
		`--journal is ""`:               func(o *Options) { o.Journal = "" },
		"--sink-delay is -1s":           func(o *Options) { o.SinkDelay = -time.Second },
		"--sink-errors is 1":            func(o *Options) { o.SinkErrors = 1 },
	} {
		o := good()
		change(&o)
		require.ErrorContains(t, o.Validate(), want)
	}
}

// sinkServer is a sink behind HTTP.
func sinkServer(t *testing.T) (*Sink, *sinkClient) {
	t.Helper()
	sink := NewSink(0, 0)
	s := httptest.NewServer(sink.Handler())
	t.Cleanup(s.Close)
	return sink, &sinkClient{base: s.URL, client: s.Client(), stall: drainStall}
}

// measurementOf measures a load as the relay's, with this process for all.
func measurementOf(l load, client *sinkClient) measurement {
	return measurement{
		kind: KindRelay, load: l, sink: client, alive: func() error { return nil },
		processes: map[string]func() usage{KindRelay: ownUsage},
	}
}

func TestLoadThroughRelayToSink(t *testing.T) {
	_, client := sinkServer(t)
	relay := httptest.NewServer(NewRelay(client.base+"/", 8))
	defer relay.Close()
	l := load{target: relay.URL, round: 1, connections: 8, conversations: 20, messages: 500, size: 300}

	r, err := measurementOf(l, client).run(t.Context())

	require.NoError(t, err)
	require.Equal(t, 500, r.Accepted)
	require.Equal(t, 500, r.Delivered)
	require.Zero(t, r.Refused+r.Failed+r.Duplicates+r.OrderViolations+r.Lost)
	require.Positive(t, r.AcceptedRate)
	require.Positive(t, r.DeliveredRate)
	for _, latency := range []Latency{r.Latency, r.AcceptLatency} {
		require.Positive(t, latency.P50)
		require.LessOrEqual(t, latency.P50, latency.P90)
		require.LessOrEqual(t, latency.P90, latency.P99)
		require.LessOrEqual(t, latency.P99, latency.Max)
	}
	require.LessOrEqual(t, r.Latency.P50, r.AcceptLatency.Max, "the relay answers after it has delivered")
}

func TestLoadEndsWithItsDuration(t *testing.T) {
	_, client := sinkServer(t)
	l := load{target: client.base, round: 1, connections: 2, conversations: 2, duration: time.Nanosecond, size: 300}
	s, err := l.run(t.Context())
	require.NoError(t, err)
	require.Zero(t, s.Accepted)
}

func TestLoadCountsRefusals(t *testing.T) {
	var n atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader([]int{202, 503, 429}[(n.Add(1)-1)%3])
	}))
	defer api.Close()
	s, err := load{target: api.URL, connections: 1, conversations: 1, messages: 6, size: 300}.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, s.Accepted)
	require.Equal(t, 4, s.Refused)
}

func TestLoadEndsOnAnotherAnswer(t *testing.T) {
	api := httptest.NewServer(http.NotFoundHandler())
	defer api.Close()
	_, err := load{target: api.URL, connections: 2, conversations: 2, messages: 9, size: 300}.run(t.Context())
	require.ErrorContains(t, err, "answered 404")
}

func TestLoadCountsWhatGotNoAnswer(t *testing.T) {
	s, err := load{target: "http://127.0.0.1:1", connections: 1, conversations: 1, messages: 2, size: 300}.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, s.Failed)
}

func TestRelayDoesNotAcceptWhatTheTargetRefuses(t *testing.T) {
	target := httptest.NewServer(http.NotFoundHandler())
	defer target.Close()
	w := httptest.NewRecorder()
	NewRelay(target.URL, 1).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(nil)))
	require.Equal(t, http.StatusBadGateway, w.Code)
}

func TestDrainGivesUpWhenAProcessEnds(t *testing.T) {
	_, client := sinkServer(t)
	_, err := client.drain(t.Context(), 1, func() error { return fmt.Errorf("serve ended during the run") })
	require.ErrorContains(t, err, "serve ended")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.drain(ctx, 1, func() error { return nil })
	require.ErrorIs(t, err, context.Canceled)
}

func TestUserMessage(t *testing.T) {
	m := marker{Round: 3, Conversation: 12, Sequence: 7, SentAt: 1234}
	for _, size := range []int{0, 300, 5000} {
		body := appendMessage(nil, m, size)
		require.GreaterOrEqual(t, len(body), size)
		var in struct {
			ConversationID string `json:"conversationId"`
			Message        struct {
				TextMessage struct{ Text string } `json:"textMessage"`
			} `json:"message"`
		}
		require.NoError(t, json.Unmarshal(body, &in))
		require.Equal(t, "bench-3-12", in.ConversationID, "each round's conversations are its own")
		found, ok := findMarker(body)
		require.True(t, ok)
		require.Equal(t, m, found)
	}
	require.Len(t, appendMessage(nil, m, 300), 300)
	require.Len(t, appendMessage(make([]byte, 50), m, 300), 350)
	for _, bad := range []string{"", "parleybench/1/2/3", "parleybench/1/2/x/4/", "parleybench/-1/2/3/4/"} {
		_, ok := findMarker([]byte(bad))
		require.False(t, ok, bad)
	}
}

func TestSinkJudges(t *testing.T) {
	for name, tc := range map[string]struct {
		sequences []int // of conversation 0
		want      SinkStats
	}{
		"in order":         {[]int{0, 1, 2}, SinkStats{Unique: 3}},
		"a gap is no harm": {[]int{0, 5, 200}, SinkStats{Unique: 3}},
		"twice":            {[]int{0, 1, 0, 1, 1}, SinkStats{Unique: 2, Duplicates: 3}},
		"out of order":     {[]int{2, 0, 1, 3}, SinkStats{Unique: 4, OrderViolations: 2}},
		"a late repeat":    {[]int{0, 1, 2, 0}, SinkStats{Unique: 3, Duplicates: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSink(0, 0)
			s.now = func() time.Time { return time.Unix(0, 1_000_000) }
			s.begin(1, 2)
			s.arrived(appendMessage(nil, marker{1, 1, 0, 0}, 0)) // another conversation changes nothing
			for _, n := range tc.sequences {
				s.arrived(appendMessage(nil, marker{1, 0, n, 0}, 0))
			}
			got := s.Stats()
			require.Equal(t, Latency{time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond}, got.Latency)
			require.EqualValues(t, 1_000_000, got.FirstAt)
			require.EqualValues(t, 1_000_000, got.LastAt)
			tc.want.Unique++
			tc.want.Round, tc.want.Latency, tc.want.FirstAt, tc.want.LastAt = 1, got.Latency, got.FirstAt, got.LastAt
			require.Equal(t, tc.want, got)
		})
	}
}

func TestSinkKnowsStrangers(t *testing.T) {
	s := NewSink(0, 0)
	s.begin(2, 1)
	for _, body := range []string{"hello", string(appendMessage(nil, marker{1, 0, 0, 0}, 0)), string(appendMessage(nil, marker{2, 1, 0, 0}, 0)), string(appendMessage(nil, marker{2, 0, maxSequence, 0}, 0))} {
		s.arrived([]byte(body))
	}
	require.Equal(t, SinkStats{Round: 2, Strangers: 4}, s.Stats())
}

func TestHistogram(t *testing.T) {
	var h histogram
	require.Zero(t, h.summary())
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.9: 900 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second} {
		require.InEpsilon(t, want, h.quantile(q), 0.033, q)
		require.GreaterOrEqual(t, h.quantile(q), want)
	}
	require.Equal(t, time.Second, h.summary().Max)
	for d := time.Duration(1); d > 0; d <<= 1 {
		for _, v := range []time.Duration{d - 1, d, d + 1} {
			b := bucketOf(v)
			require.LessOrEqual(t, v, upperOf(b))
			require.True(t, b == 0 || upperOf(b-1) < v, "%d", v)
		}
	}
}

func TestProc(t *testing.T) {
	stat := []byte("42 (par ley) x) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 8 0 100 1000 10\n")
	require.Equal(t, 2*time.Second, parseStat(stat))
	status := []byte("Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t1 kB\n")
	require.EqualValues(t, 1<<10, parseMemory(status, "VmRSS"))
	require.EqualValues(t, 2048<<10, parseMemory(status, "VmHWM"))
	for _, bad := range []string{"", "1 (x) S", "1 (x) S 1 2 3 4 5 6 7 8 9 10 a b c"} {
		require.Zero(t, parseStat([]byte(bad)))
		require.Zero(t, parseMemory([]byte(bad), "VmHWM"))
	}
	require.Zero(t, usageOf(-1))
}
