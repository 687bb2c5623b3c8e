package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// Run is one run: a system, a load, and the faults of a seed.
type Run struct {
	Seed uint64
	Size Size
	// Redis says whether Redis is taken away too.
	Redis   bool
	Length  time.Duration // of the faults
	Every   time.Duration // see Plan
	Longest time.Duration // see Plan
	// Conversations talk at an endpoint that recovers, and a tenth as many at
	// one that always fails; each pauses this long between two messages.
	Conversations int
	Pause         time.Duration
}

// The bounds of the end.
const (
	acceptWithin = 15 * time.Second // after the faults, the last messages
	quietWithin  = 2 * time.Minute
)

// patient is a schedule that a message doesn't use up in a run.
func patient() []string {
	delays := []string{"50ms", "100ms", "200ms", "500ms"}
	for range 16 {
		delays = append(delays, "1s")
	}
	for range 30 {
		delays = append(delays, "3s")
	}
	return []string{"--retry", strings.Join(delays, ","), "--max-in-flight", "256", "--timeout", attemptTimeout.String()}
}

func impatient() []string {
	return []string{"--retry", "50ms,100ms,200ms", "--timeout", attemptTimeout.String()}
}

// Do carries the run out and judges it.
func (r Run) Do(t testing.TB, binaries *e2e.Binaries) *Report {
	t.Helper()
	begun := time.Now()
	rig := start(t, binaries, r.Size)
	good, bad := newEndpoint(r.Seed, false, rig.senders.of), newEndpoint(r.Seed, true, rig.senders.of)
	t.Cleanup(func() { close(good.closed) })
	shop := e2e.NewCustomerWith(t, rig.system, "shop", "echo", patient(), webhooktest.WithScript(good.Answer))
	ruin := e2e.NewCustomerWith(t, rig.system, "ruin", "echo", impatient(), webhooktest.WithScript(bad.Answer))
	h := &History{Seed: r.Seed, Late: late, RedisFails: r.Redis, Failing: map[string]bool{}}
	load := &load{seed: r.Seed, pause: r.Pause}
	for i := range r.Size.Ingests {
		load.ingests = append(load.ingests, rig.system.Services[fmt.Sprintf("ingest-%d", i+1)].ReadyFile)
	}
	shopping, ruining := channel{id: shop.Channel, token: shop.Token}, channel{id: ruin.Channel, token: ruin.Token}
	for i := range r.Conversations {
		shopping.conversations = append(shopping.conversations, fmt.Sprintf("shop-%03d", i))
	}
	for i := range max(1, r.Conversations/10) {
		name := fmt.Sprintf("ruin-%03d", i)
		ruining.conversations = append(ruining.conversations, name)
		h.Failing[name] = true
	}
	booted := time.Since(begun)

	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	enough, stop := context.WithCancel(ctx)
	defer stop()
	talking, tctx := errgroup.WithContext(ctx)
	talking.Go(func() error { return load.talk(tctx, enough, shopping, ruining) })
	plan := rig.plan(r.Size, r.Redis)
	plan.Length, plan.Every, plan.Longest, plan.Minute = r.Length, r.Every, r.Longest, true
	rig.carryOut(Schedule(r.Seed, plan), good)
	harmed := time.Since(begun)
	stop()
	rig.awaitAll()
	healed := time.Since(begun)
	timer := time.AfterFunc(acceptWithin, hangUp)
	require.NoError(t, talking.Wait())
	timer.Stop()
	rig.awaitQuiet()

	h.Sends, h.Events = load.sends, rig.events
	for _, e := range []*endpoint{good, bad} {
		posts, broken := e.history()
		require.Empty(t, broken, "requests that break the contract")
		h.Posts = append(h.Posts, posts...)
	}
	h.Letters = rig.letters(shop.Channel, ruin.Channel)
	t.Logf("up after %s, faults until %s, healed after %s, quiet after %s; %d processes ended by themselves: %s",
		booted.Round(time.Millisecond), harmed.Round(time.Millisecond), healed.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond),
		len(rig.falls), strings.Join(rig.falls[:min(len(rig.falls), 50)], "\n"))
	return Check(h)
}

// awaitQuiet waits until nothing waits, twice in a row: a status is not of one
// moment.
func (r *rig) awaitQuiet() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), quietWithin)
	defer cancel()
	for idle := 0; idle < 2; {
		r.tend()
		asking, done := context.WithTimeout(ctx, 5*time.Second)
		status, err := r.system.Status(asking)
		done()
		idle++
		if err != nil {
			idle = 0
		} else {
			for _, stage := range status.Stages {
				if stage.Waiting+stage.Parked.Messages > 0 {
					idle = 0
				}
			}
		}
		if !wait(ctx, 100*time.Millisecond) {
			r.askWhy("bot-worker", "delivery-worker")
			require.FailNow(r.t, "not quiet", "within %s: %v, the status is %+v", quietWithin, err, status)
		}
	}
}

// askWhy has the processes of stages say in their logs what they are at, which
// Go's programs do when they get SIGQUIT.
func (r *rig) askWhy(stages ...string) {
	for _, name := range r.order {
		if slices.Contains(stages, strings.TrimRight(name, "-0123456789")) {
			r.members[name].signal(syscall.SIGQUIT)
		}
	}
}

// letters reads the dead letters of channels.
func (r *rig) letters(channels ...string) []Letter {
	r.t.Helper()
	var all []Letter
	for _, channel := range channels {
		found, err := r.deadLetters(channel)
		require.NoError(r.t, err)
		for _, l := range found {
			all = append(all, Letter{Conversation: l.ConversationID, Counter: l.MessageCounter, ID: l.MessageID, Reason: l.Reason})
		}
	}
	return all
}

// deadLetters lists a channel's dead letters. A stream's servers may still be
// choosing their leader; the API then says to come again.
func (r *rig) deadLetters(channel string) (found []ops.DeadLetter, err error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), quietWithin)
	defer cancel()
	for {
		found, err = r.system.DeadLetters(ctx, channel)
		if err == nil || !wait(ctx, time.Second) {
			return found, err
		}
	}
}
