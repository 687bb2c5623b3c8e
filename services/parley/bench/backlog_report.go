package bench

import (
	"io"
	"strconv"
	"time"
)

// Backlog is what a measurement of backlogs came to.
type Backlog struct {
	Origin
	SetupReport
	Conversations int            `json:"conversations"`
	Sessions      int            `json:"sessions"`
	Rounds        []BacklogRound `json:"rounds"`
	Median        []BacklogRound `json:"median"` // of each backlog; counts are sums, memory and what is parked the most
	Ratio         float64        `json:"ratio"`  // of the CPU a message: the last backlog's to the first one's
}

func newBacklog(o BacklogOptions) *Backlog {
	return &Backlog{Origin: newOrigin(o.Setup), SetupReport: o.report(), Conversations: o.Conversations, Sessions: o.Sessions}
}

func (b *Backlog) summarise() {
	var order []int
	grouped := map[int][]BacklogRound{}
	for _, r := range b.Rounds {
		if grouped[r.Waiting] == nil {
			order = append(order, r.Waiting)
		}
		grouped[r.Waiting] = append(grouped[r.Waiting], r)
	}
	for _, waiting := range order {
		b.Median = append(b.Median, medianBacklog(grouped[waiting]))
	}
	b.Ratio = quotient(b.Median[len(b.Median)-1].CPU[KindPipeline], b.Median[0].CPU[KindPipeline])
}

func medianBacklog(rounds []BacklogRound) BacklogRound {
	m := BacklogRound{
		Waiting:       rounds[0].Waiting,
		AcceptedRate:  median(rounds, func(r BacklogRound) float64 { return r.AcceptedRate }),
		Start:         median(rounds, func(r BacklogRound) time.Duration { return r.Start }),
		DeliveredRate: median(rounds, func(r BacklogRound) float64 { return r.DeliveredRate }),
		WaitingRSS:    map[string]int64{}, CPU: map[string]float64{}, PeakRSS: map[string]int64{},
	}
	for name := range rounds[0].CPU {
		m.CPU[name] = median(rounds, func(r BacklogRound) float64 { return r.CPU[name] })
		for _, r := range rounds {
			m.WaitingRSS[name] = max(m.WaitingRSS[name], r.WaitingRSS[name])
			m.PeakRSS[name] = max(m.PeakRSS[name], r.PeakRSS[name])
		}
	}
	for _, r := range rounds {
		m.Measured += r.Measured
		m.Handled += r.Handled
		m.Parked = max(m.Parked, r.Parked)
		m.Duplicates += r.Duplicates
		m.OrderViolations += r.OrderViolations
	}
	return m
}

// WriteJSON writes the whole report.
func (b *Backlog) WriteJSON(w io.Writer) error { return writeJSON(w, b) }

// WriteTable writes the medians, a column for each backlog.
func (b *Backlog) WriteTable(w io.Writer) error {
	var titles []string
	for _, m := range b.Median {
		titles = append(titles, strconv.Itoa(m.Waiting))
	}
	t := newSheet("messages that wait", titles...)
	figures := func(name string, of func(BacklogRound) float64) {
		var cells []cell
		for _, m := range b.Median {
			cells = append(cells, cell{of(m), true})
		}
		t.figures(name, "%.0f", cells)
	}
	figures("accepted/s in batches, paused", func(m BacklogRound) float64 { return m.AcceptedRate })
	for _, name := range pipelineProcesses(b.Median[0].CPU) {
		figures("RSS MiB, all waiting, "+name, func(m BacklogRound) float64 { return mib(m.WaitingRSS[name]) })
	}
	figures("start to ready, ms", func(m BacklogRound) float64 { return ms(m.Start) })
	figures("delivered/s", func(m BacklogRound) float64 { return m.DeliveredRate })
	figures("CPU µs/message", func(m BacklogRound) float64 { return m.CPU[KindPipeline] })
	for _, name := range pipelineProcesses(b.Median[0].CPU) {
		figures("peak RSS MiB, "+name, func(m BacklogRound) float64 { return mib(m.PeakRSS[name]) })
	}
	count := func(name string, of func(BacklogRound) int) {
		var texts []string
		for _, m := range b.Median {
			texts = append(texts, strconv.Itoa(of(m)))
		}
		t.row(name, texts...)
	}
	count("deliveries measured", func(m BacklogRound) int { return m.Measured })
	count("turns in the same time", func(m BacklogRound) int { return m.Handled })
	count("parked at the end of it", func(m BacklogRound) int { return m.Parked })
	count("duplicates", func(m BacklogRound) int { return m.Duplicates })
	count("out of order", func(m BacklogRound) int { return m.OrderViolations })
	return t.write(w, b.Machine+"; "+strconv.Itoa(b.Conversations)+" conversations, "+strconv.Itoa(b.Sessions)+" sessions before; "+b.line())
}
