package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Span is what a stream holds: from First up to and including Last; nothing
// where First is above Last.
type Span struct{ First, Last uint64 }

// SpanOf returns the sequences that a stream holds now. The error wraps
// ErrUnavailable.
func (c *Conn) SpanOf(ctx context.Context, stream string) (Span, error) {
	s, err := c.JS.Stream(ctx, stream)
	if err != nil {
		return Span{}, fmt.Errorf("reading the state of stream %s: %w: %w", stream, ErrUnavailable, err)
	}
	state := s.CachedInfo().State
	return Span{First: max(state.FirstSeq, 1), Last: state.LastSeq}, nil
}

// SeqAt returns the sequence of the first message of a stream that was stored at
// a time or later; one above the last where there is none. The leader answers:
// nats.go doesn't ask it by time. The error wraps ErrUnavailable.
func (c *Conn) SeqAt(ctx context.Context, stream string, t time.Time) (uint64, error) {
	request, err := json.Marshal(struct {
		Start   time.Time `json:"start_time"`
		Subject string    `json:"next_by_subj"`
	}{t.UTC(), ">"})
	if err != nil {
		return 0, fmt.Errorf("the time %s: %w", t, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq uint64 `json:"seq"`
		} `json:"message"`
	}
	err = c.ask(ctx, "$JS.API.STREAM.MSG.GET."+stream, request, &answer)
	switch {
	case err == nil && answer.Error == nil:
		return answer.Message.Seq, nil
	case err == nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		span, err := c.SpanOf(ctx, stream)
		return span.Last + 1, err
	case err == nil:
		err = answer.Error
	}
	return 0, fmt.Errorf("looking for %s in stream %s: %w: %w", t.UTC().Format(time.RFC3339), stream, ErrUnavailable, err)
}

// ask makes a request that nats.go doesn't, and reads its answer.
func (c *Conn) ask(ctx context.Context, subject string, request []byte, answer any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, errNoAnswer)
	defer cancel()
	msg, err := c.NATS.RequestWithContext(ctx, subject, request)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("an answer that can't be read: %w", err)
	}
	return nil
}

// askTimeout bounds one request.
const askTimeout = 10 * time.Second

// ReadAt returns the message at a sequence, nil where there is none, as the leader
// has it. The error wraps ErrUnavailable.
func (c *Conn) ReadAt(ctx context.Context, stream string, seq uint64) (*Stored, error) {
	s, err := c.handle(ctx, stream)
	if err == nil {
		var m *jetstream.RawStreamMsg
		if m, err = s.GetMsg(ctx, seq); err == nil {
			return &Stored{Seq: m.Sequence, Subject: m.Subject, Time: m.Time, Data: m.Data}, nil
		}
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // documented: none
	}
	return nil, fmt.Errorf("reading message %d of stream %s: %w: %w", seq, stream, ErrUnavailable, err)
}

// handle returns a stream to read from, asked for once.
func (c *Conn) handle(ctx context.Context, stream string) (jetstream.Stream, error) {
	if s, ok := c.streams.Load(stream); ok {
		return s.(jetstream.Stream), nil //nolint:forcetypeassert // stored below
	}
	s, err := c.JS.Stream(ctx, stream)
	if err == nil {
		c.streams.Store(stream, s)
	}
	return s, err
}
