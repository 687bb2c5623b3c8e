package lane

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

// Idle lanes are bounded for all partitions of a stage together, however many
// there are of either.
func TestIdleLanesAreBounded(t *testing.T) {
	for _, partitions := range []int{1, 8, 256} {
		t.Run(strconv.Itoa(partitions), func(t *testing.T) {
			e := &Engine{shards: map[*shard]struct{}{}}
			for range partitions {
				e.add(&shard{engine: e, lanes: map[ID]*lane{}})
			}
			for s := range e.shards {
				come(s, 0, 3*maxIdle/partitions, false)
			}
			total := 0
			for s := range e.shards {
				total += len(s.lanes)
			}
			require.LessOrEqual(t, total, maxIdle)
			require.Greater(t, total, maxIdle/2, "it doesn't forget more than it must")
		})
	}
}

// What is parked is remembered however much it is, and forgotten bit by bit once
// it is idle.
func TestParkedLanesStay(t *testing.T) {
	e := &Engine{shards: map[*shard]struct{}{}}
	s := &shard{engine: e, lanes: map[ID]*lane{}}
	e.add(s)
	const parked = 3 * maxIdle
	come(s, 0, parked, true)
	come(s, parked, parked, false)
	require.LessOrEqual(t, len(s.lanes), parked+parked/4, "the idle ones among them are found")
	left := 0
	for _, l := range s.lanes {
		if l.parked {
			left++
			l.parked = false
		}
	}
	require.Equal(t, parked, left)
	before := len(s.lanes)
	come(s, 2*parked, maxIdle/8, false)
	require.Greater(t, len(s.lanes), before/2, "nobody waits until all have gone")
	come(s, 3*parked, 2*parked, false)
	require.LessOrEqual(t, len(s.lanes), maxIdle)
}

// come makes lanes as messages do.
func come(s *shard, from, n int, parked bool) {
	for i := range n {
		s.lane(ID{Group: "shop", Key: chat.KeyOf("shop", strconv.Itoa(from+i))}).parked = parked
	}
}
