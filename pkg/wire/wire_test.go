package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/wire"
)

func TestRoundTrip(t *testing.T) {
	t.Run("user message", func(t *testing.T) {
		roundTrip(t, userMessage(), wire.EncodeUserMessage, wire.DecodeUserMessage)
	})
	t.Run("bot message", func(t *testing.T) {
		roundTrip(t, botMessage(), wire.EncodeBotMessage, wire.DecodeBotMessage)
	})
	t.Run("dead letter", func(t *testing.T) {
		roundTrip(t, deadLetter(), wire.EncodeDeadLetter, wire.DecodeDeadLetter)
	})
	t.Run("lane state", func(t *testing.T) {
		roundTrip(t, laneState(), wire.EncodeLaneState, wire.DecodeLaneState)
	})
	t.Run("session", func(t *testing.T) {
		roundTrip(t, session(), wire.EncodeSession, wire.DecodeSession)
	})
	t.Run("turn", func(t *testing.T) {
		roundTrip(t, turn(), wire.EncodeTurn, func(b []byte) (*chat.Turn, error) {
			require.False(t, wire.IsDelivery(b))
			got, other, err := wire.DecodeJournalEntry(b)
			require.Nil(t, other)
			return got, err
		})
	})
	t.Run("delivery", func(t *testing.T) {
		roundTrip(t, delivery(), wire.EncodeDelivery, func(b []byte) (*chat.Delivery, error) {
			require.True(t, wire.IsDelivery(b))
			other, got, err := wire.DecodeJournalEntry(b)
			require.Nil(t, other)
			return got, err
		})
	})
}

func roundTrip[T any](t *testing.T, gen *rapid.Generator[T], encode func(*T) ([]byte, error), decode func([]byte) (*T, error)) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		want := gen.Draw(t, "value")
		b, err := encode(&want)
		require.NoError(t, err)
		got, err := decode(b)
		require.NoError(t, err)
		require.Equal(t, &want, got)
	})
}

// TestBounds pins what the package's documentation says of times and empty slices.
func TestBounds(t *testing.T) {
	at := time.Date(2026, 7, 28, 12, 0, 0, 1_999_999, time.FixedZone("CEST", 2*3600))
	m := chat.UserMessage{
		ID: "msg_1", ChannelID: "shop", ConversationID: "1", AcceptedAt: at,
		Input: chat.Input{Kind: chat.InputIntro, Body: json.RawMessage{}},
	}
	b, err := wire.EncodeUserMessage(&m)
	require.NoError(t, err)
	got, err := wire.DecodeUserMessage(b)
	require.NoError(t, err)
	require.Equal(t, at.UTC().Truncate(time.Millisecond), got.AcceptedAt)
	require.Nil(t, got.Input.Body)

	b, err = wire.EncodeLaneState(&chat.LaneState{HeadSeq: 7})
	require.NoError(t, err)
	state, err := wire.DecodeLaneState(b)
	require.NoError(t, err)
	require.Equal(t, &chat.LaneState{HeadSeq: 7}, state)
	require.True(t, state.Due.IsZero())
}

func TestRefused(t *testing.T) {
	input := chat.Input{Kind: chat.InputText}
	for name, encode := range map[string]func() ([]byte, error){
		"user message without id":           func() ([]byte, error) { return encodeUser("", "shop", "1", input) },
		"user message without channel":      func() ([]byte, error) { return encodeUser("m", "", "1", input) },
		"user message without conversation": func() ([]byte, error) { return encodeUser("m", "shop", "", input) },
		"unknown kind":                      func() ([]byte, error) { return encodeUser("m", "shop", "1", chat.Input{Kind: "dance"}) },
		"no kind":                           func() ([]byte, error) { return encodeUser("m", "shop", "1", chat.Input{}) },
		"not UTF-8":                         func() ([]byte, error) { return encodeUser("m", "shop", "\xff", input) },
		"bot message without id": func() ([]byte, error) {
			return wire.EncodeBotMessage(&chat.BotMessage{ChannelID: "shop", ConversationID: "1"})
		},
		"unknown stage": func() ([]byte, error) {
			return wire.EncodeDeadLetter(&chat.DeadLetter{MessageID: "m", Stage: "attic"})
		},
		"dead letter without id": func() ([]byte, error) {
			return wire.EncodeDeadLetter(&chat.DeadLetter{Stage: chat.StageBot})
		},
		"session with a nameless output": func() ([]byte, error) {
			return wire.EncodeSession(&chat.Session{LastOutput: make([]chat.BotMessage, 1)})
		},
		"turn without input": func() ([]byte, error) { return wire.EncodeTurn(&chat.Turn{}) },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := encode()
			require.Error(t, err)
		})
	}
}

func encodeUser(id, channelID, conversationID string, input chat.Input) ([]byte, error) {
	return wire.EncodeUserMessage(&chat.UserMessage{ID: id, ChannelID: channelID, ConversationID: conversationID, Input: input})
}

func TestUndecodable(t *testing.T) {
	good, err := encodeUser("msg_1", "shop", "1", chat.Input{Kind: chat.InputText, Body: json.RawMessage(`{}`)})
	require.NoError(t, err)
	for name, b := range map[string][]byte{
		"nothing":      nil,
		"not protobuf": []byte(`{"text":"hello"}`),
		"cut short":    good[:len(good)-1],
		// Field 6 is the kind; the last one in the bytes counts.
		"unknown kind": append(append([]byte{}, good...), 6<<3, 99),
		"no kind":      append(append([]byte{}, good...), 6<<3, 0),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.DecodeUserMessage(b)
			require.ErrorIs(t, err, wire.ErrUndecodable)
		})
	}
	_, err = wire.DecodeBotMessage(nil)
	require.ErrorIs(t, err, wire.ErrUndecodable)
	_, err = wire.DecodeDeadLetter(nil)
	require.ErrorIs(t, err, wire.ErrUndecodable)
	_, _, err = wire.DecodeJournalEntry(nil)
	require.ErrorIs(t, err, wire.ErrUndecodable)
	_, err = wire.DecodeSession([]byte{0xff})
	require.ErrorIs(t, err, wire.ErrUndecodable)
	_, err = wire.DecodeLaneState([]byte{0xff})
	require.ErrorIs(t, err, wire.ErrUndecodable)
}

// FuzzDecode: whatever decodes can be encoded, and then decodes to the same.
func FuzzDecode(f *testing.F) {
	seed, err := encodeUser("msg_1", "shop", "1", chat.Input{Kind: chat.InputText, Body: json.RawMessage(`{}`)})
	require.NoError(f, err)
	f.Add(seed)
	f.Add([]byte(`{"text":"hello"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, wire.EncodeUserMessage, wire.DecodeUserMessage)
		again(t, b, wire.EncodeBotMessage, wire.DecodeBotMessage)
		again(t, b, wire.EncodeDeadLetter, wire.DecodeDeadLetter)
		again(t, b, wire.EncodeLaneState, wire.DecodeLaneState)
		again(t, b, wire.EncodeSession, wire.DecodeSession)
	})
}

func again[T any](t *testing.T, b []byte, encode func(*T) ([]byte, error), decode func([]byte) (*T, error)) {
	t.Helper()
	first, err := decode(b)
	if err != nil {
		require.ErrorIs(t, err, wire.ErrUndecodable)
		return
	}
	b, err = encode(first)
	require.NoError(t, err)
	second, err := decode(b)
	require.NoError(t, err)
	require.Equal(t, first, second)
}
