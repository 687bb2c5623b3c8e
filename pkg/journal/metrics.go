package journal

import "github.com/prometheus/client_golang/prometheus"

// Values of the labels.
const (
	kindTurn     = "turn"
	kindDelivery = "delivery"

	resultWritten = "written"
	resultDropped = "dropped"
	resultFailed  = "failed"
)

type metrics struct {
	entries *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{entries: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_journal_entries_total",
		Help: "Journal entries by kind (turn, delivery) and result: written, dropped (the queue was full), failed (the broker did not take it).",
	}, []string{"kind", "result"})}
	reg.MustRegister(m.entries)
	for _, kind := range []string{kindTurn, kindDelivery} {
		for _, result := range []string{resultWritten, resultDropped, resultFailed} {
			m.entries.WithLabelValues(kind, result)
		}
	}
	return m
}
