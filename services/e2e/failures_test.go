package e2e

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// The load of the tests below, but where they say otherwise: 20,000 messages.
const (
	crowdConversations = 500
	crowdEach          = 40
	failingShare       = 0.2
	inFlight           = 64 // POSTs to the endpoint under way at once
	talkWithin         = 3 * time.Minute
)

// patient is a schedule that a message doesn't use up: 50 attempts that fail
// with a chance of 0.2 each are one in 10^35. Its delays are short.
func patient() []string {
	delays := []string{"10ms", "20ms", "50ms", "100ms"}
	for len(delays) < 50 {
		delays = append(delays, "200ms")
	}
	return []string{"--retry", strings.Join(delays, ","), "--max-in-flight", strconv.Itoa(inFlight)}
}

// startPlain starts everything in one process, beside a Redis or without.
func startPlain(t *testing.T, redis bool, args ...string) *System {
	t.Helper()
	s := NewSystem(t, binaries)
	if redis {
		s.Redis = StartRedis(t)
		args = append(args, "--redis-url", s.Redis.URL)
	}
	s.startServe(args...)
	return s
}

// An endpoint fails a fifth of its requests at random, and yet every message is
// delivered, once and in order.
func TestRandomFailures(t *testing.T) {
	for _, test := range []struct {
		name  string
		redis bool
		each  int
	}{
		{"serve", false, crowdEach},
		{"serve with Redis", true, crowdEach / 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startPlain(t, test.redis, "--sync", "1s")
			flaky := NewFlaky(1, failingShare)
			shop := NewCustomerWith(t, s, "shop", "echo", patient(), webhooktest.WithScript(flaky.Answer))
			crowd := NewCrowd(shop, crowdConversations, test.each, 4)
			ctx, cancel := context.WithTimeout(t.Context(), talkWithin)
			defer cancel()

			begun := time.Now()
			require.NoError(t, crowd.Talk(ctx))
			accepted := time.Since(begun)
			require.NoError(t, flaky.AwaitConfirmed(ctx, crowd.Messages()))
			s.AwaitIdle()

			require.Equal(t, crowd.Messages(), crowd.Accepted())
			seen := inspect(t, flaky, crowd)
			require.Equal(t, crowd.Messages(), seen.delivered, "every message is delivered")
			require.Zero(t, seen.repeated, "no message is confirmed twice")
			require.Zero(t, s.deadLetters())
			delivered := time.Since(begun)
			s.Services["serve"].Stop()
			t.Logf("%d accepted in %s, %d delivered in %s, with %s of CPU; %d requests, %d of them failed, %d repeated",
				crowd.Accepted(), accepted, seen.delivered, delivered, s.Services["serve"].CPU(), flaky.total, flaky.failed, seen.repeated)
		})
	}
}

// The process is killed and started again in the middle of it. Nothing is lost
// or comes out of order, and only what was in flight may come again, once.
func TestKillInTheMiddle(t *testing.T) {
	for _, test := range []struct {
		name                string
		redis               bool
		sync                string
		conversations, each int
	}{
		{"serve", false, "1s", crowdConversations, crowdEach},
		{"serve with Redis", true, "1s", crowdConversations, crowdEach / 8},
		{"serve that syncs always", false, "always", 50, 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // one waits for keys that the killed process had claimed
			s := startPlain(t, test.redis, "--sync", test.sync)
			flaky := NewFlaky(2, failingShare)
			shop := NewCustomerWith(t, s, "shop", "echo", patient(), webhooktest.WithScript(flaky.Answer))
			crowd := NewCrowd(shop, test.conversations, test.each, 1)
			third := crowd.Messages() / 3
			crowd.Wait = func(ctx context.Context, said int) error { return flaky.AwaitConfirmed(ctx, said-third) }
			ctx, cancel := context.WithTimeout(t.Context(), talkWithin)
			defer cancel()

			begun := time.Now()
			talking, ctx := errgroup.WithContext(ctx)
			talking.Go(func() error { return crowd.Talk(ctx) })
			require.NoError(t, flaky.AwaitConfirmed(ctx, third))
			s.Services["serve"].Kill()
			before := crowd.Accepted()
			s.Services["serve"].Start()
			crowd.MoveTo(s.PublicURL())
			require.NoError(t, talking.Wait())
			require.NoError(t, flaky.AwaitConfirmed(t.Context(), crowd.Messages()))
			s.AwaitIdle()

			require.Less(t, before, crowd.Messages(), "the kill should come in the middle")
			require.Equal(t, crowd.Messages(), crowd.Accepted())
			seen := inspect(t, flaky, crowd)
			require.GreaterOrEqual(t, seen.delivered, crowd.Messages(), "every message is delivered")
			require.LessOrEqual(t, seen.delivered, crowd.Messages()+crowd.Lost(), "only a message whose answer was lost is a new one when it is sent again")
			require.LessOrEqual(t, seen.repeated, inFlight, "only what was in flight at the kill comes again")
			require.Zero(t, s.deadLetters())
			t.Logf("%d accepted (%d before the kill), %d answers lost, of which %d were accepted twice; %d delivered in %s; %d requests, %d of them failed, %d repeated",
				crowd.Accepted(), before, crowd.Lost(), seen.delivered-crowd.Messages(), seen.delivered, time.Since(begun), flaky.total, flaky.failed, seen.repeated)
		})
	}
}

// seen is what a crowd's conversations got in all.
type seen struct {
	delivered int // different bot messages that were confirmed
	repeated  int // confirmations of a message that had been confirmed
}

// inspect requires of every conversation that it got its counters from 1 on
// without a gap, each for the first time after the one before was confirmed;
// that a message is not repeated once its successor was attempted, and once at
// most; and that what came is what was said, in that order, again only where
// its answer had been lost.
func inspect(t *testing.T, f *Flaky, crowd *Crowd) seen {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Empty(t, f.broken, "requests that break the contract")
	require.Len(t, f.requests, crowd.Conversations)
	var all seen
	for conversation, requests := range f.requests {
		var done []Request // the confirmed message of each counter
		repeats := 0
		for i, r := range requests {
			n := len(done)
			if n > 0 && r.Counter == done[n-1].Counter { // the last one again
				require.Equal(t, done[n-1].ID, r.ID, "%s: request %d repeats message %d under another id", conversation, i, r.Counter)
				if r.Confirmed {
					repeats++
				}
				continue
			}
			require.EqualValues(t, n+1, r.Counter, "%s: request %d came after %d confirmed messages: %+v", conversation, i, n, requests[max(0, i-4):i+1])
			if r.Confirmed {
				done = append(done, r)
			}
		}
		require.LessOrEqual(t, repeats, 1, "%s: repeats", conversation)
		said := 0
		for _, r := range done {
			if r.Number == said {
				require.True(t, crowd.Uncertain(conversation, said), "%s: %d was accepted once and answered twice", conversation, said)
				continue
			}
			require.Equal(t, said+1, r.Number, "%s: message %d", conversation, r.Counter)
			said = r.Number
		}
		require.Equal(t, crowd.Each, said, "%s: the last message", conversation)
		all.delivered += len(done)
		all.repeated += repeats
	}
	return all
}

func (s *System) deadLetters() uint64 {
	s.t.Helper()
	status, err := s.Status(s.t.Context())
	require.NoError(s.t, err)
	return status.Dead.Messages
}
