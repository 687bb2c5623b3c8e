package partition_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/pkg/partition"
)

func workers(names ...string) []partition.Worker {
	out := make([]partition.Worker, 0, len(names))
	for i, name := range names {
		out = append(out, partition.Worker{Key: fmt.Sprintf("user.%s.%d", name, i), Instance: name})
	}
	return out
}

func loads(owner []int, workers int) []int {
	out := make([]int, workers)
	for _, w := range owner {
		out[w]++
	}
	slices.Sort(out)
	return out
}

func TestAssignSpreads(t *testing.T) {
	for _, c := range []struct {
		partitions int
		workers    []string
		loads      []int
	}{
		{8, []string{"a"}, []int{8}},
		{8, []string{"a", "b"}, []int{4, 4}},
		{8, []string{"a", "b", "c"}, []int{2, 3, 3}},
		{8, []string{"a", "b", "c", "d", "e"}, []int{1, 1, 2, 2, 2}},
		{2, []string{"a", "b", "c"}, []int{0, 1, 1}},
		{8, []string{"same", "same", "same"}, []int{2, 3, 3}},
		{0, []string{"a"}, []int{0}},
	} {
		t.Run(fmt.Sprintf("%d over %v", c.partitions, c.workers), func(t *testing.T) {
			owner := partition.Assign(c.partitions, workers(c.workers...))
			require.Len(t, owner, c.partitions)
			require.Equal(t, c.loads, loads(owner, len(c.workers)))
		})
	}
	require.Equal(t, []int{-1, -1}, partition.Assign(2, nil))
}

// The answer is part of the agreement between workers of different versions.
func TestAssignIsStable(t *testing.T) {
	require.Equal(t, []int{0, 2, 1, 0, 2, 1, 0, 1}, partition.Assign(8, workers("a", "b", "c")))
}

func TestAssignProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.IntRange(1, 64).Draw(t, "partitions")
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,4}-[0-9]{1,5}`), 2, 12, rapid.ID[string]).Draw(t, "names")
		all := workers(names...)
		n := len(all)
		owner := partition.Assign(partitions, all)

		// Even within one.
		l := loads(owner, n)
		if l[n-1]-l[0] > 1 {
			t.Fatalf("loads %v", l)
		}
		// The same answer in whatever order the workers are known.
		shuffled := rapid.Permutation(all).Draw(t, "shuffled")
		for p, w := range partition.Assign(partitions, shuffled) {
			if shuffled[w].Key != all[owner[p]].Key {
				t.Fatalf("partition %d is %v's and %v's", p, shuffled[w], all[owner[p]])
			}
		}
		// The last one leaves (or, the other way round, joins): what it had
		// moves, and little else.
		moved, had := 0, 0
		for p, w := range partition.Assign(partitions, all[:n-1]) {
			switch {
			case owner[p] == n-1:
				had++
			case owner[p] != w:
				moved++
			}
		}
		if most := partitions/2 + 2; moved > most {
			t.Fatalf("%d of %d partitions moved between workers that stayed, %d had to move", moved, partitions, had)
		}
	})
}

// On average a join moves hardly more than it must.
func TestAssignMovesFew(t *testing.T) {
	const partitions, rounds = 8, 500
	for n := 1; n < partitions; n++ {
		extra := 0
		for i := range rounds {
			var names []string
			for w := range n + 1 {
				names = append(names, fmt.Sprintf("host-%d-%d", i, w))
			}
			after := partition.Assign(partitions, workers(names...))
			for p, w := range partition.Assign(partitions, workers(names[:n]...)) {
				if after[p] != w && after[p] != n {
					extra++
				}
			}
		}
		require.LessOrEqual(t, float64(extra)/rounds, 1.3, "%d workers and one more", n)
	}
}

// What a worker refuses goes to the others, evenly as far as that can be; what
// all refuse goes to nobody; and the rest stays where it was.
func TestAssignRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.IntRange(1, 64).Draw(t, "partitions")
		all := workers("a", "b", "c")
		for w := range all {
			all[w].Refuses = rapid.SliceOfDistinct(rapid.IntRange(0, partitions-1), rapid.ID[int]).Draw(t, all[w].Key)
		}
		for p, w := range partition.Assign(partitions, all) {
			takes := func(w partition.Worker) bool { return !slices.Contains(w.Refuses, p) }
			switch {
			case w >= 0:
				require.True(t, takes(all[w]), "partition %d", p)
			default:
				require.False(t, slices.ContainsFunc(all, takes), "partition %d", p)
			}
		}
	})
	require.Equal(t, []int{1, 1, 1, 1}, partition.Assign(4, []partition.Worker{{Key: "old", Refuses: []int{0, 1, 2, 3}}, {Key: "new"}}))
}
