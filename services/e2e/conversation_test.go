package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/ops"
	"github.com/parleyhq/parley/services/parley/bench"
)

// An operator registers a bot, a channel, an endpoint and a token; two users
// talk; the customer gets the bot's answers, signed and counted.
func TestConversation(t *testing.T) {
	for _, topology := range Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			shop := NewCustomer(t, s, "shop", "echo")

			shop.Say("anna", "one")
			shop.Say("bert", "uno")
			shop.Say("anna", "two")
			shop.Say("anna", "three")

			deliveries := shop.Await(4)
			require.Equal(t, []string{"one", "two", "three"}, shop.Texts("anna"))
			require.Equal(t, []string{"uno"}, shop.Texts("bert"))
			for _, d := range deliveries {
				require.Regexp(t, `^msg_[0-9a-v]{48}$`, d.ID())
				require.Equal(t, "Parley/e2e", d.Header.Get("User-Agent"))
				require.Equal(t, "application/json", d.Header.Get("Content-Type"))
				require.Equal(t, "1", d.Header.Get("Parley-Attempt"))
			}
		})
	}
}

// What was registered, said and settled survives the end of every service, by
// order and by force, and so does what waits, with the count of its attempts:
// counters go on, and nothing comes again.
func TestRestart(t *testing.T) {
	for _, topology := range Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			shop := NewCustomer(t, s, "shop", "echo")
			var open atomic.Bool
			late := NewCustomerWith(t, s, "late", "echo", []string{"--retry", "10ms,10ms,10ms"},
				webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
					if open.Load() {
						return webhooktest.Reply{}
					}
					return webhooktest.Reply{Status: http.StatusGone} // disables it
				}))
			late.Say("carl", "one")
			late.Say("carl", "two")
			late.Await(1)
			shop.Say("anna", "one")
			shop.Await(1)

			for _, service := range s.Services {
				service.Stop()
				service.Start()
			}
			shop.Say("anna", "two")
			shop.Await(2)

			s.awaitSettled(2) // a kill before that may repeat the last one
			for _, service := range s.Services {
				service.Kill()
				service.Start()
			}
			shop.Say("anna", "three")
			shop.Await(3)
			s.awaitSettled(2)
			require.Equal(t, []string{"one", "two", "three"}, shop.Texts("anna"))

			require.Equal(t, []string{"1/1"}, tries(late.All()), "a disabled endpoint stays disabled")
			open.Store(true)
			s.Parley("endpoint", "enable", late.EndpointID)
			s.AwaitIdle()
			require.Equal(t, []string{"1/1", "1/2", "2/1"}, tries(late.All()))
		})
	}
}

// awaitSettled waits until nothing but this many parked bot messages waits.
func (s *System) awaitSettled(parked uint64) {
	s.t.Helper()
	s.AwaitStatus("all but the parked messages to be settled", func(status *ops.Status) bool {
		user, bot := status.Stages[0], status.Stages[1]
		return user.Waiting+user.Parked.Messages+bot.Waiting == 0 && bot.Parked.Messages == parked
	})
}

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
	out := binaries.Run(t, nil, "bench", "--workers", "1,2", "--nats-url", StartNATS(t, binaries).URL, "--redis-url", StartRedis(t).URL,
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
