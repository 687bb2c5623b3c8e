package lane_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// What a newer version wrote is left to it, wherever it stands: nothing of its
// partition is given up or overtaken, the others go on, and the newer version
// finds all of it.
func TestNewerIsLeft(t *testing.T) {
	for name, meet := range map[string]func(r *rig) (heal func()){
		"in the work queue":     meetInQueue,
		"in a parked lane":      meetParked,
		"in a lane's state":     meetState,
		"where the stage looks": meetElsewhere,
	} {
		t.Run(name, func(t *testing.T) { withEachSource(t, func(r *rig) { testNewerIsLeft(r, meet) }) })
	}
}

func testNewerIsLeft(r *rig, meet func(r *rig) (heal func())) {
	t := r.t
	r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Millisecond, time.Hour}}
	heal := meet(r)
	r.publish("e", "a", 3)
	require.Eventually(t, func() bool { return r.engine.Ready(t.Context()) != nil }, 20*time.Second, 5*time.Millisecond, "it says so")
	require.ErrorIs(t, r.engine.Ready(t.Context()), wire.ErrNewer)
	r.publish("f", other(), 4)
	r.handler.await(t, func() bool { return len(r.handler.seen["f "+other()]) == 1 })
	require.Empty(t, r.memory.letters)
	r.stop()
	heal()
	r.start()
	require.NoError(t, r.engine.Ready(t.Context()))
	r.handler.await(t, func() bool { return len(r.handler.seen["e a"]) == 3 })
	require.Equal(t, upTo(3), r.handler.seen["e a"])
	require.Empty(t, r.memory.letters)
	r.requireEmpty()
}

// other is a conversation of another partition than a's.
func other() string {
	for name := 'b'; ; name++ {
		if chat.KeyOf("c", string(name)).Partition(brokertest.Layout.Partitions) != chat.KeyOf("c", "a").Partition(brokertest.Layout.Partitions) {
			return string(name)
		}
	}
}

func meetInQueue(r *rig) func() {
	r.handler.newer = map[uint64]bool{2: true}
	r.start()
	r.publish("e", "a", 1)
	r.publish("e", "a", 2)
	return func() { r.handler.newer = nil }
}

// park parks the lane with two messages, of which the first has failed twice.
func park(r *rig) {
	r.handler.script["e"] = func(*lane.Task) lane.Verdict { return lane.Retry(0, errors.New("no")) }
	r.start()
	r.publish("e", "a", 1)
	r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeRetry] == 2 })
	r.publish("e", "a", 2)
	parked, err := r.conn.JS.Stream(r.t.Context(), topology.ParkedStream(chat.StageBot))
	require.NoError(r.t, err)
	require.Eventually(r.t, func() bool {
		info, err := parked.Info(r.t.Context())
		return err == nil && info.State.Msgs == 3 // and the state
	}, 20*time.Second, 5*time.Millisecond)
	r.stop()
	delete(r.handler.script, "e")
	r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Millisecond, time.Millisecond}}
}

func meetParked(r *rig) func() {
	park(r)
	r.handler.newer = map[uint64]bool{1: true}
	r.due(0)
	r.start()
	return func() { r.handler.newer = nil }
}

func meetState(r *rig) func() {
	park(r)
	r.due(1)
	r.start()
	return func() { r.due(0) }
}

// due replaces the lane's state by one that is due, of a version.
func (r *rig) due(version uint64) {
	r.t.Helper()
	key := chat.KeyOf("c", "a")
	_, subject := topology.LaneSubjects(chat.StageBot, key.Partition(brokertest.Layout.Partitions), "e", key)
	data, err := wire.EncodeLaneState(&chat.LaneState{AttemptCount: 1})
	require.NoError(r.t, err)
	if version > 0 {
		data = protowire.AppendVarint(protowire.AppendTag(data, 100, protowire.VarintType), version)
	}
	_, err = r.conn.Publish(r.t.Context(), broker.Message{Subject: subject, Data: data, Rollup: true})
	require.NoError(r.t, err)
}

func meetElsewhere(r *rig) func() {
	r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
		if task.Place.Counter == 2 {
			return lane.Stall(wire.ErrNewer)
		}
		return lane.Done()
	}
	r.start()
	r.publish("e", "a", 1)
	r.publish("e", "a", 2)
	return func() { delete(r.handler.script, "e") }
}
