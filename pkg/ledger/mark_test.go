package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/pkg/chat"
)

func ordinals() *rapid.Generator[chat.Ordinal] {
	return rapid.Custom(func(t *rapid.T) chat.Ordinal {
		small := rapid.Uint64Range(0, 4)
		return chat.Ordinal{
			Epoch: small.Draw(t, "epoch"), Counter: small.Draw(t, "counter"), InputAt: int64(small.Draw(t, "input")),
		}
	})
}

func TestAdvance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mark, next, other := ordinals().Draw(t, "mark"), ordinals().Draw(t, "next"), ordinals().Draw(t, "other")
		moved := Advance(mark, next)
		require.True(t, moved.Covers(next), "what was settled is settled")
		require.Equal(t, moved, Advance(moved, next), "once more changes nothing")
		if mark.Covers(next) {
			require.Equal(t, mark, moved)
		}
		forward := next.Epoch > mark.Epoch || next.Epoch == mark.Epoch && next.Counter >= mark.Counter
		if forward && mark.Covers(other) {
			require.True(t, moved.Covers(other), "a lane that moves forward forgets nothing")
		}
		if !forward && !mark.Covers(other) && !next.Covers(other) {
			require.False(t, moved.Covers(other), "a lost session's new messages are not taken for settled")
		}
	})
}

func TestMarkRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mark := chat.Ordinal{
			Epoch: rapid.Uint64().Draw(t, "epoch"), Counter: rapid.Uint64().Draw(t, "counter"),
			InputAt: rapid.Int64Min(0).Draw(t, "input"),
		}
		b, err := encodeMark(mark)
		require.NoError(t, err)
		got, err := decodeMark(string(b))
		require.NoError(t, err)
		require.Equal(t, mark, got)
	})
}

func FuzzDecodeMark(f *testing.F) {
	f.Add("")
	f.Add("00000000000000090000000000000001000000000000006f")
	f.Fuzz(func(t *testing.T, s string) {
		mark, err := decodeMark(s)
		if err != nil {
			require.True(t, isNoMark(err))
			return
		}
		b, err := encodeMark(mark)
		require.NoError(t, err)
		again, err := decodeMark(string(b))
		require.NoError(t, err)
		require.Equal(t, mark, again)
	})
}
