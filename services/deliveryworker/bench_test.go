package deliveryworker

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

// forgetful is a journal that keeps nothing.
type forgetful struct{}

func (forgetful) Flush(context.Context) error { return nil }

func (forgetful) Delivery(*chat.Delivery) {}

// BenchmarkRoute is the fan-out of a message to one endpoint; of one
// conversation, as they come.
func BenchmarkRoute(b *testing.B) {
	r := newRig(b)
	r.endpoint("a", "https://example.com/a")
	m := r.message("c1", 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.h.Route(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkManyEndpoints has 50,000 endpoints, each looked up once: MiB is what a
// worker keeps alive of them, configuration and route; its connections apart,
// which package webhook measures.
func BenchmarkManyEndpoints(b *testing.B) {
	const many, most = 50_000, 1024
	r := newRig(b)
	for b.Loop() {
		before := alive()
		known := newRoutes(r.guard, r.h.circuitOf)
		for i := range many {
			id := "e" + strconv.Itoa(i)
			e := &chat.Endpoint{
				ID: id, ChannelID: channel, URL: "https://" + id + ".example.com/hook", VerifyToken: "verify-me", Sending: chat.Sending{Secrets: []chat.Secret{webhook.NewSecret()}},
			}
			require.NoError(b, known.of(e).err)
		}
		added := alive() - before
		b.ReportMetric(added, "MiB")
		require.Less(b, added, float64(most))
		known.close()
	}
}

// alive is what the process has in use, after a collection.
func alive() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc+m.StackInuse) / (1 << 20)
}

// BenchmarkPolicy is what the engine asks several times a message.
func BenchmarkPolicy(b *testing.B) {
	r := newRig(b)
	r.endpoint("a", "https://example.com/a")
	b.ReportAllocs()
	for b.Loop() {
		r.h.Policy("a")
	}
}

// BenchmarkHandle is one attempt, with the endpoint in the same process.
func BenchmarkHandle(b *testing.B) {
	r := newRig(b)
	r.h.Journal = forgetful{}
	customer := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.Cleanup(customer.Close)
	r.endpoint("a", customer.URL)
	task := r.task(r.message("c1", 1), "a", 1)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if v := r.h.Handle(b.Context(), task); v.String() != "done" {
				b.Error(v)
				return
			}
		}
	})
}

// BenchmarkEnded is the record of an attempt, up to the journal.
func BenchmarkEnded(b *testing.B) {
	r := newRig(b)
	r.h.Journal = forgetful{}
	r.endpoint("a", "https://example.com/a")
	task := r.task(r.message("c1", 1), "a", 1)
	b.ReportAllocs()
	for b.Loop() {
		r.h.Ended(task, &chat.Attempt{Status: http.StatusOK}, chat.OutcomeDelivered)
	}
}
