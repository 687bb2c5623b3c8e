package ledger

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

// faultyStore is a map whose next Put fails, before or after it stored.
type faultyStore struct {
	mu     sync.Mutex
	values map[string][]byte
	before error
	after  error
	gets   int
}

func (s *faultyStore) Get(_ context.Context, key string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	v, ok := s.values[key]
	return v, ok, nil
}

func (s *faultyStore) Put(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.before != nil {
		return s.before
	}
	s.values[key] = value
	return s.after
}

func TestBucketAfterFailedPut(t *testing.T) {
	errPut := errors.New("no answer")
	for name, store := range map[string]*faultyStore{
		"not stored":        {values: map[string][]byte{}, before: errPut},
		"stored, not known": {values: map[string][]byte{}, after: errPut},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBucket(store)
			mark := chat.Ordinal{Epoch: 9, Counter: 2, InputAt: 5}
			require.ErrorIs(t, b.Settle(t.Context(), "ep.1", mark), errPut)
			before := maps.Clone(store.values)
			store.before, store.after = nil, nil

			_, ok, err := b.Load(t.Context(), "ep.1")
			require.NoError(t, err)
			require.Equal(t, len(before) == 1, ok, "what is said is what is stored")
			require.NoError(t, b.Settle(t.Context(), "ep.1", mark))
			got, ok, err := b.Load(t.Context(), "ep.1")
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, mark, got)
		})
	}
}

func TestBucketMemoryIsBounded(t *testing.T) {
	store := &faultyStore{values: map[string][]byte{}}
	b := newBucket(store, 10)
	for i := range 100 {
		require.NoError(t, b.Settle(t.Context(), "ep."+strconv.Itoa(i), chat.Ordinal{Epoch: 1, Counter: 5}))
		require.LessOrEqual(t, len(b.lanes), 10)
		require.Equal(t, len(b.lanes), b.recent.Len())
	}
	asked := store.gets
	require.NoError(t, b.Settle(t.Context(), "ep.99", chat.Ordinal{Epoch: 1, Counter: 6}))
	require.Equal(t, asked, store.gets, "a remembered lane is not read again")

	// A forgotten one is, so that its mark does not go back.
	require.NoError(t, b.Settle(t.Context(), "ep.0", chat.Ordinal{Epoch: 1, Counter: 4}))
	mark, ok, err := b.Load(t.Context(), "ep.0")
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 5, mark.Counter)
}

func TestBucketReplacesWhatIsNoMark(t *testing.T) {
	b := NewBucket(&faultyStore{values: map[string][]byte{"ep.1": []byte("nonsense")}})
	_, _, err := b.Load(t.Context(), "ep.1")
	require.ErrorContains(t, err, "is no mark")
	mark := chat.Ordinal{Epoch: 1, Counter: 1}
	require.NoError(t, b.Settle(t.Context(), "ep.1", mark))
	got, ok, err := b.Load(t.Context(), "ep.1")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, mark, got)
}
