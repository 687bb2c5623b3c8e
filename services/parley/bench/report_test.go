package bench

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	r := newReport(good())
	for _, n := range []float64{1, 3, 2} {
		latency := Latency{P50: time.Duration(n) * time.Millisecond, Max: time.Duration(10*n) * time.Millisecond}
		r.Rounds = append(
			r.Rounds,
			Round{Kind: KindRelay, AcceptedRate: 100 * n, DeliveredRate: 100 * n, Delivered: 10, CPU: map[string]float64{KindRelay: 50 * n}, PeakRSS: map[string]int64{KindRelay: 1 << 20}},
			Round{Kind: KindPipeline, AcceptedRate: 50 * n, DeliveredRate: 40 * n, Delivered: 10, Lost: 1, Latency: latency, CPU: map[string]float64{KindPipeline: 150 * n}, PeakRSS: map[string]int64{KindPipeline: int64(n) << 20}},
		)
	}
	r.summarise()

	require.Equal(t, Ratio{Accepted: 0.5, Delivered: 0.4, CPU: 3}, r.Ratio)
	pipeline := r.Median[KindPipeline]
	require.Equal(t, Latency{P50: 2 * time.Millisecond, Max: 30 * time.Millisecond}, pipeline.Latency)
	require.Equal(t, 30, pipeline.Delivered)
	require.Equal(t, 3, pipeline.Lost)
	require.EqualValues(t, 3<<20, pipeline.PeakRSS[KindPipeline])

	var table, data bytes.Buffer
	require.NoError(t, r.WriteTable(&table))
	require.Regexp(t, `delivered/s +200 +80 +0\.40`, table.String())
	require.Regexp(t, `CPU µs/message +100 +300 +3\.00`, table.String())
	require.Regexp(t, `lost +0 +3`, table.String())
	require.NoError(t, r.WriteJSON(&data))
	var back Report
	require.NoError(t, json.Unmarshal(data.Bytes(), &back))
	require.Equal(t, *r, back)
}

func TestMedian(t *testing.T) {
	rounds := []Round{{AcceptedRate: 4}, {AcceptedRate: 1}, {AcceptedRate: 2}, {AcceptedRate: 10}}
	require.InDelta(t, 3, median(rounds, func(r Round) float64 { return r.AcceptedRate }), 0)
	require.InDelta(t, 2, median(rounds[:3], func(r Round) float64 { return r.AcceptedRate }), 0)
}
