package operating

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/parley/bench"
)

// The whole demo, as `make demo ONESHOT=1` runs it.
func TestDemo(t *testing.T) {
	out := binaries.Run(t, nil, "demo", "--oneshot", "--data-dir", filepath.Join(t.TempDir(), "data"), "--public-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0")
	require.Contains(t, out, "signature verified")
	require.Contains(t, out, "without a gap, every signature verified")
}

// The benchmark runs, and loses, repeats and reorders nothing.
func TestBench(t *testing.T) {
	report := filepath.Join(t.TempDir(), "report.json")
	out := binaries.Run(t, nil, "bench", "--messages", "500", "--connections", "8", "--conversations", "16", "--rounds", "1", "--report", report)
	require.Contains(t, out, "delivered/s")
	data, err := os.ReadFile(report)
	require.NoError(t, err)
	var r bench.Report
	require.NoError(t, json.Unmarshal(data, &r))
	for _, kind := range []string{bench.KindRelay, bench.KindPipeline} {
		m := r.Median[kind]
		require.Equal(t, 500, m.Delivered, kind)
		require.Zero(t, m.Lost+m.Duplicates+m.OrderViolations+m.Failed, kind)
		require.Positive(t, m.DeliveredRate, kind)
	}
}

// More workers are measured one after another, on stores that are there.
func TestBenchWorkers(t *testing.T) {
	t.Parallel()
	report := filepath.Join(t.TempDir(), "report.json")
	out := binaries.Run(t, nil, "bench", "--workers", "1,2", "--nats-url", e2e.StartNATS(t, binaries).URL, "--redis-url", e2e.StartRedis(t).URL,
		"--messages", "300", "--connections", "8", "--conversations", "64", "--rounds", "1", "--sink-delay", "5ms", "--report", report)
	require.Contains(t, out, "workers")
	data, err := os.ReadFile(report)
	require.NoError(t, err)
	var s bench.Scaling
	require.NoError(t, json.Unmarshal(data, &s))
	require.Len(t, s.Rows, 2)
	for i, r := range s.Rows {
		require.Equal(t, i+1, r.Workers)
		require.Equal(t, 300, r.Delivered)
		require.Zero(t, r.Lost+r.Duplicates+r.OrderViolations+r.Failed)
		require.Positive(t, r.CPU["delivery-worker"])
	}
}
