package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/replay"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/ops"
)

// outage is how an endpoint answers that is down for a while. It remembers what it
// has confirmed.
type outage struct {
	mu        sync.Mutex
	up        bool
	ids       map[string]string // that were attempted while it was down, by conversation and counter
	confirmed map[string][]*webhooktest.Received
	n         int
}

func newOutage() *outage {
	return &outage{ids: map[string]string{}, confirmed: map[string][]*webhooktest.Received{}}
}

func (o *outage) answer(_ int, r *webhooktest.Received) webhooktest.Reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	conversation := r.Body.SenderID
	if !o.up {
		o.ids[place(conversation, r.Body.MessageCounter)] = r.ID()
		return webhooktest.Reply{Status: http.StatusServiceUnavailable}
	}
	o.confirmed[conversation] = append(o.confirmed[conversation], r)
	o.n++
	return webhooktest.Reply{}
}

func place(conversation string, counter uint64) string { return fmt.Sprint(conversation, " ", counter) }

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.up = true
}

// requireAll requires of each conversation that it got all its counters in order,
// with the ids that they always had, out of one replay; and returns how many came
// again.
func (o *outage) requireAll(t *testing.T, crowd *Crowd, id string) (again int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Len(t, o.confirmed, crowd.Conversations)
	require.NotEmpty(t, o.ids)
	for conversation, all := range o.confirmed {
		last := uint64(0)
		for _, r := range all {
			require.Equal(t, id, r.Header.Get("Parley-Replay"))
			if was := o.ids[place(conversation, r.Body.MessageCounter)]; was != "" {
				require.Equal(t, was, r.ID())
			}
			if r.Body.MessageCounter == last {
				again++
				continue
			}
			require.Equal(t, last+1, r.Body.MessageCounter, "conversation %s", conversation)
			last++
		}
		require.EqualValues(t, crowd.Each, last, "conversation %s", conversation)
	}
	return again
}

// An endpoint is down for longer than its schedule lasts: what waits for it dies.
// Once it is back, an operator sends all of that again, and the process that does it
// is killed on the way. PARLEY_OUTAGE_MESSAGES is how many wait; make test-outage
// says 50,000.
func TestReplayAfterAnOutage(t *testing.T) {
	const (
		conversations = 500
		waits         = 8 * time.Minute
	)
	each := 4
	if text := os.Getenv("PARLEY_OUTAGE_MESSAGES"); text != "" {
		messages, err := strconv.Atoi(text)
		require.NoError(t, err)
		each = max(1, messages/conversations)
	}
	for _, test := range []struct {
		name   string
		start  func(testing.TB, *Binaries) *System
		killed string
		repeat int // that may come again: what was in flight
	}{
		{"four processes", StartFourProcesses, "ops", 0},
		{"serve", StartServe, "serve", inFlight},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // a destination must have been silent for a minute
			s := test.start(t, binaries)
			down := newOutage()
			shop := NewCustomerWith(t, s, "shop", "echo", []string{"--retry", "100ms,300ms", "--max-in-flight", fmt.Sprint(inFlight)},
				webhooktest.WithScript(down.answer))
			crowd := NewCrowd(shop, conversations, each, 10)
			ctx, cancel := context.WithTimeout(t.Context(), waits)
			defer cancel()
			require.NoError(t, crowd.Talk(ctx))
			s.awaitDead(ctx, crowd.Messages())
			down.end()

			var found ops.DeadLetterCount
			s.Read(&found, "dead", "count", "--endpoint", shop.EndpointID)
			require.EqualValues(t, crowd.Messages(), found.Count)
			var preview ops.ReplayPreview
			s.Read(&preview, "dead", "replay", "--endpoint", shop.EndpointID, "--dry-run")
			require.EqualValues(t, crowd.Messages(), preview.Total)
			require.NotEmpty(t, preview.Sample)

			var job ops.ReplayJob
			s.Read(&job, "dead", "replay", "--endpoint", shop.EndpointID, "--rate", fmt.Sprint(crowd.Messages()/10))
			s.awaitReplay(ctx, job.ID, func(j *ops.ReplayJob) bool { return j.Done >= uint64(crowd.Messages()/5) })
			s.Services[test.killed].Kill()
			s.Services[test.killed].Start()
			ended := s.awaitReplay(ctx, job.ID, func(j *ops.ReplayJob) bool { return j.State.Ended() })
			s.AwaitIdle()

			require.Equal(t, replay.Done, ended.State)
			require.EqualValues(t, crowd.Messages(), ended.Done)
			require.EqualValues(t, crowd.Messages(), ended.Total)
			require.LessOrEqual(t, down.requireAll(t, crowd, job.ID), test.repeat)
			require.Zero(t, s.deadLetters())
		})
	}
}

// awaitDead waits until so many have died.
func (s *System) awaitDead(ctx context.Context, n int) {
	s.t.Helper()
	s.poll(ctx, "dead letters", func() (uint64, bool) {
		status, err := s.Status(ctx)
		if err != nil {
			return 0, false
		}
		return status.Dead.Messages, status.Dead.Messages == uint64(n)
	})
}

func (s *System) awaitReplay(ctx context.Context, id string, ok func(*ops.ReplayJob) bool) *ops.ReplayJob {
	s.t.Helper()
	var job ops.ReplayJob
	s.poll(ctx, "the replay", func() (uint64, bool) {
		job = ops.ReplayJob{}
		_, err := s.get(ctx, ops.Root+"/replays/"+id, &job)
		return job.Done, err == nil && ok(&job)
	})
	return &job
}

// poll is await for what takes longer.
func (s *System) poll(ctx context.Context, what string, ok func() (uint64, bool)) {
	s.t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		n, done := ok()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			require.FailNow(s.t, "waited too long", "for %s, of which there are %d", what, n)
		case <-tick.C:
		}
	}
}

// A customer who has lost what it had gets it again.
func TestReplayDelivered(t *testing.T) {
	for _, topology := range Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			shop := NewCustomer(t, s, "shop", "echo")
			const each = 5
			for i := range each {
				for _, conversation := range []string{"anna", "ben"} {
					shop.Say(conversation, fmt.Sprint(i))
				}
			}
			first := shop.Await(2 * each)
			s.AwaitIdle()
			other := NewEndpoint(t, s, "shop", nil)
			var job ops.ReplayJob
			s.Read(&job, "replay", "delivered", "--endpoint", shop.EndpointID, "--since", "1h", "--wait")
			require.Equal(t, replay.Done, job.State)
			require.EqualValues(t, 2*each, job.Done)
			again := shop.Await(4 * each)[2*each:]
			s.AwaitIdle()
			require.Len(t, shop.All(), 4*each)
			require.Empty(t, other.All(), "a replay names its one destination")
			ids, counters := map[string]bool{}, map[string]uint64{}
			for _, r := range first {
				ids[r.ID()] = true
			}
			for _, r := range again {
				require.True(t, ids[r.ID()])
				require.Equal(t, job.ID, r.Header.Get("Parley-Replay"))
				counters[r.Body.SenderID]++
				require.Equal(t, counters[r.Body.SenderID], r.Body.MessageCounter)
			}
			require.Equal(t, map[string]uint64{"anna": each, "ben": each}, counters)
			require.Contains(t, s.Parley("trace", again[0].ID()), "replay "+job.ID, "its way says so")
		})
	}
}
