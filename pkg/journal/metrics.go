package journal

import "github.com/prometheus/client_golang/prometheus"

// What entries are counted by.
type (
	kind   int
	result int
)

const (
	turn kind = iota
	delivery
	kinds
)

const (
	written result = iota
	dropped
	failed
	results
)

// metrics has a counter for each value of the labels.
type metrics struct {
	entries [kinds][results]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	entries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_journal_entries_total",
		Help: "Journal entries by kind (turn, delivery) and result: written, dropped (the queue was full), failed (the broker did not confirm it).",
	}, []string{"kind", "result"})
	reg.MustRegister(entries)
	m := &metrics{}
	for k, kind := range [kinds]string{"turn", "delivery"} {
		for r, result := range [results]string{"written", "dropped", "failed"} {
			m.entries[k][r] = entries.WithLabelValues(kind, result)
		}
	}
	return m
}

func (m *metrics) of(e entry, r result) prometheus.Counter { return m.entries[e.kind()][r] }

func (e entry) kind() kind {
	if e.turn != nil {
		return turn
	}
	return delivery
}
