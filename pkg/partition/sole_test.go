package partition_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
)

const partitions = 4

func newSole(t *testing.T, conn *broker.Conn, stage chat.Stage, instance string) *partition.Sole {
	t.Helper()
	o, err := partition.NewSole(t.Context(), conn.JS, stage, partitions, instance)
	require.NoError(t, err)
	return o
}

// holder keeps what it is given until the lease's context ends.
type holder struct {
	mu     sync.Mutex
	leases map[int]partition.Lease
	causes []error
	all    chan struct{} // closed when it has every partition
}

func newHolder() *holder {
	return &holder{leases: map[int]partition.Lease{}, all: make(chan struct{})}
}

func (h *holder) hold(ctx context.Context, l partition.Lease) error {
	h.mu.Lock()
	h.leases[l.Partition()] = l
	if len(h.leases) == partitions {
		close(h.all)
	}
	h.mu.Unlock()
	<-ctx.Done()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.causes = append(h.causes, context.Cause(ctx))
	return nil
}

// own runs an owner until the returned function is called; h has every
// partition then.
func own(t *testing.T, o *partition.Sole, h *holder) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx, h.hold) }()
	select {
	case <-h.all:
	case err := <-ended:
		require.Fail(t, "the owner ended by itself", "%v", err)
	}
	return func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

func TestSoleTakesEveryPartition(t *testing.T) {
	conn := brokertest.New(t)
	h := newHolder()
	stop := own(t, newSole(t, conn, chat.StageUser, "one"), h)
	epochs := map[uint64]bool{}
	for p, l := range h.leases {
		require.Equal(t, p, l.Partition())
		require.Equal(t, chat.StageUser, l.Stage())
		require.NotZero(t, l.Epoch())
		epochs[l.Epoch()] = true
		require.True(t, l.Deadline().After(time.Now().Add(time.Hour)))
		require.NoError(t, l.Verify(t.Context()))
	}
	require.Len(t, epochs, partitions)
	stop()
	require.Len(t, h.causes, partitions)
	for _, cause := range h.causes {
		require.ErrorIs(t, cause, partition.ErrHandOver)
	}
}

func TestTakeOver(t *testing.T) {
	conn := brokertest.New(t)
	first, other, second := newHolder(), newHolder(), newHolder()
	defer own(t, newSole(t, conn, chat.StageUser, "one"), first)()
	defer own(t, newSole(t, conn, chat.StageBot, "one"), other)()
	defer own(t, newSole(t, conn, chat.StageUser, "two"), second)()
	for p := range partitions {
		require.Greater(t, second.leases[p].Epoch(), first.leases[p].Epoch())
		err := first.leases[p].Verify(t.Context())
		require.ErrorIs(t, err, partition.ErrLapsed)
		require.ErrorContains(t, err, `is with "two"`)
		require.NoError(t, second.leases[p].Verify(t.Context()))
		require.NoError(t, other.leases[p].Verify(t.Context()), "the other stage's are its own")
	}
}

func TestErrorOfHoldEndsRun(t *testing.T) {
	conn := brokertest.New(t)
	broken := errors.New("broken")
	var mu sync.Mutex
	handedOver := 0
	err := newSole(t, conn, chat.StageUser, "one").Run(t.Context(), func(ctx context.Context, l partition.Lease) error {
		if l.Partition() == 1 {
			return broken
		}
		<-ctx.Done()
		mu.Lock()
		defer mu.Unlock()
		if errors.Is(context.Cause(ctx), partition.ErrHandOver) {
			handedOver++
		}
		return nil
	})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "stage user, partition 1")
	require.LessOrEqual(t, handedOver, partitions-1)
}

func TestSoleWithoutABroker(t *testing.T) {
	conn, stop := brokertest.Start(t, t.TempDir())
	_, err := partition.NewSole(t.Context(), conn.JS, chat.StageUser, partitions, "one")
	require.ErrorContains(t, err, "bucket LEASES", "nothing is laid out yet")
	stop()

	conn = brokertest.New(t)
	o := newSole(t, conn, chat.StageUser, "one")
	h := newHolder()
	end := own(t, o, h)
	conn.Close()
	err = h.leases[0].Verify(t.Context())
	require.Error(t, err)
	require.NotErrorIs(t, err, partition.ErrLapsed, "not to be able to ask is not to know")
	end()
	require.ErrorContains(t, o.Run(t.Context(), h.hold), "taking partition")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, o.Run(ctx, h.hold), "an end before the first lease is an end")
}

func TestSoleRemembersCrashes(t *testing.T) {
	conn := brokertest.New(t)
	o := newSole(t, conn, chat.StageUser, "one")
	started := func() *holder {
		h := newHolder()
		own(t, o, h) // never ended: to the next it looks like a crash
		return h
	}
	h := started()
	require.False(t, h.leases[0].Careful(), "nobody was there before")
	h = started()
	require.False(t, h.leases[0].Careful())
	works := func(seqs ...uint64) (out []partition.Work) {
		for _, seq := range seqs {
			out = append(out, partition.Work{Seq: seq, Lane: "e.a"})
		}
		return out
	}
	for i := range 3 {
		h = started()
		require.True(t, h.leases[0].Careful())
		suspects, times := h.leases[2].Suspects()
		require.Equal(t, i, times)
		require.NoError(t, h.leases[2].NoteInFlight(t.Context(), works(40)), "another comes first")
		require.NoError(t, h.leases[2].NoteInFlight(t.Context(), works(41, 50+uint64(i))))
		if i > 1 {
			require.Equal(t, works(41), suspects, "what was in flight each time")
		}
	}

	h = newHolder()
	stop := own(t, o, h)
	_, times := h.leases[2].Suspects()
	require.Equal(t, 3, times)
	require.NoError(t, h.leases[2].NoteInFlight(t.Context(), works(41)))
	require.NoError(t, h.leases[2].NoteInFlight(t.Context(), nil))
	suspects, times := h.leases[2].Suspects()
	require.Empty(t, suspects, "survived")
	require.Zero(t, times)
	stop()
	owners, err := partition.ReadOwners(t.Context(), conn.JS, chat.StageUser, partitions)
	require.NoError(t, err)
	require.Empty(t, owners.Partitions[2].Instance, "released")
	vanished := owners.Partitions[2].Vanished
	h = newHolder()
	defer own(t, o, h)()
	owners, err = partition.ReadOwners(t.Context(), conn.JS, chat.StageUser, partitions)
	require.NoError(t, err)
	require.Equal(t, vanished, owners.Partitions[2].Vanished, "an owner that released has not vanished")
	require.True(t, owners.Partitions[2].Sole)
	require.NotEmpty(t, owners.Partitions[2].Instance)
	owners.FreeSolesBefore(owners.Partitions[2].Since)
	require.NotEmpty(t, owners.Partitions[2].Instance, "taken since then")
	owners.FreeSolesBefore(time.Now().Add(time.Minute))
	require.Empty(t, owners.Partitions[2].Instance)
}
