package lane

import (
	"math"
	runtime "runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQuantileIsOfWhatCameSince(t *testing.T) {
	h := &runtime.Float64Histogram{Counts: []uint64{1000, 90, 10}, Buckets: []float64{0, 1, 2, math.Inf(1)}}
	require.Equal(t, 0.0, quantile(h, []uint64{0, 0, 0}, .9))
	require.Equal(t, 1.0, quantile(h, []uint64{1000, 0, 0}, .5))
	require.Equal(t, 2.0, quantile(h, []uint64{1000, 0, 0}, .9))
	require.Equal(t, 2.0, quantile(h, []uint64{1000, 90, 0}, .1))
	require.Equal(t, 0.0, quantile(h, h.Counts, .9), "nothing")
}

func TestProcessorKeepsItsJudgementForAWhile(t *testing.T) {
	var p processor
	now := time.Now()
	p.judge(now)
	require.True(t, p.isShort(), "nothing is known yet")
	p.spare.Store(true)
	p.judge(now.Add(judgedEvery - 1))
	require.False(t, p.isShort())
	for i := range p.before {
		p.before[i] = 0
	}
	p.judge(now.Add(judgedEvery))
	require.NotEmpty(t, p.before)
}

func TestGateIsSlow(t *testing.T) {
	g := gate{limit: 2, pass: func(*lane) {}}
	now := time.Now()
	passes := func(n int) {
		for range n {
			g.enter(new(lane))
			g.leave()
		}
	}
	require.False(t, g.isSlow(now), "nobody knows")
	passes(1)
	require.False(t, g.isSlow(now.Add(patience/5-1)), "nobody knows yet")
	require.True(t, g.isSlow(now.Add(time.Second)), "two places, one in a second")
	passes(3)
	require.True(t, g.isSlow(now.Add(2*time.Second-1)), "a judgement holds for a second")
	require.False(t, g.isSlow(now.Add(2*time.Second)))
	passes(3)
	require.True(t, g.isSlow(now.Add(4*time.Second)), "two places, three in two seconds")
	require.False(t, g.isSlow(now.Add(time.Hour)), "it was not asked for long")
}
