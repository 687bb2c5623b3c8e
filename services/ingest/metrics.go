package ingest

import "github.com/prometheus/client_golang/prometheus"

// form is one of the forms that messages, and reads, come in; it is a label.
type form string

const (
	formMessage form = "message"
	formBatch   form = "batch"
	formLegacy  form = "legacy"
	formActions form = "actions"
	formHistory form = "history" // a legacy read
	formSession form = "session" // a legacy read
)

func forms() []form {
	return []form{formMessage, formBatch, formLegacy, formActions, formHistory, formSession}
}

// Slugs of the service's problems: the types' last parts, and the reasons in
// the metrics.
const (
	slugUnauthorized        = "unauthorized"
	slugForbidden           = "forbidden"
	slugUnknownChannel      = "unknown-channel"
	slugUnknownBot          = "unknown-bot"
	slugUnknownConversation = "unknown-conversation"
	slugChannelRequired     = "channel-required"
	slugAmbiguousChannel    = "ambiguous-channel"
	slugMediaType           = "unsupported-media-type"
	slugTooLarge            = "too-large"
	slugTooManyLines        = "too-many-lines"
	slugBodyUnreadable      = "body-unreadable"
	slugNotJSON             = "not-json"
	slugInvalid             = "invalid"
	slugInvalidKey          = "invalid-idempotency-key"
	slugKeyReused           = "idempotency-key-reused"
	slugKeyInProgress       = "idempotency-key-in-progress"
	slugBlocked             = "conversation-blocked"
	slugRateLimited         = "rate-limited"
	slugFull                = "store-full"
	slugBacklog             = "channel-backlog-full"
	slugUnavailable         = "broker-unavailable"
	slugOverloaded          = "overloaded"
	slugInternal            = "internal"
	reasonOther             = "other"
)

func reasons() []string {
	return []string{
		slugUnauthorized, slugForbidden, slugUnknownChannel, slugUnknownBot, slugUnknownConversation, slugChannelRequired, slugAmbiguousChannel,
		slugMediaType, slugTooLarge, slugTooManyLines, slugBodyUnreadable, slugNotJSON, slugInvalid, slugInvalidKey,
		slugKeyReused, slugKeyInProgress, slugBlocked, slugRateLimited, slugFull, slugBacklog, slugUnavailable, slugOverloaded, slugInternal, reasonOther,
	}
}

type metrics struct {
	accepted   map[form]prometheus.Counter
	refused    map[form]map[string]prometheus.Counter
	seconds    map[form]prometheus.Observer
	inFlight   prometheus.Gauge
	repeats    prometheus.Counter
	onceErrors prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	accepted := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_ingest_accepted_total", Help: "Messages that the broker has confirmed.",
	}, []string{"form"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_ingest_refused_total", Help: "Messages, and requests, that were refused, by the problem's type.",
	}, []string{"form", "reason"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "parley_ingest_request_seconds", Help: "Time from a request's header to its answer.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"form"})
	m := &metrics{
		accepted: map[form]prometheus.Counter{},
		refused:  map[form]map[string]prometheus.Counter{},
		seconds:  map[form]prometheus.Observer{},
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parley_ingest_requests_in_flight", Help: "Requests under way.",
		}),
		repeats: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_ingest_repeats_total", Help: "Messages answered again without being published again, by their Idempotency-Key.",
		}),
		onceErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_ingest_idempotency_errors_total", Help: "Calls to the store of idempotency keys that failed; the service went on without it.",
		}),
	}
	reg.MustRegister(accepted, refused, seconds, m.inFlight, m.repeats, m.onceErrors)
	for _, f := range forms() {
		if f != formHistory && f != formSession {
			m.accepted[f] = accepted.WithLabelValues(string(f))
		}
		m.seconds[f] = seconds.WithLabelValues(string(f))
		m.refused[f] = map[string]prometheus.Counter{}
		for _, r := range reasons() {
			m.refused[f][r] = refused.WithLabelValues(string(f), r)
		}
	}
	return m
}

// refuse counts a refusal; a reason that is not among the labels is "other".
func (m *metrics) refuse(f form, reason string) {
	counter, ok := m.refused[f][reason]
	if !ok {
		counter = m.refused[f][reasonOther]
	}
	counter.Inc()
}
