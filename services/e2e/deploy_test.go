package e2e

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// unhurried is an endpoint that takes its time, so that something is always in
// flight; it counts what it gets.
type unhurried struct {
	*Flaky
	t     *testing.T
	takes time.Duration

	mu       sync.Mutex
	posts    map[string]int // by webhook-id
	attempts map[string]int // POSTs by Parley-Attempt
}

func (u *unhurried) Answer(n int, r *webhooktest.Received) webhooktest.Reply {
	u.mu.Lock()
	u.posts[r.ID()]++
	u.attempts[r.Header.Get("Parley-Attempt")]++
	u.mu.Unlock()
	timer := time.NewTimer(u.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-u.t.Context().Done():
	}
	return u.Flaky.Answer(n, r)
}

// A deploy stops and starts every process while messages are in flight: each is
// posted once, at its first attempt, and in order; each process ends with 0.
func TestDeployBurnsAndRepeatsNothing(t *testing.T) {
	for _, test := range []struct {
		name     string
		start    func(t testing.TB, binaries *Binaries) *System
		deployed []string
	}{
		{"serve", StartServe, []string{"serve", "serve"}},
		{"four processes", StartFourProcesses, []string{"ingest", "bot-worker", "delivery-worker", "ops"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.start(t, binaries)
			u := &unhurried{Flaky: NewFlaky(1, 0), t: t, takes: 200 * time.Millisecond, posts: map[string]int{}, attempts: map[string]int{}}
			shop := NewCustomerWith(t, s, "shop", "echo", Patient(), webhooktest.WithScript(u.Answer))
			crowd := NewCrowd(shop, 40, 12, 1)
			part := crowd.Messages() / (len(test.deployed) + 1)
			crowd.Wait = func(ctx context.Context, said int) error { return u.AwaitConfirmed(ctx, said-part) }
			ctx, cancel := context.WithTimeout(t.Context(), TalkWithin)
			defer cancel()
			talking, tctx := errgroup.WithContext(ctx)
			talking.Go(func() error { return crowd.Talk(tctx) })
			for i, name := range test.deployed {
				require.NoError(t, u.AwaitConfirmed(ctx, (i+1)*part))
				begun := time.Now()
				s.Services[name].Stop()
				stopped := time.Since(begun)
				s.Services[name].Start()
				crowd.MoveTo(s.PublicURL())
				t.Logf("%s stopped in %s, with 64 POSTs in flight at most, and was up %s later", name, stopped, time.Since(begun)-stopped)
			}
			require.NoError(t, talking.Wait())
			require.NoError(t, u.AwaitConfirmed(ctx, crowd.Messages()))
			s.AwaitIdle()

			seen := Inspect(t, u.Flaky, crowd)
			require.Equal(t, crowd.Messages(), seen.Delivered)
			u.mu.Lock()
			defer u.mu.Unlock()
			require.Equal(t, map[string]int{"1": crowd.Messages()}, u.attempts, "POSTs by attempt")
			require.Len(t, u.posts, crowd.Messages())
			require.Zero(t, s.CountDeadLetters())
		})
	}
}

// What takes longer than a shutdown may is cut off: the process ends in time,
// with 0, and the POST is made again as the first attempt.
func TestShutdownIsBounded(t *testing.T) {
	t.Parallel()
	const bound = 2 * time.Second
	s := StartFourProcessesWith(t, binaries, "PARLEY_SHUTDOWN_TIMEOUT="+bound.String())
	hanging := make(chan struct{}, 1)
	shop := NewCustomer(t, s, "shop", "echo", webhooktest.WithScript(func(n int, _ *webhooktest.Received) webhooktest.Reply {
		if n > 1 {
			return webhooktest.Reply{Status: http.StatusNoContent}
		}
		hanging <- struct{}{}
		return webhooktest.Reply{Until: make(chan struct{})} // until the client leaves
	}))
	shop.Say("anna", "one")
	shop.Say("anna", "two")
	<-hanging
	begun := time.Now()
	s.Services["delivery-worker"].Stop()
	took := time.Since(begun)
	t.Logf("the worker ended %s after SIGTERM, with a bound of %s", took, bound)
	require.Less(t, took, bound+time.Second)
	s.Services["delivery-worker"].Start()
	all := shop.Await(3)
	s.AwaitIdle()
	require.Equal(t, all[0].ID(), all[1].ID(), "what was cut off comes again, before what stands behind it")
	for _, r := range all {
		require.Equal(t, "1", r.Header.Get("Parley-Attempt"), "and no attempt was burnt")
	}
	require.Len(t, shop.All(), 3)
}
