package botworker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// How a bot's run ended.
const (
	resultAnswered = "answered"
	resultFailed   = "failed"
	resultRefused  = "refused"
)

type metrics struct {
	turns      map[string]prometheus.Observer
	fallbacks  prometheus.Counter
	warnings   prometheus.Counter
	unreadable prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	turns := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "parley_bot_turn_seconds", Help: "Time that a bot took for a turn, by result.",
		Buckets: []float64{.0001, .001, .005, .025, .1, .5, 1, 5, 30},
	}, []string{"result"})
	m := &metrics{
		turns: map[string]prometheus.Observer{},
		fallbacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_bot_fallbacks_total", Help: "Turns that ended with the bot's fallback message, since all attempts failed.",
		}),
		warnings: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_bot_warnings_total", Help: "Warnings of bots about their messages, such as what exceeds Messenger's limits.",
		}),
		unreadable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_bot_sessions_unreadable_total", Help: "Sessions that could not be read and were begun anew: must stay 0.",
		}),
	}
	reg.MustRegister(turns, m.fallbacks, m.warnings, m.unreadable)
	for _, result := range []string{resultAnswered, resultFailed, resultRefused} {
		m.turns[result] = turns.WithLabelValues(result)
	}
	return m
}

func (m *metrics) took(result string, d time.Duration) { m.turns[result].Observe(d.Seconds()) }
