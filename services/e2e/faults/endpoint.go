package faults

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// The endpoint's time-out, and how long it may take to confirm a POST before
// the client may have given it up.
const (
	attemptTimeout = 3 * time.Second
	late           = attemptTimeout / 2
	slowest        = 400 * time.Millisecond
	usual          = 60 * time.Millisecond // at most, so that something is always in flight
)

// misbehaviour is what share of its requests an endpoint treats how while a
// fault lasts. Beside that it fails one in twenty.
var misbehaviour = map[Kind]float64{Errors: 0.7, Hang: 0.3, Reset: 0.5, Slow: 1, Redirect: 0.7}

const failsAnyhow = 0.05

// endpoint answers POSTs as its faults say, and writes them down.
type endpoint struct {
	seed   uint64
	fails  bool // always
	closed chan struct{}
	sender func(remote string) string // names the process at an address

	mu     sync.Mutex
	faults map[Kind]bool
	posts  []*Post
	broken []string // requests that break the contract
}

func newEndpoint(seed uint64, fails bool, sender func(remote string) string) *endpoint {
	return &endpoint{seed: seed, fails: fails, sender: sender, closed: make(chan struct{}), faults: map[Kind]bool{}}
}

// set begins or ends a fault.
func (e *endpoint) set(k Kind, on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults[k] = on
}

// Answer is the webhooktest.Script.
func (e *endpoint) Answer(_ int, r *webhooktest.Received) webhooktest.Reply {
	p, err := read(r)
	if err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.broken = append(e.broken, fmt.Sprintf("%s: %s", err, r.Raw))
		return webhooktest.Reply{Status: http.StatusBadRequest}
	}
	p.Sender = e.sender(r.Remote)
	p.Answer, p.Ended = Broken, p.Arrived // unless it gets one
	kind, delay := e.begin(p)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.closed:
	}
	reply, answer := webhooktest.Reply{}, Confirmed
	switch kind {
	case Errors:
		reply.Status, answer = http.StatusInternalServerError, Refused
	case Redirect:
		reply.Status, answer = http.StatusTemporaryRedirect, Refused
		reply.Header = http.Header{"Location": {"http://127.0.0.1:1/nowhere"}}
	case Hang, Reset:
		reply.Fault, answer = webhooktest.Reset, Broken
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p.Ended, p.Answer = time.Now(), answer
	return reply
}

// begin writes a POST down, and decides how to treat it: by the seed, the
// message and the attempt alone.
func (e *endpoint) begin(p *Post) (kind Kind, delay time.Duration) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d %d", p.Conversation, p.Counter, p.Attempt)
	rnd := rand.New(rand.NewPCG(e.seed, h.Sum64()))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.posts = append(e.posts, p)
	delay = time.Duration(rnd.Int64N(int64(usual)))
	if e.fails || rnd.Float64() < failsAnyhow {
		return Errors, delay
	}
	for _, k := range []Kind{Errors, Hang, Reset, Redirect, Slow} {
		if !e.faults[k] || rnd.Float64() >= misbehaviour[k] {
			continue
		}
		switch k {
		case Hang:
			delay = attemptTimeout + time.Second
		case Slow:
			delay = time.Duration(rnd.Int64N(int64(slowest)))
		}
		return k, delay
	}
	return "", delay
}

// history returns what was seen so far.
func (e *endpoint) history() (posts []Post, broken []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.posts {
		posts = append(posts, *p)
	}
	return posts, append(broken, e.broken...)
}

// read takes a delivery apart: the echo bot says what the user said, which is
// the conversation and a number.
func read(r *webhooktest.Received) (*Post, error) {
	if r.BodyErr != nil {
		return nil, r.BodyErr
	}
	if r.SignatureErr != nil {
		return nil, r.SignatureErr
	}
	var m chat.Message
	if err := json.Unmarshal(r.Body.Message, &m); err != nil {
		return nil, err
	}
	p := &Post{Conversation: r.Body.SenderID, Counter: r.Body.MessageCounter, ID: r.ID(), Arrived: r.At}
	var said string
	if _, err := fmt.Sscanf(m.Text, "%s %d", &said, &p.Number); err != nil || said != p.Conversation {
		return nil, fmt.Errorf("%q is nothing that %q said", m.Text, p.Conversation)
	}
	var err error
	if p.Attempt, err = strconv.Atoi(r.Header.Get(webhook.HeaderAttempt)); err != nil {
		return nil, fmt.Errorf("the attempt's number: %w", err)
	}
	return p, nil
}
