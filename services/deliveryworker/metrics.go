package deliveryworker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/pkg/chat"
)

type metrics struct {
	outcomes map[chat.Outcome]prometheus.Counter
	duration prometheus.Histogram
	jumps    prometheus.Counter
	disabled prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_delivery_outcomes_total", Help: "Attempts and ends of bot messages at endpoints, by outcome.",
	}, []string{"outcome"})
	m := &metrics{
		outcomes: map[chat.Outcome]prometheus.Counter{},
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_delivery_attempt_seconds", Help: "Time that a POST took.",
			Buckets: []float64{.001, .005, .025, .1, .25, .5, 1, 2.5, 5, 15, 60},
		}),
		jumps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_delivery_jumps_total", Help: "Bot messages whose counter left one out: must stay 0.",
		}),
		disabled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_delivery_endpoints_disabled_total", Help: "Endpoints disabled because they answered 410.",
		}),
	}
	reg.MustRegister(outcomes, m.duration, m.jumps, m.disabled)
	for _, o := range []chat.Outcome{
		chat.OutcomeDelivered, chat.OutcomeRetry, chat.OutcomeDead, chat.OutcomeExpired, chat.OutcomeFiltered, chat.OutcomeUnrouted,
	} {
		m.outcomes[o] = outcomes.WithLabelValues(string(o))
	}
	return m
}
