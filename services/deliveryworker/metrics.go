package deliveryworker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/pkg/chat"
)

type metrics struct {
	outcomes map[chat.Outcome]prometheus.Counter
	expired  map[string]prometheus.Counter // by reason
	duration prometheus.Histogram
	unknown  prometheus.Counter
	jumps    prometheus.Counter
	disabled prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_delivery_outcomes_total", Help: "Attempts and ends of bot messages at endpoints, by outcome.",
	}, []string{"outcome"})
	expired := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_delivery_expired_total", Help: "Bot messages that expired, by reason: their time was up, or a later user message superseded them.",
	}, []string{"reason"})
	m := &metrics{
		outcomes: map[chat.Outcome]prometheus.Counter{},
		expired:  map[string]prometheus.Counter{},
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_delivery_attempt_seconds", Help: "Time that a POST took.",
			Buckets: []float64{.001, .005, .025, .1, .25, .5, 1, 2.5, 5, 15, 60},
		}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_delivery_supersede_errors_total", Help: "Times that a session could not be read to see whether a message is superseded; it was not dropped.",
		}),
		jumps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_delivery_jumps_total", Help: "Bot messages whose counter left one out: must stay 0.",
		}),
		disabled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_delivery_endpoints_disabled_total", Help: "Endpoints disabled because they answered 410.",
		}),
	}
	reg.MustRegister(outcomes, expired, m.duration, m.unknown, m.jumps, m.disabled)
	for _, r := range []string{chat.ExpiredByTime, chat.ExpiredSuperseded} {
		m.expired[r] = expired.WithLabelValues(r)
	}
	for _, o := range []chat.Outcome{
		chat.OutcomeDelivered, chat.OutcomeRetry, chat.OutcomeDead, chat.OutcomeExpired, chat.OutcomeFiltered, chat.OutcomeUnrouted,
	} {
		m.outcomes[o] = outcomes.WithLabelValues(string(o))
	}
	return m
}
