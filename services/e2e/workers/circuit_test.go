package workers

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// What one worker learns of an endpoint that is down the other knows: it parks
// what it has for it, probes apart. Once the endpoint is back all arrives, in
// order, though each message's own schedule says an hour.
func TestCircuitIsShared(t *testing.T) {
	const conversations, probes = 24, 6
	s := e2e.StartFourProcesses(t, binaries)
	s.Add("delivery-worker-2", "delivery-worker", s.Services["delivery-worker"].Env()).Start()
	awaitSpread(t, s, 2)
	var down atomic.Bool
	down.Store(true)
	shop := e2e.NewCustomer(t, s, "shop", "echo", webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		if down.Load() {
			return webhooktest.Reply{Status: http.StatusInternalServerError}
		}
		return webhooktest.Reply{Status: http.StatusOK}
	}))
	s.Parley("endpoint", "update", shop.EndpointID, "--retry", "1h")
	first, second := conversationsByWorker(t, s, shop.Channel, conversations)
	state := func(ctx context.Context) string {
		e, err := s.Endpoint(ctx, shop.EndpointID)
		if err != nil || e.Health == nil {
			return ""
		}
		return e.Health.State
	}

	for _, name := range first {
		shop.Say(name, "one")
	}
	e2e.Await(t, func() string { return "the circuit to open" }, func(ctx context.Context) bool { return state(ctx) == "open" })
	awaitParked(t, s, conversations)
	before := len(shop.All())
	for _, name := range second {
		shop.Say(name, "one")
		shop.Say(name, "two")
	}
	awaitParked(t, s, 3*conversations)
	require.LessOrEqual(t, len(shop.All())-before, probes)
	require.Contains(t, s.Parley("status"), shop.EndpointID)

	down.Store(false)
	s.AwaitIdle()
	for i, name := range append(first, second...) {
		want := []string{"one", "two"}
		if i < conversations {
			want = want[:1]
		}
		require.Equal(t, want, shop.Unrepeated(name), name)
	}
	e2e.Await(t, func() string { return "the circuit to close" }, func(ctx context.Context) bool { return state(ctx) == "closed" })
}

// conversationsByWorker returns so many conversations of each of two
// delivery-workers.
func conversationsByWorker(t *testing.T, s *e2e.System, channel string, n int) (first, second []string) {
	t.Helper()
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	owners := status.Owners[slices.IndexFunc(status.Owners, func(o *partition.Owners) bool { return o.Stage == chat.StageBot })]
	for i := 0; len(first) < n || len(second) < n; i++ {
		name := fmt.Sprint("user", i)
		of := &second
		if slices.Contains(owners.Members[0].Partitions, chat.KeyOf(channel, name).Partition(len(owners.Partitions))) {
			of = &first
		}
		if len(*of) < n {
			*of = append(*of, name)
		}
	}
	return first, second
}

// awaitParked waits until so many bot messages are parked, and nothing else waits.
func awaitParked(t *testing.T, s *e2e.System, messages uint64) {
	t.Helper()
	s.AwaitStatus(fmt.Sprintf("%d parked messages", messages), func(status *ops.Status) bool {
		return status.Stages[0].Waiting == 0 && status.Stages[1].Parked.Messages == messages
	})
}
