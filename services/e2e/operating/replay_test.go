package operating

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/replay"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// A customer who has lost what it had gets it again.
func TestReplayDelivered(t *testing.T) {
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			shop := e2e.NewCustomer(t, s, "shop", "echo")
			const each = 5
			for i := range each {
				for _, conversation := range []string{"anna", "ben"} {
					shop.Say(conversation, fmt.Sprint(i))
				}
			}
			first := shop.Await(2 * each)
			s.AwaitIdle()
			other := e2e.NewEndpoint(t, s, "shop", nil)
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
