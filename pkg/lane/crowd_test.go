package lane

import (
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
)

// A group that fills the window while it waits is parked where its destination
// takes fewer than a process parks; else all that waits would be written once
// more, for nothing.
func TestCrowdIsParkedAtASlowDestination(t *testing.T) {
	for name, c := range map[string]struct {
		passes int // in a second
		lanes  int
		short  bool
		parked bool
	}{
		"slow":                          {passes: parkingPace - 1, lanes: window, parked: true},
		"stands still":                  {passes: 0, lanes: window, parked: true},
		"half a window":                 {passes: 100, lanes: window / 2, parked: true},
		"less":                          {passes: 100, lanes: window/2 - 1},
		"fast":                          {passes: parkingPace, lanes: window},
		"it is the processor that lags": {passes: 100, lanes: window, short: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, now := crowded(c.lanes), time.Now()
			s.engine.processor.spare.Store(!c.short)
			s.parkCrowd(now)
			require.Zero(t, parkedIn(s), "nobody knows how fast it is")
			s.engine.destination("bot").gate.passed = c.passes
			s.parkCrowd(now.Add(time.Second))
			want := 0
			if c.parked {
				want = c.lanes
			}
			require.Equal(t, want, parkedIn(s))
		})
	}
}

func parkedIn(s *shard) (n int) {
	for _, l := range s.lanes {
		if l.parked {
			n++
		}
	}
	return n
}

// crowded is a shard, at its end so that nobody works on it, with a full window,
// of which lanes of one group with a message each wait.
func crowded(lanes int) *shard {
	e := New(Options{Stage: chat.StageUser, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()}, one{})
	s := &shard{engine: e, lanes: map[ID]*lane{}, forgetAt: maxIdle, closed: true, slots: make(chan struct{}, window)}
	for i := range window {
		s.slots <- struct{}{}
		if i < lanes {
			l := s.lane(ID{Group: "bot", Key: chat.KeyOf("c", strconv.Itoa(i))})
			l.queue, l.active = []*item{{msg: &Message{}}}, true
			s.destinationOf(l)
		}
	}
	return s
}
