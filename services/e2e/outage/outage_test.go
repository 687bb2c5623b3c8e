package outage

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
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// binaries are built once for all tests.
var binaries *e2e.Binaries

func TestMain(m *testing.M) {
	// The testing package exits with what m.Run returned.
	if err := e2e.Main(m, func(b *e2e.Binaries) { binaries = b }); err != nil {
		panic(err)
	}
}

// inFlight is how many POSTs to the endpoint are under way at once.
const inFlight = 64

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
func (o *outage) requireAll(t *testing.T, crowd *e2e.Crowd, id string) (again int) {
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
		start  func(testing.TB, *e2e.Binaries) *e2e.System
		killed string
		repeat int // that may come again: what was in flight
	}{
		{"four processes", e2e.StartFourProcesses, "ops", 0},
		{"serve", e2e.StartServe, "serve", inFlight},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // a destination must have been silent for a minute
			s := test.start(t, binaries)
			down := newOutage()
			shop := e2e.NewCustomerWith(t, s, "shop", "echo", []string{"--retry", "100ms,300ms", "--max-in-flight", fmt.Sprint(inFlight)},
				webhooktest.WithScript(down.answer))
			crowd := e2e.NewCrowd(shop, conversations, each, 10)
			ctx, cancel := context.WithTimeout(t.Context(), waits)
			defer cancel()
			require.NoError(t, crowd.Talk(ctx))
			awaitDead(ctx, t, s, crowd.Messages())
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
			awaitReplay(ctx, t, s, job.ID, func(j *ops.ReplayJob) bool { return j.Done >= uint64(crowd.Messages()/5) })
			s.Services[test.killed].Kill()
			s.Services[test.killed].Start()
			ended := awaitReplay(ctx, t, s, job.ID, func(j *ops.ReplayJob) bool { return j.State.Ended() })
			s.AwaitIdle()

			require.Equal(t, replay.Done, ended.State)
			require.EqualValues(t, crowd.Messages(), ended.Done)
			require.EqualValues(t, crowd.Messages(), ended.Total)
			require.LessOrEqual(t, down.requireAll(t, crowd, job.ID), test.repeat)
			status, err := s.Status(ctx)
			require.NoError(t, err)
			require.Zero(t, status.Dead.Messages)
		})
	}
}

// awaitDead waits until so many have died.
func awaitDead(ctx context.Context, t *testing.T, s *e2e.System, n int) {
	t.Helper()
	poll(ctx, t, "dead letters", func() (uint64, bool) {
		status, err := s.Status(ctx)
		if err != nil {
			return 0, false
		}
		return status.Dead.Messages, status.Dead.Messages == uint64(n)
	})
}

func awaitReplay(ctx context.Context, t *testing.T, s *e2e.System, id string, ok func(*ops.ReplayJob) bool) *ops.ReplayJob {
	t.Helper()
	var job *ops.ReplayJob
	poll(ctx, t, "the replay", func() (uint64, bool) {
		var err error
		job, err = s.Replay(ctx, id)
		return job.Done, err == nil && ok(job)
	})
	return job
}

// poll waits for what other processes do, which can only be asked for.
func poll(ctx context.Context, t *testing.T, what string, ok func() (uint64, bool)) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		n, done := ok()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			require.FailNow(t, "waited too long", "for %s, of which there are %d", what, n)
		case <-tick.C:
		}
	}
}
