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
	disabled map[string]prometheus.Counter

	warned, recovered prometheus.Counter
}

// Why an endpoint was disabled.
const (
	disabledGone    = "gone"
	disabledFailing = "failing"
)

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
		disabled: map[string]prometheus.Counter{},
		warned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_delivery_endpoints_warned_total", Help: "Endpoints of which a warning was given that they will be disabled.",
		}),
		recovered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_delivery_endpoints_recovered_total", Help: "Endpoints that took a message after such a warning.",
		}),
	}
	disabled := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_delivery_endpoints_disabled_total", Help: "Endpoints disabled, by why: they answered 410, or did nothing but fail.",
	}, []string{"reason"})
	reg.MustRegister(outcomes, expired, m.duration, m.unknown, m.jumps, disabled, m.warned, m.recovered)
	for _, r := range []string{chat.ExpiredByTime, chat.ExpiredSuperseded} {
		m.expired[r] = expired.WithLabelValues(r)
	}
	for _, why := range []string{disabledGone, disabledFailing} {
		m.disabled[why] = disabled.WithLabelValues(why)
	}
	for _, o := range []chat.Outcome{
		chat.OutcomeDelivered, chat.OutcomeRetry, chat.OutcomeDead, chat.OutcomeExpired, chat.OutcomeFiltered, chat.OutcomeUnrouted, chat.OutcomeDiscarded,
	} {
		m.outcomes[o] = outcomes.WithLabelValues(string(o))
	}
	return m
}
