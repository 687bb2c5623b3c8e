package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/topology"
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

func TestPrintWorkers(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	var out bytes.Buffer
	printWorkers(&out, &partition.Owners{Stage: chat.StageBot, Members: []partition.Member{
		{Instance: "a", Since: now.Add(-time.Minute), RenewedAt: now.Add(-2 * time.Second), Partitions: []int{0, 3}},
		{Instance: "b", Since: now, RenewedAt: now, Leaving: true},
	}}, now)
	require.Equal(t, "bot worker\ta: 2 partitions, for 1m0s, renewed 2s ago\nbot worker\tb: 0 partitions, for 0s, renewed 0s ago, leaving\n", out.String())
}
