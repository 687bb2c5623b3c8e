package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
)

const (
	// callLimit bounds a call of Redis, and the wait for another's.
	callLimit = 50 * time.Millisecond
	// askAgain is how long Redis is not asked after it failed.
	askAgain = time.Second
	// maxIdle is how many keys are remembered before the idle ones are looked for.
	maxIdle = 16384
)

var errTimeout = errors.New("redis did not answer in time")

// Options are what a Limiter is made of.
type Options struct {
	// Redis is shared by all processes; nil where there is only this one.
	Redis   redis.Scripter
	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Limiter gives out what rates allow. It is safe for concurrent use.
type Limiter struct {
	redis     redis.Scripter
	log       *zap.Logger
	downUntil atomic.Int64 // Unix nanoseconds; 0 while Redis answers
	calls     prometheus.Counter
	local     prometheus.Counter

	mu      sync.Mutex
	buckets map[bucketKey]*bucket
	lookAt  int // keys at which the idle ones are looked for
}

// bucketKey has the rate in it: a changed one begins anew.
type bucketKey struct {
	name string
	rate chat.Rate
}

// New makes a limiter. The client stays the caller's to close.
func New(o Options) *Limiter {
	l := &Limiter{
		redis: o.Redis, log: o.Log, buckets: map[bucketKey]*bucket{}, lookAt: maxIdle,
		calls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_ratelimit_redis_calls_total", Help: "Calls of Redis about rates; each may be for many tokens.",
		}),
		local: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_ratelimit_local_total", Help: "Decisions that this process made by itself because Redis failed or was slow.",
		}),
	}
	o.Metrics.MustRegister(l.calls, l.local)
	return l
}

// Take asks for n tokens, at least 1, of what a name may have at a rate; where
// the rate is no limit all are granted. It returns within about 50 ms, granted
// or not, by Redis or without it.
func (l *Limiter) Take(name string, rate chat.Rate, n int) Decision {
	if !rate.Limits() {
		return Decision{Granted: n}
	}
	key := bucketKey{name, rate}
	b := l.bucket(key)
	b.mu.Lock()
	defer b.mu.Unlock()
	began := time.Now()
	b.used = began
	if l.redis == nil {
		return b.alone(rate, n, began)
	}
	for {
		now := time.Now()
		if b.isKnown(n, now) {
			return b.give(n, now)
		}
		switch {
		case b.flight != nil && b.wait(n, began.Add(callLimit).Sub(now)):
		case b.flight == nil && l.mayAsk(now) && l.ask(key, b, n):
			return b.give(n, time.Now())
		default:
			l.local.Inc()
			return b.alone(rate, n, time.Now())
		}
	}
}

// GiveBack returns tokens that were granted just now and not used. Until the
// rate has given as many again, and for 50 ms at most where tokens are taken
// ahead, they are for who asks next in this process.
func (l *Limiter) GiveBack(name string, rate chat.Rate, n int) {
	if !rate.Limits() {
		return
	}
	b := l.bucket(bucketKey{name, rate})
	b.mu.Lock()
	defer b.mu.Unlock()
	worth := time.Duration(n) * rate.Interval()
	if l.redis == nil {
		b.next = b.next.Add(-worth)
		return
	}
	if ahead(rate) > 0 {
		worth = min(worth, aheadFor)
	}
	if b.tokens == 0 {
		b.void = time.Now().Add(worth)
	}
	b.tokens += n
}

// mayAsk reports whether Redis may be asked: it answers, or somebody has to see
// whether it does again.
func (l *Limiter) mayAsk(now time.Time) bool {
	until := l.downUntil.Load()
	return until == 0 || now.UnixNano() >= until && l.downUntil.CompareAndSwap(until, now.Add(askAgain).UnixNano())
}

// ask takes tokens from Redis, for all who wait meanwhile too, and reports
// whether it answered. The bucket's mutex is held, but not during the call.
func (l *Limiter) ask(key bucketKey, b *bucket, n int) bool {
	most, interval := ahead(key.rate), key.rate.Interval()
	if time.Now().Before(b.void) { // what was taken last was used up in time
		b.share *= 2
	}
	b.share = max(1, min(b.share, most))
	want := max(n+b.waiting, b.share) - b.tokens
	began := time.Now()
	flight := make(chan struct{})
	b.flight = flight
	b.mu.Unlock()
	d, err := l.call(key, key.rate.Burst-most, want)
	b.mu.Lock()
	close(flight)
	b.flight = nil
	now := time.Now()
	if l.heard(err, now); err != nil {
		return false
	}
	b.next, b.left = now.Add(d.Reset), d.Remaining
	b.tokens += d.Granted
	// Redis may have granted them as early as the call began.
	b.void = began.Add(min(aheadFor, time.Duration(max(most, 1))*interval))
	if d.Granted < want { // not one call for each token to come
		b.refused = now.Add(max(d.Wait, time.Duration(most/2)*interval, time.Millisecond))
	}
	return true
}

func (l *Limiter) call(key bucketKey, burst, n int) (d Decision, err error) {
	l.calls.Inc()
	ctx, cancel := context.WithTimeoutCause(context.Background(), callLimit, errTimeout)
	defer cancel()
	name := "parley:rate:{" + key.name + "}:" + key.rate.String()
	v, err := takeScript.Run(ctx, l.redis, []string{name}, scriptArgs(key.rate.Interval(), burst, n)...).Int64Slice()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return d, err
	}
	if len(v) != 4 {
		return d, fmt.Errorf("the script answered %d numbers", len(v))
	}
	return Decision{
		Granted: int(v[0]), Remaining: int(v[1]),
		Wait: time.Duration(v[2]) * time.Microsecond, Reset: time.Duration(v[3]) * time.Microsecond,
	}, nil
}

// heard notes how a call went, and says so when that has changed.
func (l *Limiter) heard(err error, now time.Time) {
	if err != nil {
		if l.downUntil.Swap(now.Add(askAgain).UnixNano()) == 0 {
			l.log.Warn("Redis does not answer about rates: each process allows the whole rate by itself", zap.Error(err))
		}
		return
	}
	if l.downUntil.Load() != 0 && l.downUntil.Swap(0) != 0 {
		l.log.Info("Redis answers about rates again")
	}
}

// bucket returns a key's, made at first use.
func (l *Limiter) bucket(key bucketKey) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= l.lookAt {
			l.forgetIdle(time.Now())
		}
		b = &bucket{used: time.Now()}
		l.buckets[key] = b
	}
	return b
}

// forgetIdle drops the keys that nobody uses and whose burst is whole again; the
// mutex is held.
func (l *Limiter) forgetIdle(now time.Time) {
	for key, b := range l.buckets {
		if b.mu.TryLock() {
			if now.Sub(b.used) > time.Second && b.flight == nil && !b.next.After(now) {
				delete(l.buckets, key)
			}
			b.mu.Unlock()
		}
	}
	l.lookAt = max(maxIdle, 2*len(l.buckets))
}
