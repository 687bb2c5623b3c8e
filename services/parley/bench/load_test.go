package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot/flow"
)

func TestOpenLoopKeepsTheOrder(t *testing.T) {
	_, client := sinkServer(t)
	relay := httptest.NewServer(NewRelay(client.base+"/", 8))
	defer relay.Close()
	l := load{target: relay.URL, round: 1, connections: 8, conversations: 3, messages: 300, size: 300, rate: 1_000_000}
	r, err := measurementOf(l, client).run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 300, r.Delivered)
	require.Zero(t, r.OrderViolations+r.Duplicates+r.Lost+r.Unsent)
}

// A conversation that gets no answer keeps none of the others waiting.
func TestOpenLoopWaitsForNobody(t *testing.T) {
	const conversations, each = 5, 20
	rest := make(chan struct{}, conversations*each)
	held := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m, ok := findMarker(body)
		switch {
		case !ok:
			w.WriteHeader(http.StatusBadRequest)
			return
		case m.Conversation == 0:
			<-held
		default:
			rest <- struct{}{}
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer api.Close()
	go func() {
		for range (conversations - 1) * each {
			<-rest
		}
		close(held)
	}()
	s, err := load{target: api.URL, connections: 2, conversations: conversations, messages: conversations * each, size: 300, rate: 1_000_000}.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, conversations*each, s.Accepted)
}

// A message that is sent late, because another was answered late, counts from
// when it was due.
func TestOpenLoopCountsFromWhenAMessageWasDue(t *testing.T) {
	var mu sync.Mutex
	due := map[int]int64{}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m, _ := findMarker(body)
		if m.Sequence == 0 {
			<-time.After(20 * time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		due[m.Sequence] = m.SentAt
		w.WriteHeader(http.StatusAccepted)
	}))
	defer api.Close()
	s, err := load{target: api.URL, connections: 1, conversations: 1, messages: 10, size: 300, rate: 1000}.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 10, s.Accepted)
	for i := range 10 {
		after := time.Duration(due[i] - due[0])
		require.GreaterOrEqual(t, after, time.Duration(i)*time.Millisecond-time.Microsecond)
		require.LessOrEqual(t, after, time.Duration(i)*time.Millisecond+timerGrain)
	}
	require.GreaterOrEqual(t, s.Latency.P90, 10*time.Millisecond)
}

func TestOpenLoopEnds(t *testing.T) {
	for want, l := range map[int]load{
		7:  {rate: 10, messages: 7},
		20: {rate: 10, duration: 2 * time.Second},
		5:  {rate: 10, duration: 2 * time.Second, messages: 5},
	} {
		require.Equal(t, want, l.total())
	}
	o := &openLoop{load: load{rate: 10, duration: time.Second, conversations: 1}, start: time.Now().Add(-time.Minute), room: make(chan struct{}, 1)}
	unsent, err := o.schedule(t.Context())
	require.NoError(t, err)
	require.Equal(t, 10, unsent, "what was due and is too late to be sent")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = load{target: "http://127.0.0.1:1", connections: 2, conversations: 2, messages: 9, size: 300, rate: 1}.run(ctx)
	require.ErrorIs(t, err, context.Canceled)
	api := httptest.NewServer(http.NotFoundHandler())
	defer api.Close()
	_, err = load{target: api.URL, connections: 2, conversations: 2, messages: 50, size: 300, rate: 100_000}.run(t.Context())
	require.ErrorContains(t, err, "answered 404")
}

func TestBatches(t *testing.T) {
	sink := NewSink(0, 0)
	sink.begin(1, 7)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") != "application/x-ndjson" || r.Header.Get("Authorization") != "Bearer pat_1" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		lines := 0
		for scan := bufio.NewScanner(r.Body); scan.Scan(); lines++ {
			sink.arrived(scan.Bytes())
			_, _ = fmt.Fprintln(w, `{"status":202,"messageId":"msg_1"}`)
		}
		if lines > 10 {
			panic("too many lines")
		}
	}))
	defer api.Close()
	s, err := load{target: api.URL, token: "pat_1", round: 1, connections: 3, conversations: 7, messages: 95, batch: 10, size: 300}.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 95, s.Accepted)
	require.Zero(t, s.Refused+s.Failed)
	stats := sink.Stats()
	require.Equal(t, 95, stats.Unique)
	require.Zero(t, stats.OrderViolations+stats.Duplicates+stats.Strangers)

	_, err = load{target: api.URL, connections: 1, conversations: 1, messages: 1, batch: 10, size: 300}.run(t.Context())
	require.ErrorContains(t, err, "answered 404")
}

func TestBatchLinesThatAreRefused(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"status":202,"messageId":"msg_1"}`+"\n"+`{"type":"store-full","status":503}`+"\n")
	}))
	defer api.Close()
	s, err := load{target: api.URL, connections: 1, conversations: 1, messages: 4, batch: 2, size: 300}.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, s.Accepted)
	require.Equal(t, 2, s.Refused)
}

func TestPausedRoundWaitsForNoDelivery(t *testing.T) {
	_, client := sinkServer(t)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	defer api.Close()
	m := measurementOf(load{target: api.URL, round: 1, connections: 2, conversations: 2, messages: 50, size: 300}, client)
	m.paused = true
	r, err := m.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 50, r.Accepted)
	require.Zero(t, r.Delivered+r.Lost)
}

func TestSinkMakesErrors(t *testing.T) {
	sink, client := sinkServer(t)
	sink.errors, sink.delay = 0.25, time.Nanosecond
	answers := []float64{0.1, 0.9, 0.25}
	sink.chance = func() float64 {
		next := answers[0]
		answers = answers[1:]
		return next
	}
	relay := httptest.NewServer(NewRelay(client.base+"/", 1))
	defer relay.Close()
	s, err := load{target: relay.URL, connections: 1, conversations: 1, messages: 3, size: 300}.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, s.Accepted)
	require.Equal(t, 1, s.Refused)
	require.Equal(t, 1, sink.Stats().Errors)
}

func TestFlowBotIsOne(t *testing.T) {
	_, err := flow.Parse(benchID, []byte(flowBot))
	require.NoError(t, err)
}
