package load

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
)

// The load of the tests below, but where they say otherwise: 20,000 messages.
const (
	crowdConversations = 500
	crowdEach          = 40
	failingShare       = 0.2
)

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
			s := e2e.StartPlain(t, binaries, test.redis, "--sync", "1s")
			flaky := e2e.NewFlaky(1, failingShare)
			shop := e2e.NewCustomerWith(t, s, "shop", "echo", e2e.Patient(), webhooktest.WithScript(flaky.Answer))
			crowd := e2e.NewCrowd(shop, crowdConversations, test.each, 4)
			ctx, cancel := context.WithTimeout(t.Context(), e2e.TalkWithin)
			defer cancel()

			begun := time.Now()
			require.NoError(t, crowd.Talk(ctx))
			accepted := time.Since(begun)
			require.NoError(t, flaky.AwaitConfirmed(ctx, crowd.Messages()))
			s.AwaitIdle()

			require.Equal(t, crowd.Messages(), crowd.Accepted())
			seen := e2e.Inspect(t, flaky, crowd)
			require.Equal(t, crowd.Messages(), seen.Delivered, "every message is delivered")
			require.Zero(t, seen.Repeated, "no message is confirmed twice")
			require.Zero(t, s.CountDeadLetters())
			delivered := time.Since(begun)
			s.Services["serve"].Stop()
			t.Logf("%d accepted in %s, %d delivered in %s, with %s of CPU; %d requests, %d of them failed, %d repeated",
				crowd.Accepted(), accepted, seen.Delivered, delivered, s.Services["serve"].CPU(), seen.Requests, seen.Failed, seen.Repeated)
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
			s := e2e.StartPlain(t, binaries, test.redis, "--sync", test.sync)
			flaky := e2e.NewFlaky(2, failingShare)
			shop := e2e.NewCustomerWith(t, s, "shop", "echo", e2e.Patient(), webhooktest.WithScript(flaky.Answer))
			crowd := e2e.NewCrowd(shop, test.conversations, test.each, 1)
			third := crowd.Messages() / 3
			crowd.Wait = func(ctx context.Context, said int) error { return flaky.AwaitConfirmed(ctx, said-third) }
			ctx, cancel := context.WithTimeout(t.Context(), e2e.TalkWithin)
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
			seen := e2e.Inspect(t, flaky, crowd)
			require.GreaterOrEqual(t, seen.Delivered, crowd.Messages(), "every message is delivered")
			require.LessOrEqual(t, seen.Delivered, crowd.Messages()+crowd.Lost(), "only a message whose answer was lost is a new one when it is sent again")
			require.LessOrEqual(t, seen.Repeated, e2e.InFlight, "only what was in flight at the kill comes again")
			require.Zero(t, s.CountDeadLetters())
			t.Logf("%d accepted (%d before the kill), %d answers lost, of which %d were accepted twice; %d delivered in %s; %d requests, %d of them failed, %d repeated",
				crowd.Accepted(), before, crowd.Lost(), seen.Delivered-crowd.Messages(), seen.Delivered, time.Since(begun), seen.Requests, seen.Failed, seen.Repeated)
		})
	}
}
