package deliveryworker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

type metrics struct {
	outcomes map[chat.Outcome]prometheus.Counter
	expired  map[string]prometheus.Counter // by reason
	duration prometheus.Histogram
	endToEnd prometheus.Histogram
	answers  [6]prometheus.Counter // by the hundreds of their status
	failures map[webhook.Kind]prometheus.Counter
	unknown  prometheus.Counter
	jumps    prometheus.Counter
	disabled map[string]prometheus.Counter

	warned, recovered prometheus.Counter
}

// answerOther stands for an answer that has neither a status nor a kind.
const answerOther = "other"

// answered counts what a POST was answered.
func (m *metrics) answered(r *webhook.Result) {
	class := r.Status / 100
	if counter := m.failures[webhook.KindOf(r.Err)]; r.Status == 0 && counter != nil {
		counter.Inc()
		return
	}
	if class < 1 || class >= len(m.answers) {
		class = 0
	}
	m.answers[class].Inc()
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
		endToEnd: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_delivery_end_to_end_seconds", Help: "Time from when a user message was accepted to when an endpoint had confirmed a bot message that answers it; without replays.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200},
		}),
		failures: map[webhook.Kind]prometheus.Counter{},
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
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_delivery_answers_total", Help: "What POSTs to endpoints were answered: the hundreds of the status, or what broke where there was none.",
	}, []string{"answer"})
	for i, class := range []string{answerOther, "1xx", "2xx", "3xx", "4xx", "5xx"} {
		m.answers[i] = answers.WithLabelValues(class)
	}
	for _, kind := range webhook.Kinds() {
		m.failures[kind] = answers.WithLabelValues(string(kind))
	}
	reg.MustRegister(answers, outcomes, expired, m.duration, m.endToEnd, m.unknown, m.jumps, disabled, m.warned, m.recovered)
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
