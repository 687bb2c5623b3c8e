package partition_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/topology"
)

// quick are options for tests: the shortest life that the server knows.
var quick = partition.Options{TTL: time.Second, Settle: 100 * time.Millisecond}

func TestWorkersJoinAndLeave(t *testing.T) {
	t.Parallel()
	s := newStage(t, 8, partition.Options{})
	a := s.join("a")
	t.Logf("the first worker took all after %s", s.untilSpread(a))
	b, c := s.join("b"), s.join("c")
	t.Logf("spread over three after %s", s.untilSpread(a, b, c))

	o, err := partition.ReadOwners(t.Context(), s.conn.JS, chat.StageUser, 8)
	require.NoError(t, err)
	require.Len(t, o.Members, 3)
	require.Equal(t, "a", o.Members[0].Instance)
	for _, m := range o.Members {
		require.Equal(t, len(s.loads()[m.Instance]), len(m.Partitions), m.Instance)
	}
	for p, held := range o.Partitions {
		require.Equal(t, s.lease(p).Epoch(), held.Epoch)
		require.Contains(t, s.loads()[held.Instance], p)
		require.NoError(t, s.lease(p).Verify(t.Context()))
	}

	before := time.Now()
	b.leave()
	t.Logf("spread over the rest after %s", s.untilSpread(a, c))
	b.await()
	require.NoError(t, b.err)
	t.Logf("the longest pause of a partition: %s", s.longestPause(before))
	require.Equal(t, 4, len(s.loads()["a"]))
	for _, w := range []*worker{a, b, c} {
		require.Zero(t, s.endings(w)[partition.ErrLapsed], "%s: everything was handed over", w.name)
	}

	a.leave()
	c.leave()
	a.await()
	c.await()
	o, err = partition.ReadOwners(t.Context(), s.conn.JS, chat.StageUser, 8)
	require.NoError(t, err)
	require.Empty(t, o.Members)
	for _, held := range o.Partitions {
		require.Empty(t, held.Instance)
		require.Zero(t, held.Vanished)
	}
}

func TestJoinsInQuickSuccessionAreSettled(t *testing.T) {
	t.Parallel()
	s := newStage(t, 8, partition.Options{Settle: time.Second})
	w := []*worker{s.prepare("a"), s.prepare("b"), s.prepare("c"), s.prepare("d")}
	for _, w := range w {
		w.start()
	}
	s.untilSpread(w...)
	for _, w := range w {
		require.Empty(t, s.endings(w), "nothing was taken to be handed over at once")
	}
}

func TestHandOverWaitsForTheDrain(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, quick)
	drain := make(chan struct{})
	a := s.join("a", func(w *worker) { w.drain = drain })
	s.untilSpread(a)
	b := s.join("b")
	// Longer than the TTL: a holder that drains stays the owner.
	deadline := s.lease(0).Deadline()
	require.Eventually(t, func() bool { return s.lease(0).Deadline().After(deadline.Add(2 * quick.TTL)) }, patience, 10*time.Millisecond)
	require.Len(t, s.loads()["a"], 2)
	close(drain)
	s.untilSpread(a, b)
	require.Equal(t, map[error]int{partition.ErrHandOver: 1}, s.endings(a))
}

