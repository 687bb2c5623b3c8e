package replay

import "github.com/prometheus/client_golang/prometheus"

// result is what became of a letter in a replay.
type result string

const (
	resultReplayed  result = "replayed"
	resultDiscarded result = "discarded"
	resultLeft      result = "left"
	resultGone      result = "gone"
)

func newMetrics(reg prometheus.Registerer) map[result]prometheus.Counter {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_replay_letters_total", Help: "Dead letters that replays have handled.",
	}, []string{"result"})
	reg.MustRegister(v)
	counters := map[result]prometheus.Counter{}
	for _, r := range []result{resultReplayed, resultDiscarded, resultLeft, resultGone} {
		counters[r] = v.WithLabelValues(string(r))
	}
	return counters
}
