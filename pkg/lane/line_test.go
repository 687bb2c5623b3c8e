package lane

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func waiter(group string) *lane { return &lane{id: ID{Group: group}, shard: &shard{}} }

func popAll(w *line) string {
	out := ""
	for w.n > 0 {
		out += w.pop().id.Group
	}
	return out
}

// Groups take turns, whoever came first and with how many.
func TestLine(t *testing.T) {
	for arrivals, want := range map[string]string{
		"":          "",
		"a":         "a",
		"aaa":       "aaa",
		"ab":        "ab",
		"aaaab":     "abaaa",
		"aaaabbb":   "abababa",
		"aaabbc":    "abcaba",
		"caaabb":    "cababa",
		"aaaabcdbc": "abcdabcaa",
	} {
		t.Run(arrivals, func(t *testing.T) {
			var w line
			for _, group := range arrivals {
				w.push(waiter(string(group)))
			}
			require.Equal(t, len(arrivals), w.n)
			require.Equal(t, want, popAll(&w))
			require.Empty(t, w.of)
			w.push(waiter("z"))
			require.Equal(t, "z", popAll(&w), "it can be used again")
		})
	}
}

// Under any arrivals a lane waits for at most one lane of each other group for
// each lane of its own that stands before it, and its group keeps its order.
func TestLineIsFair(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var w line
	arrived, before := map[*lane]int{}, map[*lane]int{} // when; behind how many of its own
	own := map[string][]*lane{}
	clock := 0
	for range 20_000 {
		if group := fmt.Sprint(r.IntN(1 + r.IntN(6))); r.IntN(2) == 0 || w.n == 0 {
			l := waiter(group)
			arrived[l], before[l] = clock, len(own[group])
			own[group] = append(own[group], l)
			w.push(l)
			continue
		}
		l := w.pop()
		clock++
		group := l.id.Group
		require.Same(t, own[group][0], l, "its group's order")
		own[group] = own[group][1:]
		require.LessOrEqual(t, clock-arrived[l], (before[l]+1)*6, "of six groups")
		require.Equal(t, len(own[group]) > 0, w.has(group))
	}
}

// BenchmarkLine is one lane in and one out, where many wait.
func BenchmarkLine(b *testing.B) {
	for _, groups := range []int{1, 2, 1000} {
		b.Run(fmt.Sprintf("%d groups", groups), func(b *testing.B) {
			var w line
			lanes := make([]*lane, 10_000)
			for i := range lanes {
				lanes[i] = waiter(fmt.Sprint(i % groups))
				w.push(lanes[i])
			}
			b.ReportAllocs()
			for b.Loop() {
				w.push(w.pop())
			}
		})
	}
}
