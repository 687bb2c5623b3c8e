package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/services/ops"
)

func TestOwnerOf(t *testing.T) {
	owners := []*partition.Owners{
		{Stage: chat.StageUser, Partitions: []partition.Ownership{{Instance: "a"}}},
		{Stage: chat.StageBot, Partitions: []partition.Ownership{{Instance: "b"}, {Instance: "c", Vanished: 2}, {}, {Instance: "d", Sole: true}}},
	}
	for name, c := range map[string]struct {
		stage     chat.Stage
		partition int
		consumed  bool
		want      string
	}{
		"consumes":           {chat.StageUser, 0, true, "a"},
		"not consuming yet":  {chat.StageBot, 0, false, "(b)"},
		"after crashes":      {chat.StageBot, 1, true, "c, 2 vanished before it"},
		"nobody":             {chat.StageBot, 2, false, "none"},
		"sole":               {chat.StageBot, 3, false, "d"},
		"unknown partition":  {chat.StageBot, 4, true, ""},
		"former's consumer":  {chat.StageBot, 2, true, "none"},
		"not of other stage": {chat.StageUser, 1, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, ownerOf(owners, c.stage, topology.PartitionStatus{Partition: c.partition, Consumed: c.consumed}))
		})
	}
}

func TestPrintWaiting(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	long, short := now.Add(-time.Hour), now.Add(-5*time.Second)
	var out bytes.Buffer
	printWaiting(&out, &lane.Report{Stage: chat.StageUser}, now)
	require.Empty(t, out.String())
	report := &lane.Report{Stage: chat.StageBot, Workers: 3, Answered: 2, Groups: []lane.Age{{Group: "crm", Lanes: 1000, Oldest: &long}}}
	for range shownWaiting {
		report.Groups = append(report.Groups, lane.Age{Group: "other", Lanes: 2, Oldest: &short})
	}
	report.Groups[1].Oldest = nil
	report.Groups = append(report.Groups, lane.Age{Group: "_rest", Lanes: 7, Oldest: &short})
	printWaiting(&out, report, now)
	require.Contains(t, out.String(), "endpoint waiting\tcrm: for 1h0m0s, 1000 conversations\nendpoint waiting\tother: for a time that is not known yet, 2 conversations\nendpoint waiting\tother: for 5s, 2")
	require.Contains(t, out.String(), "endpoint waiting\tall others: 9 conversations\nendpoint waiting\tonly 2 of 3 workers answered\n")
}

func TestPrintWorkers(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	var out bytes.Buffer
	printWorkers(&out, &partition.Owners{Stage: chat.StageBot, Members: []partition.Member{
		{Instance: "a", Since: now.Add(-time.Minute), RenewedAt: now.Add(-2 * time.Second), Partitions: []int{0, 3}},
		{Instance: "b", Since: now, RenewedAt: now, Leaving: true},
	}}, now)
	require.Equal(t, "bot worker\ta: 2 partitions, for 1m0s, renewed 2s ago\nbot worker\tb: 0 partitions, for 0s, renewed 0s ago, leaving\n", out.String())
}

func TestCircuitText(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	ago := func(d time.Duration) *time.Time { return new(now.Add(-d)) }
	for want, c := range map[string]ops.Circuit{
		"closed":          {State: "closed"},
		"closed for 2m0s": {State: "closed", Since: ago(2 * time.Minute)},
		"open for 5s, 12 failures in a row since " + when(*ago(time.Hour)) + ", next try in 9s, will be disabled: told 1m0s ago": {
			State: "open", Since: ago(5 * time.Second), Failures: 12, FailingSince: ago(time.Hour), NextProbe: ago(-9 * time.Second), Warned: ago(time.Minute),
		},
		"half-open for 40s": {State: "half-open", Since: ago(40 * time.Second), NextProbe: ago(time.Second)},
	} {
		require.Equal(t, want, circuitText(c, now))
	}
}
