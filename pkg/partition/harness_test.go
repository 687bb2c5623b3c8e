package partition_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
)

// patience bounds every wait; no test is to come near it.
const patience = 60 * time.Second

// stage is a stage with its workers, and the history of who held what.
type stage struct {
	t          *testing.T
	partitions int
	options    partition.Options
	server     *brokertest.Server
	conn       *broker.Conn

	mu      sync.Mutex
	changed chan struct{}
	holds   map[int][]*holding // by partition, in the order of their beginning
}

// holding is one partition's time with one worker.
type holding struct {
	worker *worker
	lease  partition.Lease
	epoch  uint64
	begun  time.Time

	ended   bool
	stopped time.Time
	cause   error // why its context ended
}

func newStage(t *testing.T, partitions int, o partition.Options) *stage {
	t.Helper()
	s := &stage{t: t, partitions: partitions, options: o, changed: make(chan struct{}), holds: map[int][]*holding{}}
	s.server = brokertest.NewServer(t)
	s.conn = s.server.Connect("observer")
	return s
}

// worker is a Shared with a connection of its own.
type worker struct {
	name  string
	stage *stage
	conn  *broker.Conn
	owner *partition.Shared
	leave context.CancelFunc
	done  chan struct{}
	err   error // of Run, once done
	// drain, if set, is waited for by a hold that is handed over.
	drain chan struct{}
	// refuses are the partitions that it refuses.
	refuses []int
	// fail, if set, is how holds end.
	fail chan error
}

func (s *stage) prepare(name string, with ...func(*worker)) *worker {
	s.t.Helper()
	w := &worker{name: name, stage: s, conn: s.server.Connect(name), done: make(chan struct{})}
	for _, set := range with {
		set(w)
	}
	var err error
	w.owner, err = partition.NewShared(s.t.Context(), w.conn.JS, chat.StageUser, s.partitions, name, s.options)
	require.NoError(s.t, err)
	return w
}

func (s *stage) join(name string, with ...func(*worker)) *worker {
	s.t.Helper()
	w := s.prepare(name, with...)
	w.start()
	return w
}

func (w *worker) start() {
	ctx, leave := context.WithCancel(context.WithoutCancel(w.stage.t.Context()))
	w.leave = leave
	go func() {
		defer close(w.done)
		w.err = w.owner.Run(ctx, w.hold)
	}()
	w.stage.t.Cleanup(func() {
		leave()
		w.await()
	})
}

// await returns when the worker's Run has.
func (w *worker) await() {
	w.stage.t.Helper()
	select {
	case <-w.done:
	case <-time.After(patience):
		require.Fail(w.stage.t, "the worker did not end", w.name)
	}
}

// crash makes the worker unable to reach the broker, ever.
func (w *worker) crash() { w.conn.Close() }

func (w *worker) hold(ctx context.Context, l partition.Lease) error {
	h := w.stage.begin(w, l)
	defer func() { w.stage.end(h, context.Cause(ctx)) }()
	if slices.Contains(w.refuses, l.Partition()) {
		return fmt.Errorf("not for this one: %w", partition.ErrRefused)
	}
	select {
	case err := <-w.fail:
		return err
	case <-ctx.Done():
	}
	if w.drain != nil && errors.Is(context.Cause(ctx), partition.ErrHandOver) {
		<-w.drain
	}
	return nil
}

// begin asserts what must always be so: epochs rise, and there is one owner at
// a time, one whose deadline has passed not counting.
func (s *stage) begin(w *worker, l partition.Lease) *holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, other := range s.holds[l.Partition()] {
		if l.Epoch() <= other.epoch {
			s.t.Errorf("partition %d: epoch %d of %s after %d of %s", l.Partition(), l.Epoch(), w.name, other.epoch, other.worker.name)
		}
		if !other.ended && now.Before(other.lease.Deadline()) {
			s.t.Errorf("partition %d: %s began while %s held it", l.Partition(), w.name, other.worker.name)
		}
	}
	h := &holding{worker: w, lease: l, epoch: l.Epoch(), begun: now}
	s.holds[l.Partition()] = append(s.holds[l.Partition()], h)
	s.tell()
	return h
}

func (s *stage) end(h *holding, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.ended, h.cause, h.stopped = true, cause, time.Now()
	s.tell()
}

func (s *stage) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// until waits until ok holds of the history.
func (s *stage) until(what string, ok func() bool) time.Duration {
	s.t.Helper()
	started := time.Now()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		s.mu.Lock()
		good, changed := ok(), s.changed
		s.mu.Unlock()
		if good {
			return time.Since(started)
		}
		select {
		case <-changed:
		case <-late.C:
			require.Fail(s.t, "waited in vain", "%s: %v", what, s.loads())
		}
	}
}

// owners are the workers by partition.
func (s *stage) owners() map[int]*worker {
	out := map[int]*worker{}
	for p, all := range s.holds {
		if h := all[len(all)-1]; !h.ended {
			out[p] = h.worker
		}
	}
	return out
}

// untilLoads waits until all partitions are held, so many by each of these.
func (s *stage) untilLoads(want map[*worker]int) time.Duration {
	s.t.Helper()
	return s.until("loads", func() bool {
		got := map[*worker]int{}
		for _, w := range s.owners() {
			got[w]++
		}
		return maps.Equal(got, want)
	})
}

// untilSpread waits until all partitions are held, evenly by these.
func (s *stage) untilSpread(workers ...*worker) time.Duration {
	s.t.Helper()
	return s.until("an even spread", func() bool {
		got := map[*worker]int{}
		for _, w := range workers {
			got[w] = 0
		}
		owners := s.owners()
		for _, w := range owners {
			got[w]++
		}
		l := slices.Sorted(maps.Values(got))
		return len(owners) == s.partitions && len(got) == len(workers) && l[len(l)-1]-l[0] <= 1
	})
}

func (s *stage) loads() map[string][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]int{}
	owners := s.owners()
	for _, p := range slices.Sorted(maps.Keys(owners)) {
		out[owners[p].name] = append(out[owners[p].name], p)
	}
	return out
}

// endings counts how the holds of a worker have ended, by cause.
func (s *stage) endings(w *worker) map[error]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[error]int{}
	for _, all := range s.holds {
		for _, h := range all {
			if h.worker == w && h.ended {
				out[h.cause]++
			}
		}
	}
	return out
}

// longestPause is the longest time that a partition was without an owner before
// a hold that began after since.
func (s *stage) longestPause(since time.Time) (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range s.holds {
		for i := 1; i < len(all); i++ {
			if all[i].begun.After(since) {
				longest = max(longest, all[i].begun.Sub(all[i-1].stopped))
			}
		}
	}
	return longest
}

// lease returns the current one of a partition.
func (s *stage) lease(p int) partition.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.holds[p]
	return all[len(all)-1].lease
}
