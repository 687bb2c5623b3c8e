package deadletter_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
)

func TestErase(t *testing.T) {
	store, conn := open(t)
	for n := range uint64(3) {
		require.NoError(t, store.Write(t.Context(), letter("shop", "ep1", "anna", n+1)))
		require.NoError(t, store.Write(t.Context(), letter("shop", "ep2", "anna", n+1)))
		require.NoError(t, store.Write(t.Context(), letter("shop", "ep1", "ben", n+1)))
	}
	asked := letter("shop", "pizza", "anna", 9)
	asked.Stage = chat.StageUser
	require.NoError(t, store.Write(t.Context(), asked))

	n, err := store.Erase(t.Context(), "shop", chat.KeyOf("shop", "anna"))
	require.NoError(t, err)
	require.EqualValues(t, 7, n, "of both stages and every destination")
	n, err = store.Erase(t.Context(), "shop", chat.KeyOf("shop", "anna"))
	require.NoError(t, err)
	require.Zero(t, n)
	left := pages(t, store, deadletter.Filter{}, 10)
	require.Len(t, left, 3)
	for _, l := range left {
		require.Equal(t, "ben", l.ConversationID)
	}
	conn.Close()
	_, err = store.Erase(t.Context(), "shop", chat.KeyOf("shop", "ben"))
	require.ErrorIs(t, err, broker.ErrUnavailable)
}
