package ops

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestFigures(t *testing.T) {
	old, older := time.Now().Add(-time.Hour), time.Now().Add(-2*time.Hour)
	stage := func(s chat.Stage) topology.StageStatus {
		return topology.StageStatus{
			Stage: s,
			Partitions: []topology.PartitionStatus{
				{Usage: topology.Usage{Messages: 3, Bytes: 30}, Oldest: &old},
				{Usage: topology.Usage{Messages: 4, Bytes: 40}, Oldest: &older},
				{},
			},
			Parked: topology.ParkedStatus{Usage: topology.Usage{Messages: 5, Bytes: 50}, Lanes: 2},
		}
	}
	var failure error
	reg := prometheus.NewRegistry()
	f := NewFigures(FiguresOptions{
		Status: func(context.Context) (*topology.Status, error) {
			return &topology.Status{Stages: []topology.StageStatus{stage(chat.StageUser), stage(chat.StageBot)}, Dead: topology.Usage{Messages: 6}}, failure
		},
		Owners: func(_ context.Context, s chat.Stage) (*partition.Owners, error) {
			return &partition.Owners{
				Stage: s, Members: []partition.Member{{Instance: "a"}, {Instance: "b"}},
				Partitions: []partition.Ownership{{Instance: "a"}, {Instance: "a", Vanished: 2}, {Vanished: 1}},
			}, nil
		},
		Usage: func(context.Context) (map[string]topology.Usage, error) {
			return map[string]topology.Usage{"DEAD": {Bytes: 60, MaxBytes: 100}}, nil
		},
		Config: func() *registry.Snapshot { return &registry.Snapshot{} }, Log: zap.NewNop(),
	}, reg)
	require.Zero(t, count(t, reg, "parley_waiting_messages"), "nothing was seen yet")

	require.NoError(t, f.Look(t.Context()))
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP parley_dead_letters Dead letters that there are.
# TYPE parley_dead_letters gauge
parley_dead_letters 6
# HELP parley_partitions_unowned Partitions that nobody works on. Some are for a moment while they move.
# TYPE parley_partitions_unowned gauge
parley_partitions_unowned{stage="bot"} 1
parley_partitions_unowned{stage="user"} 1
# HELP parley_partitions_vanished_owners Owners of partitions that vanished, instead of handing over, in the last 10 minutes; a process counts once for each partition that it had.
# TYPE parley_partitions_vanished_owners gauge
parley_partitions_vanished_owners{stage="bot"} 3
parley_partitions_vanished_owners{stage="user"} 3
# HELP parley_stream_bytes Bytes in a stream, or in a bucket's.
# TYPE parley_stream_bytes gauge
parley_stream_bytes{stream="DEAD"} 60
# HELP parley_waiting_messages Messages that wait, by where: in the stage's work queue, or parked.
# TYPE parley_waiting_messages gauge
parley_waiting_messages{place="parked",stage="bot"} 5
parley_waiting_messages{place="parked",stage="user"} 5
parley_waiting_messages{place="queue",stage="bot"} 7
parley_waiting_messages{place="queue",stage="user"} 7
# HELP parley_workers Live workers; the one process of serve is counted where it holds a partition.
# TYPE parley_workers gauge
parley_workers{stage="bot"} 2
parley_workers{stage="user"} 2
`), "parley_dead_letters", "parley_partitions_unowned", "parley_partitions_vanished_owners", "parley_stream_bytes", "parley_waiting_messages", "parley_workers"))
	require.InDelta(t, 2*time.Hour.Seconds(), waiting{oldest: queued(&f.last.Load().status.Stages[0]).oldest}.age(time.Now()), 600)

	failure = errors.New("no answer")
	require.ErrorIs(t, f.Look(t.Context()), failure)
	require.Positive(t, count(t, reg, "parley_waiting_messages"), "the last look stands for a while")
	aged := *f.last.Load()
	aged.at = aged.at.Add(-figuresAge - time.Second)
	f.last.Store(&aged)
	require.Zero(t, count(t, reg, "parley_waiting_messages"), "no figure is better than an old one")
	require.Zero(t, count(t, reg, "parley_stream_bytes"))
}

func count(t *testing.T, reg *prometheus.Registry, name string) int {
	t.Helper()
	n, err := testutil.GatherAndCount(reg, name)
	require.NoError(t, err)
	return n
}
