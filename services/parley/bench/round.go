package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Round is what one round came to.
type Round struct {
	Kind            string             `json:"kind"`
	Accepted        int                `json:"accepted"`
	Refused         int                `json:"refused"`
	Failed          int                `json:"failed"` // no answer
	Unsent          int                `json:"unsent"` // of an open loop: due, and no room to send them
	Delivered       int                `json:"delivered"`
	Duplicates      int                `json:"duplicates"`
	OrderViolations int                `json:"orderViolations"`
	Lost            int                `json:"lost"`
	AcceptedRate    float64            `json:"acceptedPerSecond"`
	DeliveredRate   float64            `json:"deliveredPerSecond"` // until the last arrival
	AcceptLatency   Latency            `json:"acceptLatency"`      // of the answers
	Latency         Latency            `json:"latency"`            // from sending, or being due, to arrival
	CPU             map[string]float64 `json:"cpuMicrosecondsPerMessage"`
	PeakRSS         map[string]int64   `json:"peakRSSBytes"`
}

// The processes of every round beside those that are measured.
const (
	sinkName      = "sink"
	generatorName = "generator"
)

func (f *field) round(ctx context.Context, l load, t target, paused bool) (*Round, error) {
	l.target, l.token = t.url, t.token
	m := measurement{
		kind: t.kind, load: l, sink: f.sink, paused: paused,
		processes: map[string]func() usage{
			t.kind: func() usage { return usageOfAll(t.processes) }, sinkName: f.sinkProc.usage, generatorName: ownUsage,
		},
		alive: func() error { return allAlive(append(t.processes, f.sinkProc)) },
	}
	if t.kind == KindPipeline {
		for _, c := range t.processes {
			m.processes[c.name] = c.usage
		}
	}
	return m.run(ctx)
}

func ownUsage() usage { return usageOf(os.Getpid()) }

// allAlive returns an error once one of the children has ended.
func allAlive(children []*child) (err error) {
	for _, c := range children {
		err = errors.Join(err, c.alive())
	}
	return err
}

// measurement is a round that is to be measured. The kind is one of the
// processes.
type measurement struct {
	kind      string
	load      load
	sink      *sinkClient
	processes map[string]func() usage
	alive     func() error
	paused    bool // nothing will arrive
}

// run runs the load and waits until what it sent has arrived.
func (m measurement) run(ctx context.Context) (*Round, error) {
	if err := m.sink.begin(ctx, m.load.round, m.load.conversations); err != nil {
		return nil, err
	}
	before := make(map[string]usage, len(m.processes))
	for name, read := range m.processes {
		before[name] = read()
	}
	s, err := m.load.run(ctx)
	if err != nil {
		return nil, errors.Join(err, m.alive())
	}
	r := &Round{
		Kind: m.kind, Accepted: s.Accepted, Refused: s.Refused, Failed: s.Failed, Unsent: s.Unsent,
		AcceptedRate: rate(s.Accepted, s.Took), AcceptLatency: s.Latency,
		CPU: map[string]float64{}, PeakRSS: map[string]int64{},
	}
	messages := s.Accepted
	if !m.paused {
		stats, err := m.sink.drain(ctx, s.Accepted, m.alive)
		if err != nil {
			return nil, err
		}
		r.judge(stats, s.Start)
		messages = stats.Unique
	}
	for name, read := range m.processes {
		after := read()
		r.CPU[name] = microseconds(after.CPU-before[name].CPU, messages)
		r.PeakRSS[name] = after.PeakRSS
	}
	return r, nil
}

// judge takes up what the sink has seen.
func (r *Round) judge(stats SinkStats, start time.Time) {
	r.Delivered, r.Duplicates, r.OrderViolations = stats.Unique, stats.Duplicates, stats.OrderViolations
	r.Lost = max(0, r.Accepted-stats.Unique)
	r.DeliveredRate = rate(stats.Unique, time.Unix(0, stats.LastAt).Sub(start))
	r.Latency = stats.Latency
}

// microseconds is the CPU time of a message.
func microseconds(cpu time.Duration, messages int) float64 {
	return float64(cpu.Microseconds()) / float64(max(1, messages))
}

func rate(n int, took time.Duration) float64 {
	if n == 0 || took <= 0 {
		return 0
	}
	return float64(n) / took.Seconds()
}

func (r *Round) line() string {
	var parts []string
	if r.AcceptedRate > 0 {
		parts = append(parts, fmt.Sprintf("%.0f accepted/s", r.AcceptedRate))
	}
	if r.Delivered > 0 {
		parts = append(parts, fmt.Sprintf("%.0f delivered/s", r.DeliveredRate))
	}
	parts = append(parts, fmt.Sprintf("%.0f µs CPU a message", r.CPU[r.Kind]))
	if r.Delivered > 0 {
		parts = append(parts, fmt.Sprintf("%d duplicates, %d out of order, %d lost", r.Duplicates, r.OrderViolations, r.Lost))
	}
	return strings.Join(parts, ", ")
}
