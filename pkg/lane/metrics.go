package lane

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/pkg/chat"
)

type metrics struct {
	outcomes  map[chat.Outcome]prometheus.Counter
	parked    map[string]prometheus.Counter
	commands  map[Action]prometheus.Counter
	covered   prometheus.Counter
	ledger    prometheus.Counter
	restarts  prometheus.Counter
	stalled   prometheus.Counter
	inHand    prometheus.Gauge
	parkedNow prometheus.Gauge
}

// Why a lane was parked.
const (
	parkedRetry     = "retry"
	parkedOverflow  = "overflow"
	parkedCongested = "congested"
	parkedClosed    = "closed"
)

func newMetrics(reg prometheus.Registerer, stage chat.Stage) *metrics {
	labels := prometheus.Labels{"stage": string(stage)}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels})
		reg.MustRegister(c)
		return c
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, []string{label})
		reg.MustRegister(v)
		return v
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
		reg.MustRegister(g)
		return g
	}
	m := &metrics{
		outcomes:  map[chat.Outcome]prometheus.Counter{},
		parked:    map[string]prometheus.Counter{},
		commands:  map[Action]prometheus.Counter{},
		covered:   counter("parley_lane_redeliveries_covered_total", "Redeliveries that the lane's mark showed to be settled."),
		ledger:    counter("parley_lane_ledger_errors_total", "Calls of the once-ledger that failed; the pipeline went on without it."),
		restarts:  counter("parley_lane_partition_restarts_total", "Times that a partition was started anew from its oldest message."),
		stalled:   counter("parley_lane_stalls_total", "Steps that the broker refused and that will be tried again."),
		inHand:    gauge("parley_lane_in_hand_messages", "Messages delivered by the work queues and not yet acknowledged."),
		parkedNow: gauge("parley_lane_parked_lanes", "Lanes parked in the partitions of this process."),
	}
	outcomes := vector("parley_lane_outcomes_total", "Attempts and ends by outcome.", "outcome")
	for _, o := range []chat.Outcome{chat.OutcomeDelivered, chat.OutcomeProcessed, chat.OutcomeRetry, chat.OutcomeDead, chat.OutcomeExpired} {
		m.outcomes[o] = outcomes.WithLabelValues(string(o))
	}
	parked := vector("parley_lane_parked_total", "Times that a lane was parked, by reason.", "reason")
	for _, r := range []string{parkedRetry, parkedOverflow, parkedCongested, parkedClosed} {
		m.parked[r] = parked.WithLabelValues(r)
	}
	commands := vector("parley_lane_commands_total", "Operators' commands to lanes that were carried out, by action.", "action")
	for _, a := range []Action{RetryNow, Skip, Discard} {
		m.commands[a] = commands.WithLabelValues(string(a))
	}
	return m
}
