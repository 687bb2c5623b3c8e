package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publisher publishes with awaited acknowledgement: all publishes of a
// connection share one inbox and wait in one table. (That of nats.go sets a
// timer a message, fails nothing when the connection closes, and may leave a
// goroutine behind then.)
type publisher struct {
	nc     *nats.Conn
	prefix string // of the reply subjects
	stop   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]waiter
	closed  bool
}

type waiter struct {
	since  time.Time
	answer chan outcome // takes one
}

type outcome struct {
	seq    uint64
	stream string
	err    error
}

// publishTimeout is how long an answer may take, when the context has no
// earlier deadline; to the next sweep.
const (
	publishTimeout = 5 * time.Second
	sweepEvery     = 500 * time.Millisecond
)

var (
	errNoAnswer     = errors.New("no answer in time")
	errDisconnected = errors.New("the connection was lost before the answer came")
	errClosed       = errors.New("the connection is closed")
	errNoStream     = errors.New("no stream takes the subject, or JetStream is not there")
)

// start subscribes to the answers.
func (p *publisher) start(nc *nats.Conn) error {
	p.nc, p.prefix = nc, nats.NewInbox()+"."
	p.stop, p.done = make(chan struct{}), make(chan struct{})
	sub, err := nc.Subscribe(p.prefix+"*", p.answered)
	if err != nil {
		return fmt.Errorf("subscribing to acknowledgements: %w", err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("subscribing to acknowledgements: %w", err)
	}
	go p.sweep()
	return nil
}

// close fails what is unanswered and all that comes. It may be called again.
func (p *publisher) close() {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	p.mu.Unlock()
	if again {
		return
	}
	p.failBefore(time.Time{}, errClosed)
	close(p.stop)
	<-p.done
}

// publish sends a message and waits for its place.
func (p *publisher) publish(ctx context.Context, msg *nats.Msg) (seq uint64, stream string, err error) {
	answer := make(chan outcome, 1)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return 0, "", errClosed
	}
	p.last++
	token := p.last
	p.waiting[token] = waiter{since: time.Now(), answer: answer}
	p.mu.Unlock()
	msg.Reply = p.prefix + strconv.FormatUint(token, 36)
	if err := p.nc.PublishMsg(msg); err != nil {
		p.take(token)
		return 0, "", err
	}
	select {
	case o := <-answer:
		return o.seq, o.stream, o.err
	case <-ctx.Done():
		p.take(token)
		return 0, "", context.Cause(ctx)
	}
}

// take removes and returns a waiter.
func (p *publisher) take(token uint64) (waiter, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, ok := p.waiting[token]
	delete(p.waiting, token)
	return w, ok
}

// answered passes an answer on to who waits for it.
func (p *publisher) answered(m *nats.Msg) {
	token, err := strconv.ParseUint(m.Subject[len(p.prefix):], 36, 64)
	if err != nil {
		return
	}
	if w, ok := p.take(token); ok {
		w.answer <- decodeAck(m)
	}
}

// decodeAck reads a publish acknowledgement.
func decodeAck(m *nats.Msg) outcome {
	if len(m.Data) == 0 { // the server's word for "nobody listens"
		return outcome{err: errNoStream}
	}
	var ack struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
	}
	switch err := json.Unmarshal(m.Data, &ack); {
	case err != nil:
		return outcome{err: fmt.Errorf("an acknowledgement that can't be read: %w", err)}
	case ack.Error != nil:
		return outcome{err: ack.Error}
	case ack.Stream == "":
		return outcome{err: errors.New("an acknowledgement that names no stream")}
	}
	return outcome{seq: ack.Seq, stream: ack.Stream}
}

// sweep fails what has waited for too long.
func (p *publisher) sweep() {
	defer close(p.done)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case now := <-tick.C:
			p.failBefore(now.Add(-publishTimeout), errNoAnswer)
		}
	}
}

// disconnected fails what is unanswered: its answer may have been lost.
func (p *publisher) disconnected() { p.failBefore(time.Time{}, errDisconnected) }

// failBefore fails what waits since before a time; the zero time means all.
func (p *publisher) failBefore(limit time.Time, reason error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for token, w := range p.waiting {
		if limit.IsZero() || w.since.Before(limit) {
			delete(p.waiting, token)
			w.answer <- outcome{err: reason}
		}
	}
}
