package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// Round is what one round came to.
type Round struct {
	Kind            string             `json:"kind"`
	Accepted        int                `json:"accepted"`
	Refused         int                `json:"refused"`
	Failed          int                `json:"failed"` // no answer
	Delivered       int                `json:"delivered"`
	Duplicates      int                `json:"duplicates"`
	OrderViolations int                `json:"orderViolations"`
	Lost            int                `json:"lost"`
	AcceptedRate    float64            `json:"acceptedPerSecond"`
	DeliveredRate   float64            `json:"deliveredPerSecond"` // until the last arrival
	AcceptLatency   Latency            `json:"acceptLatency"`      // of the answers
	Latency         Latency            `json:"latency"`            // from sending to arrival
	CPU             map[string]float64 `json:"cpuMicrosecondsPerMessage"`
	PeakRSS         map[string]int64   `json:"peakRSSBytes"`
}

// The drain after a round's sending ends when everything accepted has arrived,
// or when nothing has arrived for a while: what is missing then is lost.
const (
	drainPoll  = 20 * time.Millisecond
	drainStall = 15 * time.Second
)

func (f *field) round(ctx context.Context, number int, t target) (*Round, error) {
	processes := map[string]func() usage{
		"sink": f.sinkProc.usage, t.kind: t.process.usage,
		"generator": func() usage { return usageOf(os.Getpid()) },
	}
	alive := func() error { return errors.Join(f.sinkProc.alive(), t.process.alive()) }
	l := load{
		target: t.url, token: t.token, round: number,
		connections: f.options.Connections, conversations: f.options.Conversations,
		messages: f.options.Messages, duration: f.options.Duration, size: f.options.Body,
	}
	return measure(ctx, t.kind, l, f.sink, processes, alive)
}

// measure runs a load and waits until what it sent has arrived.
func measure(ctx context.Context, kind string, l load, sink *sinkClient, processes map[string]func() usage, alive func() error) (*Round, error) {
	if err := sink.begin(ctx, l.round, l.conversations); err != nil {
		return nil, err
	}
	before := make(map[string]usage, len(processes))
	for name, read := range processes {
		before[name] = read()
	}
	s, err := l.run(ctx)
	if err != nil {
		return nil, errors.Join(err, alive())
	}
	stats, err := sink.drain(ctx, s.Accepted, alive)
	if err != nil {
		return nil, err
	}
	r := &Round{
		Kind: kind, Accepted: s.Accepted, Refused: s.Refused, Failed: s.Failed,
		Delivered: stats.Unique, Duplicates: stats.Duplicates, OrderViolations: stats.OrderViolations,
		Lost:          max(0, s.Accepted-stats.Unique),
		AcceptedRate:  rate(s.Accepted, s.Took),
		DeliveredRate: rate(stats.Unique, time.Unix(0, stats.LastAt).Sub(s.Start)),
		AcceptLatency: s.Latency, Latency: stats.Latency,
		CPU: map[string]float64{}, PeakRSS: map[string]int64{},
	}
	for name, read := range processes {
		after := read()
		r.CPU[name] = float64((after.CPU - before[name].CPU).Microseconds()) / float64(max(1, stats.Unique))
		r.PeakRSS[name] = after.PeakRSS
	}
	return r, nil
}

func rate(n int, took time.Duration) float64 {
	if n == 0 || took <= 0 {
		return 0
	}
	return float64(n) / took.Seconds()
}

func (r *Round) line() string {
	return fmt.Sprintf("%.0f accepted/s, %.0f delivered/s, %.0f µs CPU a message, %d duplicates, %d out of order, %d lost",
		r.AcceptedRate, r.DeliveredRate, r.CPU[r.Kind], r.Duplicates, r.OrderViolations, r.Lost)
}

// sinkClient talks to the sink's process.
type sinkClient struct {
	base   string
	client *http.Client
}

func (s *sinkClient) begin(ctx context.Context, round, conversations int) error {
	query := url.Values{"number": {strconv.Itoa(round)}, "conversations": {strconv.Itoa(conversations)}}
	_, err := s.ask(ctx, http.MethodPost, "/round?"+query.Encode())
	return err
}

func (s *sinkClient) stats(ctx context.Context) (stats SinkStats, err error) {
	body, err := s.ask(ctx, http.MethodGet, "/stats")
	if err != nil {
		return stats, err
	}
	if err := json.Unmarshal(body, &stats); err != nil {
		return stats, fmt.Errorf("the sink's figures: %w", err)
	}
	return stats, nil
}

func (s *sinkClient) ask(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("the sink: %w", err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the sink: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("the sink: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("the sink answered %s: %s", resp.Status, body)
	}
	return body, nil
}

// drain waits until as many have arrived as were accepted, or nothing comes
// any more.
func (s *sinkClient) drain(ctx context.Context, accepted int, alive func() error) (SinkStats, error) {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	last, lastAt := -1, time.Now()
	for {
		stats, err := s.stats(ctx)
		if err != nil {
			return stats, errors.Join(err, alive())
		}
		if arrived := stats.Unique + stats.Duplicates; arrived != last {
			last, lastAt = arrived, time.Now()
		}
		if stats.Unique >= accepted || time.Since(lastAt) > drainStall {
			return stats, nil
		}
		select {
		case <-ctx.Done():
			return stats, context.Cause(ctx)
		case <-tick.C:
		}
		if err := alive(); err != nil {
			return stats, err
		}
	}
}
