package bench

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is what is sent in a round. A closed loop has one request under way on
// each connection; the conversations are shared out among the connections, so
// that each one's messages are sent in order. An open loop sends at a rate.
type load struct {
	target, token string
	round         int
	connections   int
	conversations int
	messages      int           // in all; 0: until the duration is over
	duration      time.Duration // 0: until the messages are sent
	size          int           // of a message's body, in bytes
	rate          int           // messages a second; 0: closed loop
	batch         int           // messages of a request; 0: one, and not as a batch
}

// sent is what a load came to.
type sent struct {
	Accepted int // 202
	Refused  int // 429, 502 and 503; lines of a batch that were not accepted
	Failed   int // no answer: may or may not have been accepted
	Unsent   int // of an open loop: due, and no room to send them
	Start    time.Time
	Took     time.Duration
	Latency  Latency // of the answers
}

// refusedPause is how long a connection of a closed loop waits after a refusal.
const refusedPause = 50 * time.Millisecond

// run sends the load. An answer that makes no sense ends it with an error.
func (l load) run(ctx context.Context) (sent, error) {
	client := newClient(l.connections)
	defer client.CloseIdleConnections()
	senders := make([]*sender, l.connections)
	for i := range senders {
		s, err := newSender(ctx, l, client)
		if err != nil {
			return sent{}, err
		}
		senders[i] = s
	}
	total := sent{Start: time.Now()}
	var err error
	if l.rate > 0 {
		total.Unsent, err = l.open(ctx, senders)
	} else {
		err = l.closed(ctx, senders)
	}
	total.Took = time.Since(total.Start)
	var latency histogram
	for _, s := range senders {
		total.Accepted += s.accepted
		total.Refused += s.refused
		total.Failed += s.failed
		latency.merge(&s.latency)
	}
	total.Latency = latency.summary()
	return total, err
}

// closed runs a loop on each connection.
func (l load) closed(ctx context.Context, senders []*sender) error {
	start := time.Now()
	var left atomic.Int64
	left.Store(int64(l.messages))
	take := func(n int) int {
		if l.duration > 0 && time.Since(start) >= l.duration {
			return 0
		}
		if l.messages == 0 {
			return n
		}
		return max(0, min(n, n+int(left.Add(int64(-n)))))
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range senders {
		group.Go(func() error { return l.loop(ctx, s, i, take) })
	}
	return group.Wait()
}

// loop sends the messages of every conversation whose number is first plus a
// multiple of the connections, in turn. take says how many may be sent.
func (l load) loop(ctx context.Context, s *sender, first int, take func(n int) int) error {
	conversation, sequence := first, 0
	for n := take(max(1, l.batch)); n > 0; n = take(max(1, l.batch)) {
		at := time.Now()
		s.body = s.body[:0]
		for range n {
			s.add(conversation, sequence, at)
			if conversation += l.connections; conversation >= l.conversations {
				conversation, sequence = first, sequence+1
			}
		}
		refused, err := s.send(ctx, n, at)
		if err == nil && refused {
			err = pause(ctx, refusedPause)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pause returns an error when the context ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
