package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// ParkedOptions say how to measure the drain of parked messages: an endpoint is
// disabled, its messages are parked, and it is enabled again.
type ParkedOptions struct {
	Setup
	Messages    int
	Lanes       int           // conversations that the messages are of
	Connections int           // of the hot path's round, and its conversations
	Duration    time.Duration // of the hot path's sending
}

// Validate reports the first option that can't work.
func (o ParkedOptions) Validate() error {
	switch {
	case o.Messages < 1 || o.Messages > maxMessages:
		return fmt.Errorf("--messages is %d: set it to 1..%d", o.Messages, maxMessages)
	case o.Lanes < fillConnections || o.Lanes > maxConversations:
		return fmt.Errorf("--lanes is %d: set it to %d..%d", o.Lanes, fillConnections, maxConversations)
	}
	return o.hot().Validate()
}

// hot is the hot path's round.
func (o ParkedOptions) hot() Options {
	return Options{Setup: o.Setup, Connections: o.Connections, Conversations: o.Connections, Duration: o.Duration, Rounds: 1}
}

// Parked is what a drain of parked messages came to, beside the hot path.
type Parked struct {
	Origin
	SetupReport
	Messages int           `json:"messages"`
	Lanes    int           `json:"lanes"`
	Hot      Round         `json:"hot"`
	Parking  float64       `json:"parkedPerSecond"` // from the first message accepted to the last one parked
	First    time.Duration `json:"firstNs"`         // from the endpoint's return to the first arrival
	Drain    Round         `json:"drain"`           // accepted is what was parked; rates count from the endpoint's return
	Ratio    float64       `json:"ratio"`           // of deliveries a second, to the hot path's
}

// RunParked measures. Progress gets a line a step.
func RunParked(ctx context.Context, o ParkedOptions, progress io.Writer) (report *Parked, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	f, err := newField(o.Setup)
	if err != nil {
		return nil, err
	}
	defer f.close(&err)
	if err := f.startSink(ctx); err != nil {
		return nil, err
	}
	s, err := f.serve(ctx, unbounded...)
	if err != nil {
		return nil, err
	}
	report = &Parked{Origin: newOrigin(o.Setup), SetupReport: o.report(), Messages: o.Messages, Lanes: o.Lanes}
	for _, step := range []func(context.Context, ParkedOptions, *serving, *Parked) (string, error){f.hotPath, f.park, f.unpark} {
		line, err := step(ctx, o, s, report)
		if err == nil {
			_, err = fmt.Fprintln(progress, line)
		}
		if err != nil {
			return nil, err
		}
	}
	return report, nil
}

func (f *field) hotPath(ctx context.Context, o ParkedOptions, s *serving, p *Parked) (string, error) {
	f.rounds++
	r, err := f.round(ctx, o.hot().load(f.rounds), s.target(), false)
	if err != nil {
		return "", fmt.Errorf("the hot path: %w", err)
	}
	p.Hot = *r
	return "the hot path: " + r.line(), nil
}

// park disables the endpoint, sends, and waits until no message stands in a
// stream that workers read.
func (f *field) park(ctx context.Context, o ParkedOptions, s *serving, p *Parked) (string, error) {
	if err := s.disable(ctx); err != nil {
		return "", err
	}
	start := time.Now()
	if _, err := f.fill(ctx, s, o.Messages, o.Lanes); err != nil {
		return "", err
	}
	quiet := 0 // a message may be on its way from one stage to the other
	if err := poll(ctx, drainPoll, func() (bool, error) {
		user, bot, err := s.status(ctx)
		if err != nil {
			return false, errors.Join(err, s.allAlive())
		}
		if quiet++; user.Waiting+user.Parked.Messages+bot.Waiting > 0 {
			quiet = 0
		}
		return quiet == 2, nil
	}); err != nil {
		return "", err
	}
	p.Parking = rate(o.Messages, time.Since(start))
	return fmt.Sprintf("%d messages of %d lanes are parked: %.0f/s", o.Messages, o.Lanes, p.Parking), nil
}

// unpark enables the endpoint and waits until all has arrived.
func (f *field) unpark(ctx context.Context, o ParkedOptions, s *serving, p *Parked) (string, error) {
	before, start := s.usages(), time.Now()
	if err := s.enable(ctx); err != nil {
		return "", err
	}
	stats, err := f.sink.drain(ctx, o.Messages, s.allAlive)
	if err != nil {
		return "", err
	}
	r := &p.Drain
	*r = Round{Kind: KindPipeline, Accepted: o.Messages, CPU: map[string]float64{}, PeakRSS: map[string]int64{}}
	r.judge(stats, start)
	r.Latency = Latency{} // it counts the time for which the endpoint was away
	for name, used := range s.usages() {
		r.CPU[name] = microseconds(used.CPU-before[name].CPU, r.Delivered)
		r.PeakRSS[name] = used.PeakRSS
	}
	if stats.Unique > 0 {
		p.First = time.Unix(0, stats.FirstAt).Sub(start)
	}
	p.Ratio = quotient(r.DeliveredRate, p.Hot.DeliveredRate)
	return "the drain: " + r.line(), nil
}

// WriteJSON writes the whole report.
func (p *Parked) WriteJSON(w io.Writer) error { return writeJSON(w, p) }

// WriteTable writes the drain beside the hot path.
func (p *Parked) WriteTable(w io.Writer) error {
	t := newSheet("deliveries", "hot path", "drain")
	figures := func(name string, of func(r Round) float64) {
		t.figures(name, "%.0f", []cell{{of(p.Hot), true}, {of(p.Drain), true}})
	}
	count := func(name string, of func(r Round) int) {
		t.row(name, strconv.Itoa(of(p.Hot)), strconv.Itoa(of(p.Drain)))
	}
	figures("delivered/s", func(r Round) float64 { return r.DeliveredRate })
	figures("CPU µs/message", func(r Round) float64 { return r.CPU[KindPipeline] })
	for _, name := range pipelineProcesses(p.Drain.CPU) {
		figures("peak RSS MiB, "+name, func(r Round) float64 { return mib(r.PeakRSS[name]) })
	}
	count("delivered", func(r Round) int { return r.Delivered })
	count("duplicates", func(r Round) int { return r.Duplicates })
	count("out of order", func(r Round) int { return r.OrderViolations })
	count("lost", func(r Round) int { return r.Lost })
	t.row("parked/s", "", fmt.Sprintf("%.0f", p.Parking))
	t.row("first delivery, ms", "", fmt.Sprintf("%.0f", ms(p.First)))
	return t.write(w, fmt.Sprintf("%s; %d messages of %d lanes; %s", p.Machine, p.Messages, p.Lanes, p.line()))
}
