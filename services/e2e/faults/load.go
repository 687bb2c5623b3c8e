package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/services/parley/ready"
)

// load is many conversations that talk at once, through every ingest. Each says
// a number after the one before was accepted; what has no certain answer is
// sent again with its Idempotency-Key.
type load struct {
	seed    uint64
	pause   time.Duration // between two messages of a conversation, on the average
	ingests []string      // ready files
	client  *http.Client

	mu    sync.Mutex
	sends []Send
}

// tryWithin bounds one try of a send.
const tryWithin = 5 * time.Second

// channel is where some of the conversations talk.
type channel struct {
	id, token     string
	conversations []string
}

// talk talks until enough ends, and then until each conversation's last message
// is accepted or ctx ends.
func (l *load) talk(ctx, enough context.Context, channels ...channel) error {
	l.client = &http.Client{Timeout: tryWithin, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer l.client.CloseIdleConnections()
	g, ctx := errgroup.WithContext(ctx)
	for i, ch := range channels {
		for j, name := range ch.conversations {
			rnd := rand.New(rand.NewPCG(l.seed, uint64(i)<<32+uint64(j)))
			g.Go(func() error { return l.converse(ctx, enough, ch, name, rnd) })
		}
	}
	return g.Wait()
}

func (l *load) converse(ctx, enough context.Context, ch channel, name string, rnd *rand.Rand) error {
	for number := 1; ; number++ {
		if !wait(enough, jitter(rnd, l.pause)) {
			return nil
		}
		s := Send{Conversation: name, Number: number}
		err := l.say(ctx, ch, &s, rnd)
		s.At = time.Now()
		l.mu.Lock()
		l.sends = append(l.sends, s)
		l.mu.Unlock()
		if err != nil || !s.Accepted {
			return err
		}
	}
}

// say sends a message until it is accepted or ctx ends.
func (l *load) say(ctx context.Context, ch channel, s *Send, rnd *rand.Rand) error {
	said := fmt.Sprintf("%s %d", s.Conversation, s.Number)
	body, err := json.Marshal(map[string]any{
		"conversationId": s.Conversation, "message": map[string]any{"textMessage": map[string]any{"text": said}},
	})
	if err != nil {
		return err
	}
	for {
		status, err := l.try(ctx, ch, said, body, rnd)
		switch {
		case status == http.StatusAccepted:
			s.Accepted = true
			return nil
		case status == http.StatusConflict, status == http.StatusTooManyRequests, errors.Is(err, errNotSent):
			// Nothing was stored.
		case err != nil, status >= http.StatusInternalServerError, status == http.StatusNotFound:
			// 404: another process may have taken a killed one's port.
			s.Lost++
		default:
			return fmt.Errorf("%q was answered %d", said, status)
		}
		if !wait(ctx, jitter(rnd, 200*time.Millisecond)) {
			return nil
		}
	}
}

var errNotSent = errors.New("not sent")

// try sends a message once, to any ingest that says that it is ready.
func (l *load) try(ctx context.Context, ch channel, key string, body []byte, rnd *rand.Rand) (status int, err error) {
	file, err := os.ReadFile(l.ingests[rnd.IntN(len(l.ingests))])
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNotSent, err)
	}
	var at ready.File
	if err := json.Unmarshal(file, &at); err != nil {
		return 0, fmt.Errorf("%w: %w", errNotSent, err)
	}
	// A try that ends with the run has an uncertain answer, as a lost one has.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.PublicURL+"/v1/channels/webhook/"+ch.id+"/messages", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+ch.token)
	req.Header.Set("Idempotency-Key", key)
	req.GetBody = nil // or the client would repeat it by itself, unseen
	resp, err := l.client.Do(req)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return 0, fmt.Errorf("%w: %w", errNotSent, err)
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// wait waits and reports whether ctx still lives.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
