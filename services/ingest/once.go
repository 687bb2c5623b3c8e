package ingest

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/ledger/idempotency"
	"github.com/parleyhq/parley/pkg/problem"
)

const (
	headerIdempotencyKey = "Idempotency-Key"
	maxIdempotencyKey    = 255
)

// idempotencyKey returns the request's key, empty where there is none: 1 to 255
// printable ASCII characters.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values(headerIdempotencyKey)
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	ok := len(values) == 1 && len(key) >= 1 && len(key) <= maxIdempotencyKey
	for _, c := range []byte(key) {
		ok = ok && c >= ' ' && c <= '~'
	}
	if !ok {
		return "", problem.New(http.StatusBadRequest, slugInvalidKey,
			"Idempotency-Key must stand once and have 1 to 255 printable ASCII characters: use a UUID, say")
	}
	return key, nil
}

// requestHash hashes what must be the same under the same key: the form, the
// path where it carries something, and the body. Without a key it is zero.
func requestHash(key string, f form, body []byte, path ...string) (sum [sha256.Size]byte) {
	if key == "" {
		return sum
	}
	h := sha256.New()
	h.Write([]byte(f))
	for _, p := range path {
		h.Write([]byte{0})
		h.Write([]byte(p))
	}
	h.Write([]byte{0})
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// How often a repeat looks whether the first request is done.
const (
	firstLook = 10 * time.Millisecond
	lastLook  = 250 * time.Millisecond
)

// claim takes the submission's key. repeat says that the message was stored
// under it before. The claim is nil when the store can't be used.
func (s *Service) claim(ctx context.Context, sub *submission) (claim *idempotency.Claim, repeat bool, err error) {
	if s.deps.Once == nil {
		return nil, false, nil
	}
	deadline := time.NewTimer(s.opts.RepeatWait)
	defer deadline.Stop()
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		state, c, err := s.deps.Once.Begin(ctx, sub.channelID, sub.key, sub.hash)
		if err != nil && ctx.Err() != nil { // the client has left, which says nothing of the store
			return nil, false, ctx.Err()
		}
		if s.withoutOnce(err) {
			return nil, false, nil
		}
		switch state {
		case idempotency.Claimed:
			return &c, false, nil
		case idempotency.Done:
			return nil, true, nil
		case idempotency.Mismatch:
			return nil, false, problem.New(http.StatusUnprocessableEntity, slugKeyReused,
				"this Idempotency-Key was used with another body: choose a new key for a new message")
		case idempotency.InProgress:
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-deadline.C:
			p := problem.New(http.StatusConflict, slugKeyInProgress,
				"the first request under this Idempotency-Key is still under way: send it again after the time in Retry-After")
			p.RetryAfter = time.Second
			return nil, false, p
		}
	}
}

// settle finishes a claim, or releases it where the message was not stored.
func (s *Service) settle(ctx context.Context, claim *idempotency.Claim, stored bool) {
	if claim == nil {
		return
	}
	ctx = context.WithoutCancel(ctx) // the client may have left; the store bounds the time
	if stored {
		s.withoutOnce(s.deps.Once.Finish(ctx, *claim))
		return
	}
	s.withoutOnce(s.deps.Once.Release(ctx, *claim))
}

// withoutOnce reports whether the store failed, counts that, and logs when it
// goes and when it is back.
func (s *Service) withoutOnce(err error) bool {
	if err == nil {
		if s.onceDown.Load() && s.onceDown.CompareAndSwap(true, false) {
			s.deps.Log.Info("the store of idempotency keys is back")
		}
		return false
	}
	s.metrics.onceErrors.Inc()
	if s.onceDown.CompareAndSwap(false, true) {
		s.deps.Log.Warn("the store of idempotency keys fails: a repeat is recognised only within the broker's duplicate window", zap.Error(err))
	}
	return true
}

// seldom says yes once in ten seconds.
type seldom struct{ next atomic.Int64 }

func (s *seldom) due(now time.Time) bool {
	next := s.next.Load()
	return now.UnixNano() >= next && s.next.CompareAndSwap(next, now.Add(10*time.Second).UnixNano())
}