func TestVanishedWorkersPartitionsAreTaken(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4, quick)
	a := s.join("a")
	s.untilSpread(a)
	poison := []partition.Work{{Seq: 42, Lane: "e.a"}}
	for range 2 {
		b := s.join("b")
		s.untilSpread(a, b)
		theirs := s.loads()["b"]
		require.NoError(t, s.lease(theirs[0]).NoteInFlight(t.Context(), poison))
		old := s.lease(theirs[0])
		b.crash()
		t.Logf("taken over after %s", s.untilLoads(map[*worker]int{a: 4}))
		require.Equal(t, map[error]int{partition.ErrLapsed: 2}, s.endings(b), "it stopped by itself")
		require.ErrorIs(t, old.Verify(t.Context()), partition.ErrLapsed)
		require.ErrorIs(t, old.NoteInFlight(t.Context(), nil), partition.ErrLapsed)
		require.False(t, time.Now().Before(old.Deadline()))
		b.leave()
		b.await()
		require.NoError(t, b.err)
	}
	// What b had twice is suspicious; what was noted is named.
	o, err := partition.ReadOwners(t.Context(), s.conn.JS, chat.StageUser, 4)
	require.NoError(t, err)
	careful := 0
	for p, held := range o.Partitions {
		l := s.lease(p)
		require.Equal(t, held.Vanished >= 2, l.Careful())
		suspects, times := l.Suspects()
		require.Len(t, suspects, held.Suspects)
		if !l.Careful() {
			continue
		}
		careful++
		if len(suspects) != 0 {
			require.Equal(t, poison, suspects)
			require.Equal(t, 2, times)
			require.NoError(t, l.NoteInFlight(t.Context(), []partition.Work{{Seq: 43}}))
			suspects, times = l.Suspects()
			require.Equal(t, poison, suspects, "its turn has not come")
			require.Equal(t, 2, times)
			require.NoError(t, l.NoteInFlight(t.Context(), poison))
			require.NoError(t, l.NoteInFlight(t.Context(), nil))
			require.NoError(t, l.Verify(t.Context()))
			suspects, times = l.Suspects()
			require.Empty(t, suspects)
			require.Zero(t, times)
		}
	}
	require.Equal(t, 2, careful)
}

func TestBrokerAwayForLong(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4, quick)
	a, b := s.join("a"), s.join("b")
	s.untilSpread(a, b)
	s.server.Stop()
	s.until("all holds have ended", func() bool { return len(s.owners()) == 0 })
	for _, w := range []*worker{a, b} {
		require.Equal(t, 2, s.endings(w)[partition.ErrLapsed], "%s stopped before its leases could be another's", w.name)
	}
	s.server.Start()
	t.Logf("all held again after %s", s.untilSpread(a, b))
	s.until("this connection is back too", func() bool { return s.conn.Ready() == nil })
	o, err := partition.ReadOwners(t.Context(), s.conn.JS, chat.StageUser, 4)
	require.NoError(t, err)
	require.Len(t, o.Members, 2)
}

func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4, partition.Options{TTL: 20 * time.Second, Heartbeat: 200 * time.Millisecond})
	a, b := s.join("a"), s.join("b")
	s.untilSpread(a, b)
	deadline := s.lease(0).Deadline()
	s.server.Stop()
	s.server.Start()
	require.Eventually(t, func() bool { return s.lease(0).Deadline().After(deadline) }, patience, 10*time.Millisecond, "renewed again")
	require.Empty(t, s.endings(a))
	require.Empty(t, s.endings(b))
	// The watches are lost with the old process of the broker: a newcomer is
	// seen all the same.
	c := s.join("c")
	t.Logf("a newcomer had its share after %s", s.untilSpread(a, b, c))
	require.Zero(t, s.endings(a)[partition.ErrLapsed]+s.endings(b)[partition.ErrLapsed])
}

func TestLeaseTakenByForce(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, quick)
	a := s.join("a")
	s.untilSpread(a)
	kv, err := s.conn.JS.KeyValue(t.Context(), topology.BucketLeases)
	require.NoError(t, err)
	held := s.lease(0)

	// A write of a's own whose confirmation was lost is its own still.
	require.NoError(t, held.NoteInFlight(t.Context(), []partition.Work{{Seq: 6}}))
	entry, err := kv.Get(t.Context(), topology.LeaseKey(chat.StageUser, 0))
	require.NoError(t, err)
	_, err = kv.Put(t.Context(), entry.Key(), entry.Value())
	require.NoError(t, err)
	require.NoError(t, held.Verify(t.Context()))
	_, err = kv.Put(t.Context(), entry.Key(), entry.Value())
	require.NoError(t, err)
	require.NoError(t, held.NoteInFlight(t.Context(), []partition.Work{{Seq: 7}}))
	require.Empty(t, s.endings(a))

	// A Sole takes what it wants; the holder stops. Nothing keeps a Sole's
	// leases alive, so they are taken back.
	_, err = kv.Put(t.Context(), entry.Key(), []byte("sole"))
	require.NoError(t, err)
	s.until("stopped, and taken back", func() bool { return len(s.holds[0]) == 2 && s.owners()[0] == a })
	require.Equal(t, map[error]int{partition.ErrLapsed: 1}, s.endings(a))
	require.ErrorIs(t, held.NoteInFlight(t.Context(), []partition.Work{{Seq: 8}}), partition.ErrLapsed)
}

