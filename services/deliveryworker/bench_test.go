package deliveryworker

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/parleyhq/parley/pkg/chat"
)

// forgetful is a journal that keeps nothing.
type forgetful struct{}

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
