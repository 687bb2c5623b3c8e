package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxBody bounds a body that the sink or the relay reads, in bytes.
const maxBody = 1 << 20

// Sink is the customer's endpoint of a benchmark: it counts what arrives and
// judges its order.
type Sink struct {
	now    func() time.Time
	delay  time.Duration // of each answer
	errors float64       // share of the requests that are answered 500
	chance func() float64
	bodies sync.Pool // of *bytes.Buffer

	mu            sync.Mutex
	stats         SinkStats
	latency       histogram
	conversations []seen
}

// SinkStats is what arrived in a round.
type SinkStats struct {
	Round           int     `json:"round"`
	Unique          int     `json:"unique"`
	Duplicates      int     `json:"duplicates"`
	OrderViolations int     `json:"orderViolations"` // first arrivals behind a later message of their conversation
	Strangers       int     `json:"strangers"`       // of another round, or without a marker
	Errors          int     `json:"errors"`          // answered 500, as told
	FirstAt         int64   `json:"firstAt"`         // Unix nanoseconds of the first arrival
	LastAt          int64   `json:"lastAt"`          // and of the last that was no duplicate
	Latency         Latency `json:"latency"`         // from sending to first arrival
}

// seen is what arrived of a conversation.
type seen struct {
	bits []uint64
	last int // highest sequence; -1 before the first
}

// NewSink makes a sink that waits for its first round. It takes a while for
// each answer, and answers a share of the requests with 500.
func NewSink(delay time.Duration, errors float64) *Sink {
	return &Sink{
		now: time.Now, delay: delay, errors: errors, chance: rand.Float64,
		bodies: sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}
}

// Handler routes POST /round?number=N&conversations=M, which begins a round
// anew, GET /stats, and for POST / the deliveries.
func (s *Sink) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /round", s.serveRound)
	mux.HandleFunc("GET /stats", s.serveStats)
	mux.HandleFunc("POST /", s.serveDelivery)
	return mux
}

func (s *Sink) serveRound(w http.ResponseWriter, r *http.Request) {
	number, errN := strconv.Atoi(r.FormValue("number"))
	conversations, errC := strconv.Atoi(r.FormValue("conversations"))
	if errN != nil || errC != nil || conversations < 1 {
		http.Error(w, "number and conversations are needed", http.StatusBadRequest)
		return
	}
	s.begin(number, conversations)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Sink) serveStats(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.Stats()) // the client sees a cut body itself
}

func (s *Sink) serveDelivery(w http.ResponseWriter, r *http.Request) {
	body := s.bodies.Get().(*bytes.Buffer)
	defer s.bodies.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		http.Error(w, fmt.Sprintf("reading the body: %v", err), http.StatusBadRequest)
		return
	}
	status := http.StatusOK
	if s.errors > 0 && s.chance() < s.errors {
		status = http.StatusInternalServerError
		s.failed()
	} else {
		s.arrived(body.Bytes())
	}
	if s.delay > 0 {
		_ = pause(r.Context(), s.delay) // whoever asked has gone
	}
	w.WriteHeader(status)
}

func (s *Sink) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Errors++
}

func (s *Sink) begin(round, conversations int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats, s.latency = SinkStats{Round: round}, histogram{}
	s.conversations = make([]seen, conversations)
	for i := range s.conversations {
		s.conversations[i].last = -1
	}
}

// Stats is what arrived so far.
func (s *Sink) Stats() SinkStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Latency = s.latency.summary()
	return stats
}

func (s *Sink) arrived(body []byte) {
	now := s.now()
	m, ok := findMarker(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok || m.Round != s.stats.Round || m.Conversation >= len(s.conversations) || m.Sequence >= maxSequence {
		s.stats.Strangers++
		return
	}
	c := &s.conversations[m.Conversation]
	if !c.mark(m.Sequence) {
		s.stats.Duplicates++
		return
	}
	if s.stats.Unique++; s.stats.Unique == 1 {
		s.stats.FirstAt = now.UnixNano()
	}
	s.stats.LastAt = now.UnixNano()
	s.latency.add(sentAgo(m, now))
	if m.Sequence < c.last {
		s.stats.OrderViolations++
	}
	c.last = max(c.last, m.Sequence)
}

// maxSequence bounds what a conversation's record may grow to: 16 MiB.
const maxSequence = 1 << 27

// mark reports whether the sequence is new.
func (c *seen) mark(sequence int) bool {
	word, bit := sequence/64, uint64(1)<<(sequence%64)
	for len(c.bits) <= word {
		c.bits = append(c.bits, 0)
	}
	if c.bits[word]&bit != 0 {
		return false
	}
	c.bits[word] |= bit
	return true
}
