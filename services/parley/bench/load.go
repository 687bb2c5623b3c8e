package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is a closed loop: each connection has one request under way, and the
// conversations are shared out among the connections, so that each one's
// messages are sent in order.
type load struct {
	target, token string
	round         int
	connections   int
	conversations int
	messages      int           // in all; 0: until the duration is over
	duration      time.Duration // 0: until the messages are sent
	size          int           // of a body, in bytes
}

// sent is what a load came to.
type sent struct {
	Accepted int // 202
	Refused  int // 429 and 503
	Failed   int // no answer: may or may not have been accepted
	Start    time.Time
	Took     time.Duration
	Latency  Latency // of the answers
}

// refusedPause is how long a connection waits after a refusal.
const refusedPause = 50 * time.Millisecond

// run sends the load. An answer other than 202, 429 or 503 ends it with an
// error.
func (l load) run(ctx context.Context) (sent, error) {
	client := newClient(l.connections)
	defer client.CloseIdleConnections()
	start := time.Now()
	var left atomic.Int64
	left.Store(int64(l.messages))
	more := func() bool {
		if l.messages > 0 && left.Add(-1) < 0 {
			return false
		}
		return l.duration <= 0 || time.Since(start) < l.duration
	}
	workers := make([]worker, l.connections)
	group, ctx := errgroup.WithContext(ctx)
	for i := range workers {
		w := &workers[i]
		w.load, w.client = l, client
		for c := i; c < l.conversations; c += l.connections {
			w.conversations = append(w.conversations, c)
		}
		group.Go(func() error { return w.loop(ctx, more) })
	}
	err := group.Wait()
	total := sent{Start: start, Took: time.Since(start)}
	var latency histogram
	for i := range workers {
		total.Accepted += workers[i].sent.Accepted
		total.Refused += workers[i].sent.Refused
		total.Failed += workers[i].sent.Failed
		latency.merge(&workers[i].latency)
	}
	total.Latency = latency.summary()
	return total, err
}

// worker is one connection's loop.
type worker struct {
	load          load
	client        *http.Client
	conversations []int
	sent          sent
	latency       histogram
	body          []byte
}

func (w *worker) loop(ctx context.Context, more func() bool) error {
	for sequence := 0; ; sequence++ {
		for _, c := range w.conversations {
			if !more() {
				return nil
			}
			if err := w.send(ctx, c, sequence); err != nil {
				return err
			}
		}
	}
}

func (w *worker) send(ctx context.Context, conversation, sequence int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	at := time.Now()
	w.body = userMessage(w.body, marker{w.load.round, conversation, sequence, at.UnixNano()}, w.load.size)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.load.target, bytes.NewReader(w.body))
	if err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if w.load.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.load.token)
	}
	status, err := do(w.client, req)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		w.sent.Failed++
		return pause(ctx)
	case status == http.StatusAccepted:
		w.sent.Accepted++
		w.latency.add(time.Since(at))
		return nil
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		w.sent.Refused++
		return pause(ctx)
	}
	return fmt.Errorf("%s answered %d: only 202, 429 and 503 make sense in a benchmark", w.load.target, status)
}

func pause(ctx context.Context) error {
	t := time.NewTimer(refusedPause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
