package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGCPercent(t *testing.T) {
	for _, test := range []struct {
		live uint64
		want int
	}{
		{0, 100},
		{smallHeap, 100},
		{smallHeap + 1, 99}, // rounded down
		{4 * smallHeap, 50},
		{16 * smallHeap, 25},
		{1 << 40, 1},
		{math.MaxUint64, 0}, // the runtime collects all the time, but works
	} {
		require.Equal(t, test.want, gcPercent(test.live), test.live)
	}
}

// A large heap is collected earlier, a small one as always, and afterwards all
// is as it was.
func TestTuneCollector(t *testing.T) {
	t.Setenv("GOGC", "")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	large := make([]byte, smallHeap+smallHeap/2) // never touched, so it takes no memory
	runtime.GC()
	go func() { done <- tuneCollector(ctx) }()
	require.Eventually(t, func() bool {
		return percent() < defaultPercent-collectorStep && max(percent()-gcPercent(live()), gcPercent(live())-percent()) < collectorStep
	}, 10*time.Second, 10*time.Millisecond)
	runtime.KeepAlive(large)
	runtime.GC()
	require.Eventually(t, func() bool { return percent() == defaultPercent }, 10*time.Second, 10*time.Millisecond)
	stop()
	require.NoError(t, <-done)
}

func TestGOGCHolds(t *testing.T) {
	t.Setenv("GOGC", "150")
	defer debug.SetGCPercent(debug.SetGCPercent(150))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	large := make([]byte, smallHeap+smallHeap/2)
	runtime.GC()
	go func() { done <- tuneCollector(ctx) }()
	stop()
	require.NoError(t, <-done)
	require.EqualValues(t, 150, percent())
	runtime.KeepAlive(large)
}

func percent() int { return int(read("/gc/gogc:percent")) }

func live() uint64 { return read("/gc/heap/live:bytes") }

func read(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
