package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publisher publishes with awaited acknowledgement: all publishes of a
// connection share one inbox. (That of nats.go sets a timer a message, fails
// nothing when the connection closes, and may leave a goroutine behind then.)
//
// A publish under way has a seat, and a seat its subject for the answer. Seats
// are used again, so that the server meets few subjects, which it caches; but
// only after an answer, so that a late one never reaches the next to sit there.
type publisher struct {
	nc     *nats.Conn
	prefix string // of the answers' subjects
	stop   chan struct{}
	done   chan struct{}

	mu     sync.Mutex
	lives  uint64
	life   string // of the connection; answers of an earlier one are void
	seats  []*seat
	free   []*seat
	closed bool
	feeds  map[string]*Feed
	// names are the streams' names, as strings that are there already; for
	// answered alone.
	names map[string]string
}

type seat struct {
	life      string
	reply     string
	msg       *nats.Msg    // its message; kept for an answer that comes after it was given up
	since     time.Time    // when its publish began; zero where it has ended
	abandoned bool         // nobody waits for the answer any more
	answer    chan outcome // takes one
}

type outcome struct {
	seq    uint64
	stream string
	err    error
	lost   bool // there was no answer, and the seat can't be used again
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
	p.nc, p.prefix, p.life, p.names, p.feeds = nc, nats.NewInbox()+".", "0", map[string]string{}, map[string]*Feed{}
	p.stop, p.done = make(chan struct{}), make(chan struct{})
	sub, err := nc.Subscribe(p.prefix+"*.*", p.answered)
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
	p.failBefore(time.Time{}, errClosed)
	p.mu.Unlock()
	if again {
		return
	}
	close(p.stop)
	<-p.done
}

// publish sends a message and waits for its place.
func (p *publisher) publish(ctx context.Context, msg *nats.Msg) (seq uint64, stream string, err error) {
	s, err := p.sit(msg)
	if err != nil {
		return 0, "", err
	}
	msg.Reply = s.reply
	err = p.nc.PublishMsg(msg)
	if err == nil {
		select {
		case o := <-s.answer:
			if !o.lost {
				p.release(s)
			}
			return o.seq, o.stream, o.err
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	p.abandon(s)
	return 0, "", err
}

// sit takes a seat that is free, or a new one.
func (p *publisher) sit(msg *nats.Msg) (*seat, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	var s *seat
	if n := len(p.free); n > 0 {
		s, p.free = p.free[n-1], p.free[:n-1]
	} else {
		s = &seat{life: p.life, reply: p.prefix + p.life + "." + strconv.Itoa(len(p.seats)), answer: make(chan outcome, 1)}
		p.seats = append(p.seats, s)
	}
	s.since, s.msg = time.Now(), msg
	return s, nil
}

// release frees a seat whose answer was taken.
func (p *publisher) release(s *seat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.life == p.life {
		p.free = append(p.free, s)
	}
}

// abandon leaves a seat to the answer that may still come.
func (p *publisher) abandon(s *seat) {
	p.mu.Lock()
	s.abandoned = !s.since.IsZero()
	answered := !s.abandoned
	p.mu.Unlock()
	if answered { // in this very moment
		if o := <-s.answer; !o.lost {
			p.release(s)
		}
	}
}

// answered passes an answer on to who waits for it.
func (p *publisher) answered(m *nats.Msg) {
	life, number, _ := strings.Cut(m.Subject[len(p.prefix):], ".")
	n, err := strconv.Atoi(number)
	if err != nil {
		return
	}
	o := p.decode(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n >= len(p.seats) || life != p.life {
		return
	}
	s := p.seats[n]
	if f := p.feeds[o.stream]; f != nil && o.err == nil {
		f.add(o.seq, s.msg)
	}
	if s.since.IsZero() { // it was given up
		return
	}
	s.since, s.msg = time.Time{}, nil
	if s.abandoned {
		s.abandoned = false
		p.free = append(p.free, s)
		return
	}
	s.answer <- o
}

func (p *publisher) follow(f *Feed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.feeds[f.stream] = f
}

func (p *publisher) unfollow(f *Feed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.feeds[f.stream] == f {
		delete(p.feeds, f.stream)
	}
}

// decode is decodeAck without making a string of the same name each time.
func (p *publisher) decode(m *nats.Msg) outcome {
	name, seq, ok := plainAck(m.Data)
	if !ok {
		return decodeAck(m)
	}
	stream, known := p.names[string(name)]
	if !known {
		stream = string(name)
		p.names[stream] = stream
	}
	return outcome{seq: seq, stream: stream}
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

// plainAck reads an acknowledgement that says no more than where the message is
// stored, as nearly all do: {"stream":"NAME","seq":1}.
func plainAck(data []byte) (stream []byte, seq uint64, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`))
	if !ok {
		return nil, 0, false
	}
	name, number, ok := bytes.Cut(rest, []byte(`","seq":`))
	if !ok || len(name) == 0 || len(number) < 2 || number[len(number)-1] != '}' || bytes.ContainsAny(name, `"\\`) {
		return nil, 0, false
	}
	for _, c := range number[:len(number)-1] {
		if c < '0' || c > '9' || seq > math.MaxUint64/10-1 {
			return nil, 0, false
		}
		seq = 10*seq + uint64(c-'0')
	}
	return name, seq, true
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
			p.mu.Lock()
			p.failBefore(now.Add(-publishTimeout), errNoAnswer)
			p.mu.Unlock()
		}
	}
}

// disconnected fails what is unanswered: its answer may have been lost. It begins
// with new seats.
func (p *publisher) disconnected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failBefore(time.Time{}, errDisconnected)
	p.lives++
	p.life = strconv.FormatUint(p.lives, 36)
	p.seats, p.free = nil, nil
}

// failBefore fails what waits since before a time; the zero time means all. It
// may have been stored. The mutex is held.
func (p *publisher) failBefore(limit time.Time, reason error) {
	failed := false
	for _, s := range p.seats {
		if s.since.IsZero() || !limit.IsZero() && !s.since.Before(limit) {
			continue
		}
		failed = true
		s.since = time.Time{}
		if !s.abandoned {
			s.answer <- outcome{err: reason, lost: true}
		}
	}
	if failed {
		for _, f := range p.feeds {
			f.miss()
		}
	}
}
