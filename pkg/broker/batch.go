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

// batches reads several messages with one request, which nats.go doesn't: a
// direct get with "batch" (NATS ADR-31). The answers of all requests come to one
// inbox.
type batches struct {
	nc     *nats.Conn
	prefix string

	mu      sync.Mutex
	last    uint64
	waiting map[string]chan *nats.Msg // by the answer's subject
}

// Bounds of one read.
const (
	batchBytes = 256 << 10
	batchWait  = 5 * time.Second
)

// start subscribes to the answers.
func (b *batches) start(nc *nats.Conn) error {
	b.nc, b.prefix, b.waiting = nc, nats.NewInbox()+".", map[string]chan *nats.Msg{}
	sub, err := nc.Subscribe(b.prefix+"*", b.answered)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		return fmt.Errorf("subscribing to answers: %w", err)
	}
	return nil
}

func (b *batches) answered(m *nats.Msg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if answers, ok := b.waiting[m.Subject]; ok {
		select {
		case answers <- m:
		default: // more than was asked for
		}
	}
}

// ReadNext returns the first messages of a subject from a sequence on, at most n
// and about 256 KiB, oldest first; none where there is none. The stream must
// allow direct reads. The error wraps ErrUnavailable.
func (c *Conn) ReadNext(ctx context.Context, stream, subject string, from uint64, n int) ([]jetstream.RawStreamMsg, error) {
	found, err := c.batches.read(ctx, stream, subject, from, n)
	if err != nil {
		return nil, fmt.Errorf("reading %s in stream %s: %w: %w", subject, stream, ErrUnavailable, err)
	}
	return found, nil
}

func (b *batches) read(ctx context.Context, stream, subject string, from uint64, n int) ([]jetstream.RawStreamMsg, error) {
	request, err := json.Marshal(struct {
		From     uint64 `json:"seq"`
		Subject  string `json:"next_by_subj"`
		Batch    int    `json:"batch"`
		MaxBytes int    `json:"max_bytes"`
	}{max(from, 1), subject, n, batchBytes})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, batchWait, errNoAnswer)
	defer cancel()
	answers := make(chan *nats.Msg, n+1)
	reply := b.expect(answers)
	defer b.forget(reply)
	if err := b.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, reply, request); err != nil {
		return nil, err
	}
	var found []jetstream.RawStreamMsg
	for {
		select {
		case m := <-answers:
			raw, end, err := stored(m)
			if end || err != nil {
				return found, err
			}
			found = append(found, raw)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (b *batches) expect(answers chan *nats.Msg) (reply string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	reply = b.prefix + strconv.FormatUint(b.last, 36)
	b.waiting[reply] = answers
	return reply
}

func (b *batches) forget(reply string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, reply)
}

// stored takes an answer apart; end says that it is the last one, which is no
// message.
func stored(m *nats.Msg) (raw jetstream.RawStreamMsg, end bool, err error) {
	switch status := m.Header.Get("Status"); status {
	case "":
	case "204", "404": // the end, of some or of none
		return raw, true, nil
	default:
		return raw, true, fmt.Errorf("the server answers %s %s", status, m.Header.Get("Description"))
	}
	raw = jetstream.RawStreamMsg{Subject: m.Header.Get(jetstream.SubjectHeader), Header: m.Header, Data: m.Data}
	var badSeq, badTime error
	raw.Sequence, badSeq = strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	raw.Time, badTime = time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err := errors.Join(badSeq, badTime); err != nil {
		return raw, true, fmt.Errorf("an answer that can't be read: %w", err)
	}
	return raw, false, nil
}
