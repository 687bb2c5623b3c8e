package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Report is what a run came to.
type Report struct {
	At      time.Time          `json:"at"`
	Version string             `json:"version"`
	Machine string             `json:"machine"`
	Options ReportOptions      `json:"options"`
	Rounds  []Round            `json:"rounds"`
	Median  map[string]Summary `json:"median"` // by kind
	Ratio   Ratio              `json:"ratio"`  // pipeline to relay
}

// ReportOptions are the options that the figures depend on.
type ReportOptions struct {
	Connections   int    `json:"connections"`
	Conversations int    `json:"conversations"`
	Messages      int    `json:"messages,omitempty"`
	Duration      string `json:"duration,omitempty"`
	Body          int    `json:"bodyBytes"`
	Sync          string `json:"sync"`
	Redis         bool   `json:"redis"`
	Bot           string `json:"bot"`
}

// Summary is the medians of the rounds of one kind; counts are sums, and
// memory and the latencies' maximum the most of all rounds.
type Summary struct {
	AcceptedRate    float64            `json:"acceptedPerSecond"`
	DeliveredRate   float64            `json:"deliveredPerSecond"`
	CPU             map[string]float64 `json:"cpuMicrosecondsPerMessage"`
	PeakRSS         map[string]int64   `json:"peakRSSBytes"`
	AcceptLatency   Latency            `json:"acceptLatency"`
	Latency         Latency            `json:"latency"`
	Delivered       int                `json:"delivered"`
	Refused         int                `json:"refused"`
	Failed          int                `json:"failed"`
	Duplicates      int                `json:"duplicates"`
	OrderViolations int                `json:"orderViolations"`
	Lost            int                `json:"lost"`
}

// Ratio is the pipeline's median over the relay's.
type Ratio struct {
	Accepted  float64 `json:"accepted"`
	Delivered float64 `json:"delivered"`
	CPU       float64 `json:"cpu"`
}

func newReport(o Options) *Report {
	r := &Report{
		At: time.Now().UTC().Truncate(time.Second), Version: o.Version, Machine: machine(),
		Options: ReportOptions{
			Connections: o.Connections, Conversations: o.Conversations, Messages: o.Messages,
			Body: o.Body, Sync: o.Sync, Redis: o.RedisURL != "", Bot: o.Bot,
		},
		Median: map[string]Summary{},
	}
	if o.Duration > 0 {
		r.Options.Duration = o.Duration.String()
	}
	return r
}

func (r *Report) summarise() {
	for _, kind := range []string{KindRelay, KindPipeline} {
		var rounds []Round
		for _, round := range r.Rounds {
			if round.Kind == kind {
				rounds = append(rounds, round)
			}
		}
		r.Median[kind] = summaryOf(rounds)
	}
	relay, pipeline := r.Median[KindRelay], r.Median[KindPipeline]
	r.Ratio = Ratio{
		Accepted:  quotient(pipeline.AcceptedRate, relay.AcceptedRate),
		Delivered: quotient(pipeline.DeliveredRate, relay.DeliveredRate),
		CPU:       quotient(pipeline.CPU[KindPipeline], relay.CPU[KindRelay]),
	}
}

func summaryOf(rounds []Round) Summary {
	s := Summary{CPU: map[string]float64{}, PeakRSS: map[string]int64{}}
	if len(rounds) == 0 {
		return s
	}
	for _, r := range rounds {
		s.Delivered += r.Delivered
		s.Refused += r.Refused
		s.Failed += r.Failed
		s.Duplicates += r.Duplicates
		s.OrderViolations += r.OrderViolations
		s.Lost += r.Lost
		for name, n := range r.PeakRSS {
			s.PeakRSS[name] = max(s.PeakRSS[name], n)
		}
	}
	s.AcceptedRate = median(rounds, func(r Round) float64 { return r.AcceptedRate })
	s.DeliveredRate = median(rounds, func(r Round) float64 { return r.DeliveredRate })
	for name := range rounds[0].CPU {
		s.CPU[name] = median(rounds, func(r Round) float64 { return r.CPU[name] })
	}
	s.AcceptLatency = medianLatency(rounds, func(r Round) Latency { return r.AcceptLatency })
	s.Latency = medianLatency(rounds, func(r Round) Latency { return r.Latency })
	return s
}

func medianLatency(rounds []Round, of func(Round) Latency) Latency {
	at := func(pick func(Latency) time.Duration) time.Duration {
		return median(rounds, func(r Round) time.Duration { return pick(of(r)) })
	}
	var most time.Duration
	for _, r := range rounds {
		most = max(most, of(r).Max)
	}
	return Latency{
		P50: at(func(l Latency) time.Duration { return l.P50 }),
		P90: at(func(l Latency) time.Duration { return l.P90 }),
		P99: at(func(l Latency) time.Duration { return l.P99 }),
		Max: most,
	}
}

// median of an even number is the mean of the middle two.
func median[T float64 | time.Duration](rounds []Round, of func(Round) T) T {
	values := make([]T, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	mid := len(values) / 2
	if len(values)%2 == 1 {
		return values[mid]
	}
	return (values[mid-1] + values[mid]) / 2
}

func quotient(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// WriteJSON writes the whole report.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteTable writes the medians side by side.
func (r *Report) WriteTable(w io.Writer) error {
	relay, pipeline := r.Median[KindRelay], r.Median[KindPipeline]
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name, a, b, c string) { fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t\n", name, a, b, c) }
	figure := func(name, form string, a, b float64) {
		row(name, fmt.Sprintf(form, a), fmt.Sprintf(form, b), fmt.Sprintf("%.2f", quotient(b, a)))
	}
	count := func(name string, of func(Summary) int) {
		row(name, fmt.Sprint(of(relay)), fmt.Sprint(of(pipeline)), "")
	}
	times := func(name string, of func(Summary) Latency) {
		row(name, of(relay).line(), of(pipeline).line(), "")
	}
	row("median of the rounds", KindRelay, KindPipeline, "ratio")
	figure("accepted/s", "%.0f", relay.AcceptedRate, pipeline.AcceptedRate)
	figure("delivered/s", "%.0f", relay.DeliveredRate, pipeline.DeliveredRate)
	figure("CPU µs/message", "%.0f", relay.CPU[KindRelay], pipeline.CPU[KindPipeline])
	figure("CPU µs/message, sink", "%.0f", relay.CPU["sink"], pipeline.CPU["sink"])
	figure("CPU µs/message, generator", "%.0f", relay.CPU["generator"], pipeline.CPU["generator"])
	figure("peak RSS MiB", "%.0f", mib(relay.PeakRSS[KindRelay]), mib(pipeline.PeakRSS[KindPipeline]))
	times("answer ms p50/p90/p99/max", func(s Summary) Latency { return s.AcceptLatency })
	times("arrival ms p50/p90/p99/max", func(s Summary) Latency { return s.Latency })
	count("delivered", func(s Summary) int { return s.Delivered })
	count("refused", func(s Summary) int { return s.Refused })
	count("no answer", func(s Summary) int { return s.Failed })
	count("duplicates", func(s Summary) int { return s.Duplicates })
	count("out of order", func(s Summary) int { return s.OrderViolations })
	count("lost", func(s Summary) int { return s.Lost })
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	return nil
}

func (l Latency) line() string {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return fmt.Sprintf("%.1f/%.1f/%.1f/%.1f", ms(l.P50), ms(l.P90), ms(l.P99), ms(l.Max))
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
