package webhooktest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
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
	Place  int // its place in the order of its conversation's, from 1
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

// WithSteps is [WithPlan] with steps that all requests share.
func WithSteps(steps ...Step) Option { return WithPlan(Plan{Steps: steps}) }

// WithPlan has the receiver answer by a plan.
func WithPlan(p Plan) Option { return func(r *Receiver) { r.plan = &p } }

// WithAround wraps the script or plan: what around returns is asked in its
// place. It may answer by itself, and the plan then stays where it is.
func WithAround(around func(Script) Script) Option { return func(r *Receiver) { r.around = around } }

// WithSecrets makes the receiver check signatures; it accepts any of the secrets.
func WithSecrets(s ...chat.Secret) Option { return func(r *Receiver) { r.secrets = s } }

// WithTLS makes the receiver speak HTTPS, and HTTP/2 to who can.
func WithTLS() Option { return func(r *Receiver) { r.tls = true } }

// WithHTTP1 leaves HTTP/2 out of what a receiver with TLS speaks.
func WithHTTP1() Option { return func(r *Receiver) { r.http1 = true } }

// WithAddr sets the host and port to listen at; default a free port of loopback.
func WithAddr(addr string) Option { return func(r *Receiver) { r.addr = addr } }

// WithKeep bounds how many POSTs are kept, the newest; default all.
func WithKeep(n int) Option { return func(r *Receiver) { r.keep = n } }

// Receiver is a listening endpoint.
type Receiver struct {
	server    *httptest.Server
	gate      *gate
	script    Script
	plan      *Plan
	play      *play // nil without a plan
	around    func(Script) Script
	secrets   []chat.Secret
	keys      []*webhook.Key
	addr      string
	keep      int
	tls       bool
	tlsConfig *tls.Config
	http1     bool
	closing   chan struct{}
	close     sync.Once
	// handlers are requests under way; the server forgets those whose connection
	// was taken from it.
	handlers sync.WaitGroup

	mu      sync.Mutex
	all     []*Received
	count   int
	places  map[string]int // by conversation
	arrived chan struct{}  // closed and replaced at each arrival
}

// TB is what New needs of a [testing.TB].
type TB interface {
	Helper()
	Cleanup(f func())
	Fatalf(format string, args ...any)
}

// New starts a receiver, which ends with the test.
func New(tb TB, opts ...Option) *Receiver {
	tb.Helper()
	r, err := Start(opts...)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(r.Close)
	return r
}

// Start starts a receiver outside of a test. It returns an error when a secret
// or the plan is bad, or the address can't be had. Close must follow.
func Start(opts ...Option) (*Receiver, error) {
	r := &Receiver{
		script: Status(http.StatusOK), addr: "127.0.0.1:0",
		closing: make(chan struct{}), arrived: make(chan struct{}), places: map[string]int{},
	}
	for _, o := range opts {
		o(r)
	}
	var err error
	if r.keys, err = webhook.ParseSecrets(r.secrets); err != nil {
		return nil, fmt.Errorf("webhooktest: %w", err)
	}
	if r.plan != nil {
		if err := r.plan.Validate(); err != nil {
			return nil, fmt.Errorf("webhooktest: %w", err)
		}
		r.play = newPlay(*r.plan)
		r.script = r.play.answer
	}
	if r.around != nil {
		r.script = r.around(r.script)
	}
	if r.gate, err = listen(r.addr); err != nil {
		return nil, fmt.Errorf("webhooktest: %w", err)
	}
	if r.play != nil {
		r.gate.holds = r.play.holds
	}
	r.serveOn(r.gate)
	return r, nil
}

func (r *Receiver) serveOn(l net.Listener) {
	r.server = &httptest.Server{Listener: l, EnableHTTP2: !r.http1, Config: &http.Server{
		Handler:     http.HandlerFunc(r.serve),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:   r.gate.state,
		// What a misbehaving answer leaves behind is no news.
		ErrorLog:          log.New(io.Discard, "", 0),
		ReadHeaderTimeout: 10 * time.Second,
	}}
	if r.tls {
		r.server.TLS = r.tlsConfig
		r.server.StartTLS()
	} else {
		r.server.Start()
	}
}

// connKey is the connection in a request's context.
type connKey struct{}

// Close ends every connection and waits for every goroutine. Answers under way
// are finished over HTTP/1.1, and cut off where they would hang or never end.
func (r *Receiver) Close() {
	r.close.Do(func() {
		close(r.closing)
		r.gate.cut()
		r.server.Close()
		r.handlers.Wait()
		r.gate.work.Wait()
	})
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
// connections. Close the receiver, not the server.
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

// maxBody bounds what is read of a POST, in bytes.
const maxBody = 16 << 20

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request) {
	r.handlers.Add(1)
	defer r.handlers.Done()
	raw, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil { // nothing was received: the client went away while sending, or sends too much
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	m := &Received{At: time.Now(), Method: req.Method, Path: req.URL.Path, Proto: req.Proto, Remote: req.RemoteAddr, Header: req.Header, Raw: raw}
	m.BodyErr = json.Unmarshal(raw, &m.Body)
	if len(r.keys) > 0 {
		m.SignatureErr = webhook.Verify(r.keys, m.Header, raw, m.At, 0)
	}
	r.record(m)
	reply := r.script(m.N, m)
	if r.play != nil && r.play.willHold() {
		w.Header().Set("Connection", "close") // so that the client comes with a new one
	}
	a := &answer{
		w: w, ctl: http.NewResponseController(w), left: req.Context(), gate: r.gate, conn: req.Context().Value(connKey{}).(net.Conn),
		http2: req.ProtoMajor == 2, closing: r.closing,
	}
	a.send(&reply)
}

func (r *Receiver) record(m *Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	r.places[m.Body.SenderID]++
	m.N, m.Place = r.count, r.places[m.Body.SenderID]
	r.all = append(r.all, m)
	if r.keep > 0 && len(r.all) > r.keep {
		r.all = slices.Delete(r.all, 0, len(r.all)-r.keep)
	}
	close(r.arrived)
	r.arrived = make(chan struct{})
}
