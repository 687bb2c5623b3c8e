package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
)

// askGap is the least time from one question to the leader to the next: at most
// 200 a second and process, however many ask.
const askGap = 5 * time.Millisecond

// asking shares questions to the leader: one answers all who asked before it
// was sent.
type asking struct {
	mu    sync.Mutex
	next  *question // that is not sent yet, nil if nobody asks
	sent  time.Time // when the last one was
	going bool      // a goroutine sends them
}

type question struct {
	answered chan struct{} // closed once there is an answer
	revision uint64
	err      error
}

// CatchUp returns a snapshot that shows every write that was confirmed, by
// whatever process, before CatchUp was called. Calls share questions to the
// leader. Errors wrap broker.ErrUnavailable.
func (r *Registry) CatchUp(ctx context.Context) (*Snapshot, error) {
	if r.opts.OnlyWriter { // its own writes are in the snapshot when they are confirmed
		return r.Snapshot(), nil
	}
	return r.catchUp(ctx)
}

func (r *Registry) catchUp(ctx context.Context) (*Snapshot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, leaderTimeout, errLeaderSlow)
	defer cancel()
	q := r.ask() //nolint:contextcheck // one question serves many callers
	select {
	case <-q.answered:
	case <-ctx.Done():
		return nil, fmt.Errorf("asking for the configuration's revision: %w: %w", broker.ErrUnavailable, context.Cause(ctx))
	}
	if q.err != nil {
		return nil, q.err
	}
	if err := r.WaitRevision(ctx, q.revision); err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	return r.Snapshot(), nil
}

// ask returns a question that will be sent after now.
func (r *Registry) ask() *question {
	a := &r.asking
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next == nil {
		a.next = &question{answered: make(chan struct{})}
	}
	if !a.going {
		a.going = true
		go r.answer()
	}
	return a.next
}

// answer sends questions until there are none.
func (r *Registry) answer() {
	a := &r.asking
	for {
		a.mu.Lock()
		wait := askGap - time.Since(a.sent)
		a.mu.Unlock()
		if wait > 0 {
			<-time.After(wait)
		}
		a.mu.Lock()
		q := a.next
		if q == nil {
			a.going = false
			a.mu.Unlock()
			return
		}
		a.next, a.sent = nil, time.Now()
		a.mu.Unlock()
		ctx, cancel := context.WithTimeoutCause(context.Background(), leaderTimeout, errLeaderSlow)
		q.revision, q.err = r.leaderRevision(ctx)
		cancel()
		close(q.answered)
	}
}

var errLeaderSlow = fmt.Errorf("not done within %s", leaderTimeout)

// leaderRevision asks the leader for the last revision. Of the answer only that
// is read.
func (r *Registry) leaderRevision(ctx context.Context) (uint64, error) {
	subject := jetstream.DefaultAPIPrefix + "STREAM.INFO." + topology.BucketStream(topology.BucketConfig)
	msg, err := r.js.Conn().RequestWithContext(ctx, subject, nil)
	if err != nil {
		return 0, fmt.Errorf("asking for the configuration's revision: %w: %w", broker.ErrUnavailable, err)
	}
	var info struct {
		State struct {
			LastSeq uint64 `json:"last_seq"`
		} `json:"state"`
		Error *jetstream.APIError `json:"error"`
	}
	err = json.Unmarshal(msg.Data, &info)
	if info.Error != nil {
		err = errors.Join(err, info.Error)
	}
	if err != nil {
		return 0, fmt.Errorf("asking for the configuration's revision: %w: %w", broker.ErrUnavailable, err)
	}
	return info.State.LastSeq, nil
}
