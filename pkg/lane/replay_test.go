package lane_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/topology"
)

// replay stores a message of endpoint e again.
func (r *rig) replay(conv string, place int, id string) {
	r.t.Helper()
	key := chat.KeyOf("c", conv)
	replay := lane.Replay{ID: id, To: "e", Place: chat.Ordinal{Epoch: 1, Counter: uint64(place)}}
	_, err := r.conn.Publish(r.t.Context(), broker.Message{
		Subject: topology.HotSubject(chat.StageBot, key.Partition(brokertest.Layout.Partitions), "c", key),
		Data:    fmt.Appendf(nil, "e %s %d", conv, place), Headers: replay.Headers(),
	})
	require.NoError(r.t, err)
}

// A replay is handled though its lane has come further, once however often it is
// stored, and once more by a second replay.
func TestReplayIsHandledOnce(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.start()
		for i := range 3 {
			r.publish("e", "a", i+1)
		}
		delivered := func(n int) { r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == n }) }
		delivered(3)
		r.replay("a", 1, "r1")
		r.replay("a", 2, "r1")
		r.replay("a", 1, "r1") // it went on behind what it had not noted yet
		r.replay("a", 2, "r1")
		r.replay("a", 3, "r1")
		r.publish("e", "a", 4)
		delivered(7)
		r.replay("a", 2, "r2")
		r.replay("a", 2, "r1")
		r.publish("e", "a", 5)
		delivered(9)
		require.Equal(t, []uint64{1, 2, 3, 1, 2, 3, 4, 2, 5}, r.handler.seen["e a"])
		r.requireEmpty()

		r.start() // another process knows it too
		r.replay("a", 3, "r1")
		r.replay("a", 3, "r2")
		delivered(10)
		require.Equal(t, []uint64{1, 2, 3, 1, 2, 3, 4, 2, 5, 3}, r.handler.seen["e a"])
		r.requireEmpty()
	})
}

// A replay keeps its place in the lane, and what it is, while it is parked; its dead
// letter says which replay it was.
func TestReplayIsParkedAndDies(t *testing.T) {
	withEachSource(t, func(r *rig) {
		mend := r.failing("e")
		r.handler.policy["e"] = lane.Policy{Schedule: many}
		r.start()
		r.publish("e", "a", 5)
		r.awaitParked("e", "a", 1)
		r.replay("a", 1, "r1")
		r.replay("a", 1, "r1")
		r.replay("a", 2, "r1")
		r.publish("e", "a", 6)
		r.awaitParked("e", "a", 5)
		mend()
		r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 4 })
		require.Equal(t, []uint64{5, 1, 2, 6}, r.handler.seen["e a"])

		r.handler.mu.Lock()
		r.handler.script["e"] = func(*lane.Task) lane.Verdict { return lane.Dead("no", errors.New("not again")) }
		r.handler.mu.Unlock()
		r.replay("a", 3, "r1")
		r.replay("a", 3, "r1")
		r.publish("e", "a", 7)
		r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDead] == 2 })
		require.Equal(t, map[string]string{topology.HeaderReplay: "r1"}, r.memory.letters[0].Headers)
		require.Empty(t, r.memory.letters[1].Headers)
		r.requireEmpty()
	})
}
