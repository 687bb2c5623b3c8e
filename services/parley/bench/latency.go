package bench

import (
	"math/bits"
	"time"
)

// Latency summarises durations; each figure is up to 3 % above the true one.
type Latency struct {
	P50 time.Duration `json:"p50Ns"`
	P90 time.Duration `json:"p90Ns"`
	P99 time.Duration `json:"p99Ns"`
	Max time.Duration `json:"maxNs"`
}

// histogram counts durations in buckets of 1/32 of a power of two, so that its
// size doesn't grow with a run's length.
type histogram struct {
	counts [64 * subBuckets]uint32
	total  int
	max    time.Duration
}

const (
	subBucketBits = 5
	subBuckets    = 1 << subBucketBits
)

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBucketBits
	return (shift+1)*subBuckets + int(v>>shift) - subBuckets
}

// upperOf is the largest duration of a bucket.
func upperOf(bucket int) time.Duration {
	if bucket < subBuckets {
		return time.Duration(bucket)
	}
	shift := bucket/subBuckets - 1
	return time.Duration((uint64(bucket%subBuckets+subBuckets+1) << shift) - 1)
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
	h.max = max(h.max, d)
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// quantile returns the least figure that a share q of the durations doesn't
// exceed.
func (h *histogram) quantile(q float64) time.Duration {
	rank := max(1, int(q*float64(h.total)+0.5))
	seen := 0
	for i, n := range h.counts {
		if seen += int(n); n > 0 && seen >= rank {
			return min(upperOf(i), h.max)
		}
	}
	return 0
}

func (h *histogram) summary() Latency {
	return Latency{P50: h.quantile(0.5), P90: h.quantile(0.9), P99: h.quantile(0.99), Max: h.max}
}
