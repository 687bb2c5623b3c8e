package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// sender is one connection's side of a load: it builds requests, sends them
// one after another and counts the answers.
type sender struct {
	load     load
	client   *http.Client
	template *http.Request
	body     []byte       // of the next request
	answer   bytes.Buffer // to a batch

	accepted, refused, failed int
	latency                   histogram
}

func newSender(ctx context.Context, l load, client *http.Client) (*sender, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.target, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if l.batch > 0 {
		req.Header.Set("Content-Type", "application/x-ndjson")
	}
	if l.token != "" {
		req.Header.Set("Authorization", "Bearer "+l.token)
	}
	return &sender{load: l, client: client, template: req}, nil
}

// add puts a message into the next request.
func (s *sender) add(conversation, sequence int, at time.Time) {
	s.body = appendMessage(s.body, marker{s.load.round, conversation, sequence, at.UnixNano()}, s.load.size)
	if s.load.batch > 0 {
		s.body = append(s.body, '\n')
	}
}

// send sends what was added: n messages. Their latency counts from at.
func (s *sender) send(ctx context.Context, n int, at time.Time) (refused bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, context.Cause(ctx)
	}
	accepted, status, err := s.exchange(ctx, n)
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case err != nil:
		s.failed += n
		return true, nil
	case accepted < 0:
		return false, fmt.Errorf("%s answered %d: only 202, 429, 502 and 503 make sense in a benchmark", s.load.target, status)
	}
	s.accepted += accepted
	s.refused += n - accepted
	if accepted > 0 {
		s.latency.add(time.Since(at))
	}
	return accepted < n, nil
}

// exchange sends the request and returns how many of its n messages were
// accepted; -1 where the status says that no message ever will be.
func (s *sender) exchange(ctx context.Context, n int) (accepted, status int, err error) {
	req := s.template.WithContext(ctx)
	req.ContentLength = int64(len(s.body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.body)), nil }
	req.Body, _ = req.GetBody() // never fails
	s.answer.Reset()
	if s.load.batch > 0 {
		status, err = exchange(s.client, req, &s.answer)
	} else {
		status, err = do(s.client, req)
	}
	switch status {
	case http.StatusOK:
		if s.load.batch > 0 {
			return acceptedLines(s.answer.Bytes()), status, err
		}
	case http.StatusAccepted:
		return n, status, err
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable:
		return 0, status, err
	}
	return -1, status, err
}

// acceptedLines counts the lines of a batch's answer that say 202.
func acceptedLines(answer []byte) int { return bytes.Count(answer, []byte(`{"status":202,`)) }
