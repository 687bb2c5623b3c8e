package bench

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// What generator and sink add to each message must stay small beside what is
// measured.

func BenchmarkAppendMessage(b *testing.B) {
	var body []byte
	for i := 0; b.Loop(); i++ {
		body = appendMessage(body[:0], marker{1, i, i, int64(i)}, 300)
	}
}

func BenchmarkSinkArrival(b *testing.B) {
	s := NewSink(0, 0)
	s.begin(1, 64)
	var body []byte
	for i := 0; b.Loop(); i++ {
		body = appendMessage(body[:0], marker{1, i % 64, i / 64, time.Now().UnixNano()}, 300)
		s.arrived(body)
	}
}

func BenchmarkGenerator(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	s, err := load{target: server.URL, connections: 64, conversations: 64, messages: max(1, b.N), size: 300}.run(b.Context())
	if err != nil || s.Refused+s.Failed > 0 {
		b.Fatal(s, err)
	}
}
