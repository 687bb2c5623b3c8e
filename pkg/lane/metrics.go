package lane

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
)

type metrics struct {
	outcomes  map[chat.Outcome]prometheus.Counter
	parked    map[string]prometheus.Counter
	dead      map[string]prometheus.Counter // by reason
	wait      prometheus.Histogram
	lost      prometheus.Counter
	commands  map[Action]prometheus.Counter
	circuits  map[health.Change]prometheus.Counter
	covered   prometheus.Counter
	ledger    prometheus.Counter
	restarts  prometheus.Counter
	stalled   prometheus.Counter
	inHand    prometheus.Gauge
	parkedNow prometheus.Gauge
	refused   prometheus.Gauge
}

// Why a lane was parked.
const (
	parkedRetry     = "retry"
	parkedOverflow  = "overflow"
	parkedCongested = "congested"
	parkedClosed    = "closed"
	parkedCircuit   = "circuit"
)

// reasonOther stands for a dead letter's reason that is not among the labels.
const reasonOther = "other"

// reasons are those for which the engine itself gives messages up.
func reasons() []string {
	return []string{ReasonExhausted, ReasonWaited, ReasonPanic, ReasonUndecodable, ReasonPoison, ReasonSkipped, ReasonDiscarded}
}

// waits are the buckets of how long messages wait: from an idle pipeline's
// milliseconds to an outage's hours.
func waits() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200}
}

// died counts a dead letter.
func (m *metrics) died(reason string) {
	counter, ok := m.dead[reason]
	if !ok {
		counter = m.dead[reasonOther]
	}
	counter.Inc()
}

// transitions are the label of what an attempt made of a circuit.
var transitions = map[health.Change]string{
	health.Opened: "opened", health.Reopened: "probe_failed", health.Reclosed: "closed", health.Released: "probe_interrupted",
}

// transition counts what an attempt made of a circuit.
func (m *metrics) transition(c health.Change) {
	if counter := m.circuits[c]; counter != nil {
		counter.Inc()
	}
}

// measure registers gauges of what the engine holds: partitions, lanes at work,
// the circuits that aren't closed, and the caps that are lowered.
func (e *Engine) measure(reg prometheus.Registerer) {
	measured := func(name, help string, labels prometheus.Labels, now func() float64) {
		labels["stage"] = string(e.Stage)
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, now))
	}
	measured("parley_lane_partitions", "Partitions that this process works on.", prometheus.Labels{},
		func() float64 { return float64(len(e.running())) })
	measured("parley_lane_working", "Lanes at work in this process: a bot's turn or a POST each.", prometheus.Labels{},
		func() float64 { return float64(e.gate.atWork()) })
	measured("parley_lane_working_limit", "How many lanes may be at work in this process at once.", prometheus.Labels{},
		func() float64 { return float64(e.MaxInFlight) })
	gauge := func(name, help string, labels prometheus.Labels, counts func(*destination, time.Time) bool) {
		measured(name, help, labels, func() float64 { return float64(e.count(counts)) })
	}
	for _, state := range []health.State{health.Open, health.HalfOpen} {
		gauge("parley_lane_circuits", "Destinations of this process whose circuit is not closed, by state.", prometheus.Labels{"state": state.String()},
			func(d *destination, now time.Time) bool { return d.state(now) == state })
	}
	gauge("parley_lane_lowered_caps", "Destinations of this process whose in-flight cap is below what their policy allows.", prometheus.Labels{},
		func(d *destination, _ time.Time) bool { return d.isLowered() })
}

// count counts destinations.
func (e *Engine) count(counts func(*destination, time.Time) bool) (n int) {
	e.mu.Lock()
	all := slices.Collect(maps.Values(e.destinations))
	e.mu.Unlock()
	now := time.Now()
	for _, d := range all {
		if counts(d, now) {
			n++
		}
	}
	return n
}

// newMetrics registers a stage's metrics; given are the reasons for which its
// handler gives messages up.
func newMetrics(reg prometheus.Registerer, stage chat.Stage, given []string) *metrics {
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
		outcomes: map[chat.Outcome]prometheus.Counter{},
		parked:   map[string]prometheus.Counter{},
		dead:     map[string]prometheus.Counter{},
		commands: map[Action]prometheus.Counter{},
		circuits: map[health.Change]prometheus.Counter{},
		covered:  counter("parley_lane_redeliveries_covered_total", "Redeliveries that the lane's mark showed to be settled."),
		ledger:   counter("parley_lane_ledger_errors_total", "Calls of the once-ledger that failed; the pipeline went on without it."),
		restarts: counter("parley_lane_partition_restarts_total", "Times that a partition was started anew from its oldest message."),
		stalled:  counter("parley_lane_stalls_total", "Steps that the broker refused and that will be tried again."),
		refused:  gauge("parley_lane_refused_partitions", "Partitions that this process leaves to a newer version of parley, which wrote what they hold."),
		inHand:   gauge("parley_lane_in_hand_messages", "Messages delivered by the work queues and not yet acknowledged."),
		lost:     counter("parley_lane_leases_lost_total", "Partitions that this process lost instead of handing them over: it could not renew, or another process took them."),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_lane_wait_seconds", Help: "Time from when a message was stored in its work queue to the beginning of its first attempt.",
			ConstLabels: labels, Buckets: waits(),
		}),
		parkedNow: gauge("parley_lane_parked_lanes", "Lanes parked in the partitions of this process."),
	}
	outcomes := vector("parley_lane_outcomes_total", "Attempts and ends by outcome.", "outcome")
	for _, o := range []chat.Outcome{chat.OutcomeDelivered, chat.OutcomeProcessed, chat.OutcomeRetry, chat.OutcomeFailed, chat.OutcomeDead, chat.OutcomeExpired, chat.OutcomeDiscarded} {
		m.outcomes[o] = outcomes.WithLabelValues(string(o))
	}
	parked := vector("parley_lane_parked_total", "Times that a lane was parked, by reason.", "reason")
	for _, r := range []string{parkedRetry, parkedOverflow, parkedCongested, parkedClosed, parkedCircuit} {
		m.parked[r] = parked.WithLabelValues(r)
	}
	reg.MustRegister(m.wait)
	dead := vector("parley_lane_dead_total", "Dead letters written, by reason.", "reason")
	for _, r := range slices.Concat(reasons(), given, []string{reasonOther}) {
		m.dead[r] = dead.WithLabelValues(r)
	}
	circuits := vector("parley_lane_circuit_transitions_total", "Transitions of destinations' circuits that attempts of this process made, by what they did.", "transition")
	for change, name := range transitions {
		m.circuits[change] = circuits.WithLabelValues(name)
	}
	commands := vector("parley_lane_commands_total", "Operators' commands to lanes that were carried out, by action.", "action")
	for _, a := range []Action{RetryNow, Skip, Discard, Erase} {
		m.commands[a] = commands.WithLabelValues(string(a))
	}
	return m
}