func TestStrayLeaseIsReleased(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, quick)
	a, b := s.join("a"), s.join("b")
	s.untilSpread(a, b)
	p, q := s.loads()["a"][0], s.loads()["b"][0]
	kv, err := s.conn.JS.KeyValue(t.Context(), topology.BucketLeases)
	require.NoError(t, err)
	as, err := kv.Get(t.Context(), topology.LeaseKey(chat.StageUser, p))
	require.NoError(t, err)
	// As if a write of a's went through late: b's partition names a.
	_, err = kv.Put(t.Context(), topology.LeaseKey(chat.StageUser, q), as.Value())
	require.NoError(t, err)
	s.until("b has it back", func() bool { return len(s.holds[q]) == 2 && s.owners()[q] == b })
	require.Equal(t, map[error]int{partition.ErrLapsed: 1}, s.endings(b))
	require.Empty(t, s.endings(a))
}

func TestErrorOfHold(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, quick)
	fail := make(chan error)
	a := s.join("a", func(w *worker) { w.fail = fail })
	s.untilSpread(a)

	// Another's lease by then: no failure of this worker.
	fail <- errors.Join(errors.New("fenced"), partition.ErrLapsed)
	s.until("taken again", func() bool { return len(s.holds[0])+len(s.holds[1]) == 3 && len(s.owners()) == 2 })

	broken := errors.New("broken")
	fail <- broken
	a.await()
	require.ErrorIs(t, a.err, broken)
	require.Equal(t, map[error]int{nil: 2, partition.ErrHandOver: 1}, s.endings(a))

	b := s.join("b")
	s.untilSpread(b)
	o, err := partition.ReadOwners(t.Context(), s.conn.JS, chat.StageUser, 2)
	require.NoError(t, err)
	require.Len(t, o.Members, 1, "it had signed off")
}

func TestNewSharedRefuses(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, quick)
	_, err := partition.NewShared(t.Context(), s.conn.JS, chat.StageUser, 2, "a", partition.Options{TTL: time.Millisecond})
	require.ErrorContains(t, err, "whole seconds")
	require.NoError(t, s.conn.JS.DeleteKeyValue(t.Context(), topology.BucketMembers))
	_, err = partition.NewShared(t.Context(), s.conn.JS, chat.StageUser, 2, "a", quick)
	require.ErrorContains(t, err, topology.BucketMembers)
}

// What a worker refuses is another's, though that has its share, and never its
// own again; the rest stays its own.
func TestRefusedPartitionIsAnothers(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4, quick)
	old := s.join("old", func(w *worker) { w.refuses = []int{0, 2} })
	kept := func() bool {
		owners := s.owners()
		return len(owners) == 2 && owners[1] == old && owners[3] == old && len(s.holds) == 4
	}
	s.until("the old one to have what it takes", kept)
	next := s.join("next")
	s.until("the next one to have what is refused", func() bool {
		owners := s.owners()
		return len(owners) == 4 && owners[0] == next && owners[2] == next
	})
	next.leave()
	next.await()
	s.until("the old one to have what it takes", kept)
	require.Len(t, s.holds[0], 2)
	require.Len(t, s.holds[2], 2)
	old.leave()
	old.await()
	require.NoError(t, old.err)
	for _, p := range []int{0, 2} { // released, and not left behind
		o, err := partition.ReadOwners(t.Context(), s.conn.JS, chat.StageUser, 4)
		require.NoError(t, err)
		require.Zero(t, o.Partitions[p].Vanished)
	}
}
