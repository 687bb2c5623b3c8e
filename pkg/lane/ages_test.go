package lane_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/topology"
)

// accepted returns when the messages were stored in the work queues, by data.
func (r *rig) accepted() map[string]time.Time {
	r.t.Helper()
	out := map[string]time.Time{}
	for p := range brokertest.Layout.Partitions {
		stream, err := r.conn.JS.Stream(r.t.Context(), topology.HotStream(chat.StageBot, p))
		require.NoError(r.t, err)
		info := stream.CachedInfo()
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
			m, err := stream.GetMsg(r.t.Context(), seq)
			require.NoError(r.t, err)
			out[string(m.Data)] = m.Time
		}
	}
	return out
}

// requireWaits waits until so many lanes of a group wait, the oldest since
// then, or a little later.
func (r *rig) requireWaits(lanes int, group string, oldest time.Time, later time.Duration) {
	r.t.Helper()
	var got []lane.Age
	require.Eventually(r.t, func() bool {
		got = r.engine.Ages()
		for _, w := range got {
			if w.Group == group {
				return w.Lanes == lanes && w.Oldest != nil && !w.Oldest.Before(oldest) && w.Oldest.Sub(oldest) <= later
			}
		}
		return lanes == 0
	}, 20*time.Second, 5*time.Millisecond, "%s of %s: %+v", oldest, group, &got)
}

// What waits has its age while it is in hand, when it is parked, when its head
// moves on, and after a start that found it parked and may not touch it.
func TestAges(t *testing.T) {
	withEachSource(t, testAges)
}

func testAges(r *rig) {
	t := r.t
	const convs, messages = 5, 3
	for place := range messages {
		for c := range convs {
			r.publish("closed,failing,free", strconv.Itoa(c), place+1)
		}
	}
	at := r.accepted()
	of := func(conv, place int) time.Time { return at[fmt.Sprintf("closed,failing,free %d %d", conv, place)] }
	r.handler.policy["closed"] = lane.Policy{Schedule: quick, Closed: "for now"}
	r.handler.policy["failing"] = lane.Policy{Schedule: []time.Duration{time.Hour}}
	r.handler.script["failing"] = func(task *lane.Task) lane.Verdict {
		if task.Place.Counter == 1 && task.ConversationID == "0" {
			return lane.Done()
		}
		return lane.Retry(0, errors.New("no"))
	}
	r.start()
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == convs*messages+1 })
	// After a start the closed one's lanes are known by which was parked first.
	for _, later := range []time.Duration{0, of(convs-1, 1).Sub(of(0, 1))} {
		r.requireWaits(convs, "closed", of(0, 1), later)
		r.requireWaits(convs, "failing", of(1, 1), 0)
		r.requireWaits(0, "free", time.Time{}, 0)
		r.stop()
		require.Empty(t, r.engine.Ages(), "nothing waits at a worker that has ended")
		r.start()
	}
	report, err := r.ask(1)
	require.NoError(t, err)
	require.Equal(t, 1, report.Answered)
	require.Len(t, report.Groups, 2)
	require.False(t, report.Groups[1].Oldest.Before(*report.Groups[0].Oldest), "the longest waiting first")
	r.stop()
}

// ask asks the engine as status does.
func (r *rig) ask(workers int) (*lane.Report, error) {
	r.t.Helper()
	r.requireAges()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- lane.Answer(ctx, r.conn, chat.StageBot, r.engine.Ages) }()
	defer func() {
		cancel()
		require.NoError(r.t, <-done)
	}()
	for {
		report, err := lane.Ask(r.t.Context(), r.conn, chat.StageBot, workers)
		if err != nil || report.Answered > 0 {
			return report, err
		}
	}
}

// requireAges asserts that the metrics have what Ages returns.
func (r *rig) requireAges() {
	r.t.Helper()
	r.requireMetric("closed", true)
	r.requireMetric("failing", true)
	r.requireMetric("free", false)
}

func (r *rig) requireMetric(group string, want bool) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return (ageOf(r.t, r.metrics, group) > 0) == want }, 20*time.Second, 5*time.Millisecond, group)
}

func ageOf(t *testing.T, reg *prometheus.Registry, group string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != "parley_lane_oldest_waiting_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "group" && l.GetValue() == group {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	return 0
}

// The labels are bounded: beyond the 100 longest waiting groups one stands for
// the rest, with the oldest and all lanes of them.
func TestWaitingIsBounded(t *testing.T) {
	r := newRig(t)
	r.handler.allClosed = true
	const groups = 130
	r.start()
	for g := range groups {
		r.publish(fmt.Sprintf("e%03d", g), "a", 1)
	}
	require.Eventually(t, func() bool {
		all := r.engine.Ages()
		return len(all) == 101 && all[100].Lanes == groups-100
	}, 20*time.Second, 5*time.Millisecond)
	all := r.engine.Ages()
	require.Equal(t, "_rest", all[100].Group)
	require.False(t, all[100].Oldest.Before(*all[99].Oldest))
	for i, w := range all[:100] {
		require.Equal(t, fmt.Sprintf("e%03d", i), w.Group, "the longest waiting")
	}
	require.Positive(t, ageOf(t, r.metrics, "_rest"))
	r.stop()
}

// Nobody there, or fewer than expected: the report says so.
func TestAskWithoutWorkers(t *testing.T) {
	r := newRig(t)
	report, err := lane.Ask(t.Context(), r.conn, chat.StageBot, 2)
	require.NoError(t, err)
	require.Equal(t, &lane.Report{Stage: chat.StageBot, Workers: 2, Groups: []lane.Age{}}, report)
}
