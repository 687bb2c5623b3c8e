package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parleyhq/parley/pkg/chat"
)

// ErrClosed means that the ledger was closed.
var ErrClosed = errors.New("the ledger is closed")

// errTimeout is the cause when a call takes longer than RedisOptions.Timeout.
var errTimeout = errors.New("redis did not answer in time")

// RedisOptions configure a Redis ledger.
type RedisOptions struct {
	// TTL is how long a mark is kept after it last moved; 0 means 7 days.
	TTL time.Duration
	// Timeout bounds each call; 0 means 1 s.
	Timeout time.Duration
}

// Redis is the ledger for many machines. Each lane is one key, and each script
// touches one key, so that Redis Cluster works.
type Redis struct {
	client  redis.UniversalClient
	options RedisOptions
	queue   chan *call
	outage  atomic.Pointer[outage]
	closed  chan struct{}
	close   sync.Once
	group   sync.WaitGroup
}

// pipelineSize is how many calls one pipeline takes. One is under way at a time:
// with two each would be half as full, and cost nearly as much.
const pipelineSize = 512

// NewRedis makes a ledger on a client, which stays the caller's to close, after
// the ledger. [Connect] makes a client with fitting time-outs.
func NewRedis(client redis.UniversalClient, o RedisOptions) *Redis {
	if o.TTL == 0 {
		o.TTL = 7 * 24 * time.Hour
	}
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	r := &Redis{client: client, options: o, queue: make(chan *call, pipelineSize), closed: make(chan struct{})}
	r.group.Go(r.collect)
	return r
}

// Load returns the lane's mark. A key that holds something else than a mark is
// an error, until Settle replaces it.
func (r *Redis) Load(ctx context.Context, lane string) (mark chat.Ordinal, ok bool, err error) {
	value, ok, err := r.do(ctx, &call{lane: lane})
	if err != nil || !ok {
		return mark, false, laneError("reading", lane, err)
	}
	if mark, err = decodeMark(value); err != nil {
		return mark, false, laneError("reading", lane, err)
	}
	return mark, true, nil
}

// Settle moves the lane's mark forward.
func (r *Redis) Settle(ctx context.Context, lane string, mark chat.Ordinal) error {
	b, err := encodeMark(mark)
	if err == nil {
		_, _, err = r.do(ctx, &call{lane: lane, settle: string(b)})
	}
	return laneError("settling", lane, err)
}

// Ping asks Redis itself, however the calls before went, and whether it takes
// writes.
func (r *Redis) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.options.Timeout, errTimeout)
	defer cancel()
	if err := CheckWritable(ctx, r.client); err != nil {
		return fmt.Errorf("the ledger's Redis: %w", causeOf(ctx, err))
	}
	return nil
}

// Close fails the calls that wait and returns when none is under way.
func (r *Redis) Close() {
	r.close.Do(func() { close(r.closed) })
	r.group.Wait()
}

// do has the call answered by a pipeline. It returns when its own answer is
// there, the context or the time-out ends, or at once while Redis is out.
func (r *Redis) do(ctx context.Context, c *call) (value string, ok bool, err error) {
	if err := r.out(time.Now()); err != nil {
		return "", false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.options.Timeout, errTimeout)
	defer cancel()
	c.abandoned, c.answer = ctx.Done(), make(chan answer, 1)
	select {
	case r.queue <- c:
	case <-ctx.Done():
		return "", false, context.Cause(ctx)
	case <-r.closed:
		return "", false, ErrClosed
	}
	select {
	case a := <-c.answer:
		return a.value, a.ok, a.err
	case <-ctx.Done():
		return "", false, context.Cause(ctx)
	case <-r.closed:
		return "", false, ErrClosed
	}
}

// outage is a time during which Redis is not asked.
type outage struct {
	err    error
	until  time.Time
	asking bool // somebody asks whether it has ended
}

// askAgain is how long calls fail at once after one found Redis gone.
const askAgain = 200 * time.Millisecond

// out says why Redis is not asked now. After an outage one caller is let
// through to see; the others go on failing until it knows.
func (r *Redis) out(now time.Time) error {
	o := r.outage.Load()
	if o == nil {
		return nil
	}
	if now.Before(o.until) {
		return o.err
	}
	if r.outage.CompareAndSwap(o, &outage{err: o.err, until: now.Add(r.options.Timeout), asking: true}) {
		return nil
	}
	return o.err
}

// missed is why those are not sent who came before it was known that Redis is
// gone: they would wait for their whole time, and who calls after them as well.
func (r *Redis) missed(now time.Time) error {
	if o := r.outage.Load(); o != nil && !o.asking && now.Before(o.until) {
		return o.err
	}
	return nil
}

// heard notes how a pipeline went.
func (r *Redis) heard(err error) {
	if err != nil {
		r.outage.Store(&outage{
			err:   fmt.Errorf("redis was gone less than %s ago: %w", askAgain, err),
			until: time.Now().Add(askAgain),
		})
	} else if r.outage.Load() != nil {
		r.outage.Store(nil)
	}
}

func laneError(doing, lane string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s the mark of lane %s: %w", doing, lane, err)
}

// causeOf prefers the reason why the context ended to the error that this made.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
