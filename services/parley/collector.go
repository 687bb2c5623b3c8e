package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// smallHeap is up to how many bytes alive as many may wait to be collected,
	// as with the runtime's own default.
	smallHeap = 256 << 20
	// collectorEvery is how often the collector is told anew. A heap of the size
	// that matters doesn't grow much in that time.
	collectorEvery = time.Second
	// collectorStep is the least change worth telling it, in percent: telling
	// stops the process for a moment.
	collectorStep = 5
	// defaultPercent is the runtime's default of GOGC.
	defaultPercent = 100
)

// gcPercent is how much may wait to be collected, in percent of the bytes alive.
// Above smallHeap it grows with their root only, so that the cost of a large
// heap is borne half by memory and half by the collector's work.
func gcPercent(live uint64) int {
	if live <= smallHeap {
		return defaultPercent
	}
	return int(defaultPercent * math.Sqrt(smallHeap/float64(live)))
}

// tuneCollector keeps the collector at gcPercent until ctx ends. Where GOGC is
// set, that holds instead; GOMEMLIMIT holds beside it.
func tuneCollector(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return nil
	}
	defer debug.SetGCPercent(defaultPercent)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(collectorEvery)
	defer tick.Stop()
	for told := defaultPercent; ; {
		metrics.Read(live)
		if percent := gcPercent(live[0].Value.Uint64()); percent <= told-collectorStep || percent >= told+collectorStep {
			debug.SetGCPercent(percent)
			told = percent
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
