package deliveryworker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/pkg/chat"
)

type metrics struct {
	outcomes map[chat.Outcome]prometheus.Counter
	duration prometheus.Histogram
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
	m := &metrics{
		outcomes: map[chat.Outcome]prometheus.Counter{},
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_delivery_attempt_seconds", Help: "Time that a POST took.",
			Buckets: []float64{.001, .005, .025, .1, .25, .5, 1, 2.5, 5, 15, 60},
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
	reg.MustRegister(outcomes, m.duration, m.jumps, disabled, m.warned, m.recovered)
	for _, why := range []string{disabledGone, disabledFailing} {
		m.disabled[why] = disabled.WithLabelValues(why)
	}
	for _, o := range []chat.Outcome{
		chat.OutcomeDelivered, chat.OutcomeRetry, chat.OutcomeDead, chat.OutcomeExpired, chat.OutcomeFiltered, chat.OutcomeUnrouted,
	} {
		m.outcomes[o] = outcomes.WithLabelValues(string(o))
	}
	return m
}
