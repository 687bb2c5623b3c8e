package operating

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// An erased conversation is gone, with all that waited; its next message begins
// it anew, and another conversation notices nothing.
func TestErase(t *testing.T) {
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			var down atomic.Bool
			shop := e2e.NewCustomerWith(t, s, "shop", "echo", []string{"--retry", "1h,1h"},
				webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
					if down.Load() {
						return webhooktest.Reply{Status: http.StatusInternalServerError}
					}
					return webhooktest.Reply{}
				}))
			shop.Say("anna", "one")
			shop.Say("bert", "uno")
			shop.Await(2)
			s.AwaitSettled(0)
			down.Store(true)
			for _, text := range []string{"two", "three"} {
				shop.Say("anna", text)
				shop.Say("bert", text)
			}
			s.AwaitSettled(4)

			there := erase(t, s, "shop", "anna", false)
			require.True(t, there.Session)
			require.EqualValues(t, 2, there.ParkedMessages)
			gone := erase(t, s, "shop", "anna", true)
			require.Zero(t, gone.PendingLanes+gone.PendingQueues)
			require.EqualValues(t, 2, gone.ParkedMessages)
			require.EqualValues(t, 5, gone.JournalEntries, "three turns, a delivery, a failed attempt")
			require.Equal(t, ops.Erased{ChannelID: "shop", ConversationID: "anna", DryRun: true}, erase(t, s, "shop", "anna", false))
			s.AwaitSettled(2)

			down.Store(false)
			shop.Say("anna", "hello")
			s.Parley("lane", "retry-now", "--endpoint", shop.EndpointID)
			s.AwaitIdle()
			counters := map[string][]uint64{}
			for _, d := range shop.All() {
				counters[d.Body.SenderID] = append(counters[d.Body.SenderID], d.Body.MessageCounter)
			}
			require.Equal(t, map[string][]uint64{"anna": {1, 2, 1}, "bert": {1, 2, 2, 3}}, counters, "the second of each has failed once")
		})
	}
}

// erase erases a conversation, or asks what there is.
func erase(t *testing.T, s *e2e.System, channel, conversation string, yes bool) (out ops.Erased) {
	t.Helper()
	args := []string{"conversation", "erase", channel, conversation}
	if yes {
		args = append(args, "--yes")
	}
	s.Read(&out, args...)
	return out
}
