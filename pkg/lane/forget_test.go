package lane

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// one is a handler with one policy.
type one struct {
	Handler
	policy Policy
}

func (o one) Policy(string) Policy            { return o.policy }
func (o one) Destination(group string) string { return group }

// TestUnusedDestinationsAreForgotten: but for those that a lane needs, and those
// at work for a shard that is at its end.
func TestUnusedDestinationsAreForgotten(t *testing.T) {
	const many, keep = 100, 10
	e := &Engine{handler: one{}, shards: map[*shard]struct{}{}, destinations: map[string]*destination{}}
	s := &shard{engine: e, lanes: map[ID]*lane{}, forgetAt: maxIdle}
	e.add(s)
	for i := range many {
		l := s.lane(ID{Group: strconv.Itoa(i)})
		s.destinationOf(l)
		switch {
		case i < 20:
			l.parked = true
		case i < 40:
			l.queue = []*item{{}}
		case i < 60:
			l.active = true
		}
	}
	leaving := e.destination("leaving")
	leaving.gate.busy = 1
	former := s.lanes[ID{Group: "99"}].dest

	e.forgetUnused(many + 1)
	require.Len(t, e.destinations, many+1, "there are not too many")

	e.add(&shard{engine: e})
	held := map[*shard]bool{s: true}
	require.Empty(t, e.dropDestinations(keep, held, nil), "a shard has come meanwhile")
	clear(e.shards)
	e.add(s)

	e.forgetUnused(keep)
	require.Len(t, e.destinations, 61)
	require.Same(t, leaving, e.destination("leaving"))
	for id, l := range s.lanes {
		i, err := strconv.Atoi(id.Group)
		require.NoError(t, err)
		if i < 60 {
			require.Same(t, e.destinations[id.Group], l.dest)
		} else {
			require.Nil(t, l.dest, "its next message finds the one that others find")
		}
	}
	require.NotSame(t, former, s.destinationOf(s.lanes[ID{Group: "99"}]))
	require.Same(t, e.destination("99"), s.destinationOf(s.lanes[ID{Group: "99"}]))
}
