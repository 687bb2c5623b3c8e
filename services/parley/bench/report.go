package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Origin is where figures come from.
type Origin struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Machine string    `json:"machine"`
}

func newOrigin(s Setup) Origin {
	return Origin{
		At: time.Now().UTC().Truncate(time.Second), Version: s.Version,
		Machine: fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
	}
}

// Report is what a run came to.
type Report struct {
	Origin
	Options ReportOptions      `json:"options"`
	Rounds  []Round            `json:"rounds"`
	Median  map[string]Summary `json:"median"` // by kind
	Ratio   Ratio              `json:"ratio"`  // pipeline to relay; zeros without a relay
}

// ReportOptions are the options that the figures depend on.
type ReportOptions struct {
	Connections   int    `json:"connections"`
	Conversations int    `json:"conversations"`
	Messages      int    `json:"messages,omitempty"`
	Duration      string `json:"duration,omitempty"`
	Rate          int    `json:"ratePerSecond,omitempty"`
	Batch         int    `json:"batch,omitempty"`
	Paused        bool   `json:"paused,omitempty"`
	SetupReport
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
	Unsent          int                `json:"unsent"`
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
		Origin: newOrigin(o.Setup),
		Options: ReportOptions{
			Connections: o.Connections, Conversations: o.Conversations, Messages: o.Messages,
			Rate: o.Rate, Batch: o.Batch, Paused: o.Paused, SetupReport: o.report(),
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
		if len(rounds) > 0 {
			r.Median[kind] = summaryOf(rounds)
		}
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
	for _, r := range rounds {
		s.Delivered += r.Delivered
		s.Refused += r.Refused
		s.Failed += r.Failed
		s.Unsent += r.Unsent
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
func median[R any, T float64 | time.Duration](rounds []R, of func(R) T) T {
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
func (r *Report) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, report any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}

// WriteTable writes the medians side by side.
func (r *Report) WriteTable(w io.Writer) error {
	t := newSheet("median of the rounds", r.kinds()...)
	r.rates(t)
	for _, name := range r.processes() {
		t.figures("CPU µs/message"+name, "%.0f", r.each(func(kind string, s Summary) (float64, bool) {
			f, ok := s.CPU[processOf(kind, name)]
			return f, ok
		}))
	}
	for _, name := range r.processes() {
		t.figures("peak RSS MiB"+name, "%.0f", r.each(func(kind string, s Summary) (float64, bool) {
			bytes, ok := s.PeakRSS[processOf(kind, name)]
			return mib(bytes), ok
		}))
	}
	r.counts(t)
	return t.write(w, r.Machine+"; "+r.Options.line())
}

// kinds are those that there were rounds of.
func (r *Report) kinds() (kinds []string) {
	for _, kind := range []string{KindRelay, KindPipeline} {
		if _, ok := r.Median[kind]; ok {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// processes are the ends of the names of the rows of a process each: of the
// kind itself first.
func (r *Report) processes() []string {
	names := []string{""}
	if _, ok := r.Median[KindPipeline].CPU[redisName]; ok {
		names = append(names, ", "+serveName, ", "+redisName)
	}
	return append(names, ", "+sinkName, ", "+generatorName)
}

func processOf(kind, name string) string {
	if name == "" {
		return kind
	}
	return strings.TrimPrefix(name, ", ")
}

func (r *Report) each(of func(kind string, s Summary) (float64, bool)) (cells []cell) {
	for _, kind := range r.kinds() {
		value, ok := of(kind, r.Median[kind])
		cells = append(cells, cell{value, ok})
	}
	return cells
}

func (r *Report) rates(t *sheet) {
	t.figures("accepted/s", "%.0f", r.each(func(_ string, s Summary) (float64, bool) { return s.AcceptedRate, true }))
	if !r.Options.Paused {
		t.figures("delivered/s", "%.0f", r.each(func(_ string, s Summary) (float64, bool) { return s.DeliveredRate, true }))
	}
}

func (r *Report) counts(t *sheet) {
	texts := func(name string, of func(Summary) string) {
		var row []string
		for _, kind := range r.kinds() {
			row = append(row, of(r.Median[kind]))
		}
		t.row(name, row...)
	}
	texts("answer ms p50/p90/p99/max", func(s Summary) string { return s.AcceptLatency.line() })
	if !r.Options.Paused {
		texts("arrival ms p50/p90/p99/max", func(s Summary) string { return s.Latency.line() })
		texts("delivered", func(s Summary) string { return strconv.Itoa(s.Delivered) })
	}
	texts("refused", func(s Summary) string { return strconv.Itoa(s.Refused) })
	texts("no answer", func(s Summary) string { return strconv.Itoa(s.Failed) })
	if r.Options.Rate > 0 {
		texts("due, not sent", func(s Summary) string { return strconv.Itoa(s.Unsent) })
	}
	if r.Options.Paused {
		return
	}
	texts("duplicates", func(s Summary) string { return strconv.Itoa(s.Duplicates) })
	texts("out of order", func(s Summary) string { return strconv.Itoa(s.OrderViolations) })
	texts("lost", func(s Summary) string { return strconv.Itoa(s.Lost) })
}

func (l Latency) line() string {
	return fmt.Sprintf("%.1f/%.1f/%.1f/%.1f", ms(l.P50), ms(l.P90), ms(l.P99), ms(l.Max))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
