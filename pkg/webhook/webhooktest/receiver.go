// Package webhooktest is a customer's endpoint for tests: it records every POST
// in the order of arrival, checks its signature, and answers as its script says.
package webhooktest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

// Body is a delivery's body as the contract has it.
type Body struct {
	SenderID  string `json:"senderId"`
	Recipient struct {
		ID string `json:"id"`
	} `json:"recipient"`
	VerifyToken    string          `json:"verifyToken"`
	Message        json.RawMessage `json:"message"`
	MessageCounter uint64          `json:"messageCounter"`
	NLP            json.RawMessage `json:"nlp"`
}

// Received is one POST. It is not changed once recorded.
type Received struct {
	N      int // its place in the order of arrival, from 1
	At     time.Time
	Method string
	Path   string
	Proto  string
	Remote string // the client's address: equal for two POSTs over one connection
	Header http.Header
	Raw    []byte
	Body   Body
	// BodyErr is why Raw is no Body; nil if it is.
	BodyErr error
	// SignatureErr is what webhook.Verify said; nil if the signature holds or
	// the receiver has no secrets.
	SignatureErr error
}

// ID returns the webhook-id.
func (r *Received) ID() string { return r.Header.Get(webhook.HeaderID) }

// Reply is how the receiver answers; its zero value is 200 with no body.
type Reply struct {
	Status int // 0 means 200
	Header http.Header
	Body   string
	// Until delays the answer until the channel is closed or gives a value.
	Until <-chan struct{}
	// Reset resets the connection in place of an answer.
	Reset bool
}

// Script answers the n-th POST, n from 1. It may be called by many goroutines.
type Script func(n int, r *Received) Reply

// Status is a script that always answers with this status.
func Status(code int) Script {
	return func(int, *Received) Reply { return Reply{Status: code} }
}

// Option configures a receiver.
type Option func(*Receiver)

// WithScript sets how the receiver answers.
func WithScript(s Script) Option { return func(r *Receiver) { r.script = s } }

// WithSecrets makes the receiver check signatures; it accepts any of the secrets.
func WithSecrets(s ...chat.Secret) Option { return func(r *Receiver) { r.secrets = s } }

// WithTLS makes the receiver speak HTTPS, and HTTP/2 to who can.
func WithTLS() Option { return func(r *Receiver) { r.tls = true } }

// Receiver is a listening endpoint on loopback.
type Receiver struct {
	server    *httptest.Server
	script    Script
	secrets   []chat.Secret
	keys      []*webhook.Key
	tls       bool
	tlsConfig *tls.Config
	closing   chan struct{}

	mu      sync.Mutex
	all     []*Received
	arrived chan struct{} // closed and replaced at each arrival
}

// New starts a receiver, which ends with the test.
func New(tb testing.TB, opts ...Option) *Receiver {
	tb.Helper()
	r := &Receiver{script: Status(http.StatusOK), closing: make(chan struct{}), arrived: make(chan struct{})}
	for _, o := range opts {
		o(r)
	}
	keys, err := webhook.ParseSecrets(r.secrets)
	if err != nil {
		tb.Fatalf("webhooktest: %v", err)
	}
	r.keys = keys
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	if r.tls {
		r.server.EnableHTTP2, r.server.TLS = true, r.tlsConfig
		r.server.StartTLS()
	} else {
		r.server.Start()
	}
	tb.Cleanup(func() {
		close(r.closing)
		r.server.Close()
	})
	return r
}

// URL returns the receiver's address, such as http://127.0.0.1:4711/webhook.
func (r *Receiver) URL() string { return r.server.URL + "/webhook" }

// ParsedURL returns URL for a [webhook.Request].
func (r *Receiver) ParsedURL() *url.URL {
	u, err := url.Parse(r.URL())
	if err != nil {
		panic(err) // httptest's own URL
	}
	return u
}

// Server returns the server underneath, for its certificate and to close its
// connections.
func (r *Receiver) Server() *httptest.Server { return r.server }

// All returns what was received so far, in the order of arrival.
func (r *Receiver) All() []*Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// Conversation returns what was received so far for one senderId.
func (r *Receiver) Conversation(senderID string) []*Received {
	return slices.DeleteFunc(r.All(), func(m *Received) bool { return m.Body.SenderID != senderID })
}

// Wait returns the first n POSTs as soon as there are that many. When ctx ends
// first it returns what there is and an error that says how many.
func (r *Receiver) Wait(ctx context.Context, n int) ([]*Received, error) {
	for {
		r.mu.Lock()
		all, arrived := r.all, r.arrived
		r.mu.Unlock()
		if len(all) >= n {
			return slices.Clone(all[:n]), nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return slices.Clone(all), fmt.Errorf("webhooktest: %d of %d POSTs arrived: %w", len(all), n, context.Cause(ctx))
		}
	}
}

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request) {
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		return // the client went away while sending: nothing was received
	}
	m := &Received{At: time.Now(), Method: req.Method, Path: req.URL.Path, Proto: req.Proto, Remote: req.RemoteAddr, Header: req.Header, Raw: raw}
	m.BodyErr = json.Unmarshal(raw, &m.Body)
	if len(r.keys) > 0 {
		m.SignatureErr = webhook.Verify(r.keys, m.Header, raw, m.At, 0)
	}
	r.record(m)
	reply := r.script(m.N, m)
	if reply.Until != nil {
		select {
		case <-reply.Until:
		case <-req.Context().Done():
		case <-r.closing:
		}
	}
	if reply.Reset {
		reset(w)
		return
	}
	maps.Copy(w.Header(), reply.Header)
	if reply.Status != 0 {
		w.WriteHeader(reply.Status)
	}
	_, _ = io.Copy(w, strings.NewReader(reply.Body)) // a client that left needs no answer
}

func (r *Receiver) record(m *Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, m)
	m.N = len(r.all)
	close(r.arrived)
	r.arrived = make(chan struct{})
}

// reset ends the connection with RST where it can be had (HTTP/1.1), else the
// stream.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // so that Close resets
	}
	_ = conn.Close()
}
