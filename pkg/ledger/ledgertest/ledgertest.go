// Package ledgertest is the suite that every ledger.Ledger passes.
package ledgertest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/ledger"
)

// Run runs the suite. Each call of open opens the same marks anew, as a process
// does that starts; what it opens is closed by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) ledger.Ledger) {
	t.Helper()
	t.Run("none", func(t *testing.T) {
		l := open(t)
		require.NoError(t, l.Ping(t.Context()))
		requireNone(t, l, lane(t, 0))
	})
	t.Run("settle and load", func(t *testing.T) {
		l := open(t)
		settle(t, l, lane(t, 0), at(9, 1, 100))
		settle(t, l, lane(t, 1), at(9, 7, 100))
		requireMark(t, l, lane(t, 0), at(9, 1, 100))
		requireMark(t, l, lane(t, 1), at(9, 7, 100))
		requireNone(t, l, lane(t, 2))
	})
	t.Run("rules", func(t *testing.T) { rules(t, open(t)) })
	t.Run("like Advance", func(t *testing.T) { likeAdvance(t, open(t)) })
	t.Run("kept over a restart", func(t *testing.T) { kept(t, open) })
	t.Run("one lane, many callers", func(t *testing.T) { oneLane(t, open(t)) })
	t.Run("many lanes", func(t *testing.T) { manyLanes(t, open) })
	t.Run("before 1970", func(t *testing.T) {
		require.Error(t, open(t).Settle(t.Context(), lane(t, 0), at(1, 1, -1)))
	})
}

func rules(t *testing.T, l ledger.Ledger) {
	t.Helper()
	for i, c := range []struct {
		name             string
		mark, next, want chat.Ordinal
	}{
		{"forward", at(9, 1, 100), at(9, 2, 200), at(9, 2, 200)},
		{"forward in one turn", at(9, 1, 100), at(9, 2, 100), at(9, 2, 100)},
		{"the same", at(9, 1, 100), at(9, 1, 100), at(9, 1, 100)},
		{"not back", at(9, 5, 500), at(9, 4, 400), at(9, 5, 500)},
		{"not back in one turn", at(9, 5, 500), at(9, 4, 500), at(9, 5, 500)},
		{"new epoch, counter begins again", at(9, 5, 500), at(10, 1, 600), at(10, 1, 600)},
		{"old epoch", at(10, 1, 600), at(9, 5, 500), at(10, 1, 600)},
		{"earlier input, later place", at(9, 5, 500), at(9, 6, 400), at(9, 6, 500)},
		{"earlier input, new epoch", at(9, 5, 500), at(10, 1, 400), at(10, 1, 500)},
		{"later input, lower epoch: a lost session", at(9, 5, 500), at(8, 1, 600), at(8, 1, 600)},
		{"later input, lower counter", at(9, 5, 500), at(9, 2, 600), at(9, 2, 600)},
		{"64 bits", at(1<<63, 1<<63, 1<<62), at(1<<63, 1<<63+1, 1<<62), at(1<<63, 1<<63+1, 1<<62)},
		{"64 bits, not back", at(1<<63, 1<<63+1, 1<<62), at(1<<63, 1<<63, 1<<62), at(1<<63, 1<<63+1, 1<<62)},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := lane(t, i)
			settle(t, l, name, c.mark)
			settle(t, l, name, c.next)
			requireMark(t, l, name, c.want)
			require.True(t, c.want.Covers(c.next))
		})
	}
}

// likeAdvance: any sequence of settles leads to the mark that Advance gives.
func likeAdvance(t *testing.T, l ledger.Ledger) {
	t.Helper()
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		name := lane(t, n)
		small := rapid.Uint64Range(0, 3)
		var want chat.Ordinal
		for i := range rapid.IntRange(1, 6).Draw(r, "settles") {
			next := at(small.Draw(r, "epoch"), small.Draw(r, "counter"), int64(small.Draw(r, "input")))
			if i == 0 {
				want = next
			} else {
				want = ledger.Advance(want, next)
			}
			require.NoError(r, l.Settle(t.Context(), name, next))
		}
		mark, ok, err := l.Load(t.Context(), name)
		require.NoError(r, err)
		require.True(r, ok)
		require.Equal(r, want, mark)
	})
}

func kept(t *testing.T, open func(*testing.T) ledger.Ledger) {
	t.Helper()
	name := lane(t, 0)
	settle(t, open(t), name, at(9, 5, 500))
	requireMark(t, open(t), name, at(9, 5, 500))

	// A Settle that is the first thing to happen to a lane moves nothing back.
	l := open(t)
	settle(t, l, name, at(9, 4, 400))
	requireMark(t, l, name, at(9, 5, 500))
}

func oneLane(t *testing.T, l ledger.Ledger) {
	t.Helper()
	const callers, each = 8, 25
	name := lane(t, 0)
	var group sync.WaitGroup
	errs := make(chan error, callers*each)
	for c := range callers {
		group.Go(func() {
			for i := range each {
				n := uint64(i*callers + c + 1)
				want := at(9, n, int64(n))
				if err := l.Settle(t.Context(), name, want); err != nil {
					errs <- err
				}
				if mark, _, err := l.Load(t.Context(), name); err != nil || !mark.Covers(want) {
					errs <- fmt.Errorf("settled %v, then read %v: %w", want, mark, err)
				}
			}
		})
	}
	group.Wait()
	require.Empty(t, drain(errs))
	requireMark(t, l, name, at(9, callers*each, callers*each))
}

func manyLanes(t *testing.T, open func(*testing.T) ledger.Ledger) {
	t.Helper()
	const lanes, settles = 300, 5
	l := open(t)
	errs := make(chan error, lanes*settles)
	var group sync.WaitGroup
	for n := range lanes {
		group.Go(func() {
			for i := range uint64(settles) {
				if err := l.Settle(t.Context(), lane(t, n), at(uint64(n), i+1, int64(i))); err != nil {
					errs <- err
				}
			}
		})
	}
	group.Wait()
	require.Empty(t, drain(errs))
	l = open(t)
	for n := range lanes {
		requireMark(t, l, lane(t, n), at(uint64(n), settles, settles-1))
	}
}

func settle(t *testing.T, l ledger.Ledger, lane string, mark chat.Ordinal) {
	t.Helper()
	require.NoError(t, l.Settle(t.Context(), lane, mark))
}

func requireMark(t *testing.T, l ledger.Ledger, lane string, want chat.Ordinal) {
	t.Helper()
	mark, ok, err := l.Load(t.Context(), lane)
	require.NoError(t, err)
	require.True(t, ok, "there is no mark")
	require.Equal(t, want, mark)
}

func requireNone(t *testing.T, l ledger.Ledger, lane string) {
	t.Helper()
	mark, ok, err := l.Load(t.Context(), lane)
	require.NoError(t, err)
	require.False(t, ok)
	require.Zero(t, mark)
}

func at(epoch, counter uint64, inputAt int64) chat.Ordinal {
	return chat.Ordinal{Epoch: epoch, Counter: counter, InputAt: inputAt}
}

// lane is a lane's name as the delivery stage makes it, one of a test's own.
func lane(t *testing.T, n int) string {
	t.Helper()
	return "ep_shop-1." + chat.KeyOf(t.Name(), fmt.Sprint(n)).String()
}

func drain(errs chan error) []error {
	close(errs)
	var list []error
	for err := range errs {
		list = append(list, err)
	}
	return list
}
