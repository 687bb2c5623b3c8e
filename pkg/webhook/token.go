package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/parleyhq/parley/pkg/chat"
)

const (
	// tokenPause is how long a token server that gave none is left alone.
	tokenPause = time.Second
	// replaceEvery is how often a token that an endpoint never accepted is
	// replaced by another.
	replaceEvery = time.Minute
	// maxMargin is the longest time before its end that a token is renewed.
	maxMargin = time.Minute
)

// tokens keeps an endpoint's OAuth 2 token. There is at most one request for
// one under way, for all attempts; it is cut off when none waits for it any
// more. A token is renewed beside the attempts in the last tenth of its life,
// and while that fails the present one serves on.
//
// A token that is answered 401 is dropped, so that the next attempt brings a
// new one: it may have been revoked. Where the new one is refused too, the
// token is not at fault, and is replaced no more than once in replaceEvery.
type tokens struct {
	config clientcredentials.Config

	mu       sync.Mutex
	current  token
	dropped  bool // the last one, for a 401
	flight   *flight
	pauseErr error // why there was no token the last time
	pauseEnd time.Time
}

// token is what the server gave; its zero value is none.
type token struct {
	value      string // of the Authorization field
	made       time.Time
	renew, end time.Time // zero: it has no end
	replaces   bool      // one that was answered 401
	accepted   bool      // by a 2xx
}

func (t *token) usable(now time.Time) bool {
	return t.value != "" && (t.end.IsZero() || now.Before(t.end))
}

func (t *token) fresh(now time.Time) bool {
	return t.usable(now) && (t.end.IsZero() || now.Before(t.renew))
}

// flight is a request for a token under way.
type flight struct {
	done    chan struct{}
	waiting int // attempts, or 1 for a renewal that no one waits for
	cancel  context.CancelFunc
	value   string
	err     error
}

func newTokens(a *chat.Auth) *tokens { return &tokens{config: credentials(a)} }

// value returns the Authorization field of an attempt.
func (t *tokens) value(ctx context.Context, rt http.RoundTripper) (string, error) {
	t.mu.Lock()
	now := time.Now()
	if t.current.usable(now) {
		if !t.current.fresh(now) && t.flight == nil && !now.Before(t.pauseEnd) {
			t.start(ctx, rt)
		}
		defer t.mu.Unlock()
		return t.current.value, nil
	}
	if t.flight == nil && now.Before(t.pauseEnd) {
		defer t.mu.Unlock()
		return "", t.pauseErr
	}
	f := t.flight
	if f == nil {
		f = t.start(ctx, rt)
	} else {
		f.waiting++
	}
	t.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		t.leave(f)
		return "", waitError(ctx)
	}
}

// start begins a request, for one who waits; t.mu is held.
func (t *tokens) start(ctx context.Context, rt http.RoundTripper) *flight {
	// Not the attempt's: others wait for it too.
	own, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), tokenTimeout, errTokenTimeout)
	f := &flight{done: make(chan struct{}), waiting: 1, cancel: cancel}
	t.flight = f
	go func() {
		defer cancel()
		got, err := fetchToken(own, &t.config, rt)
		t.land(f, got, err)
	}()
	return f
}

var errTokenTimeout = fmt.Errorf("no answer from the token server within %s", tokenTimeout)

// land ends a request with what came of it.
func (t *tokens) land(f *flight, got *oauth2.Token, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer close(f.done)
	f.err = err
	if got != nil {
		f.value = got.Type() + " " + got.AccessToken
	}
	if t.flight != f {
		return // everyone left
	}
	t.flight = nil
	now := time.Now()
	if err != nil {
		t.pauseErr, t.pauseEnd = err, now.Add(tokenPause)
		return
	}
	next := token{value: f.value, made: now, replaces: t.dropped}
	if !got.Expiry.IsZero() {
		margin := min(got.Expiry.Sub(now)/10, maxMargin)
		next.renew, next.end = got.Expiry.Add(-margin), got.Expiry.Add(-margin/4)
	}
	t.current, t.dropped, t.pauseErr, t.pauseEnd = next, false, nil, time.Time{}
}

// leave takes one who waits out of a request, and ends it after the last.
func (t *tokens) leave(f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.waiting--; f.waiting > 0 {
		return
	}
	f.cancel()
	if t.flight == f {
		t.flight = nil
	}
}

// answered notes what an endpoint answered to a token.
func (t *tokens) answered(value string, status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch c := &t.current; {
	case c.value != value: // replaced since
	case status/100 == 2:
		c.accepted = true
	case status != http.StatusUnauthorized:
	case c.replaces && !c.accepted && time.Since(c.made) < replaceEvery:
	default:
		t.current, t.dropped = token{}, true
	}
}

// waitError is why an attempt got no token: its time is up, or it was ended.
func waitError(ctx context.Context) error {
	cause := context.Cause(ctx)
	if late, ok := errors.AsType[*attemptTimeout](cause); ok {
		return &Failure{KindAuth, fmt.Errorf("no token from the token server within the %s of the attempt", late.after)}
	}
	return cause
}
