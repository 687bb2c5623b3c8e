package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/wire"
)

var (
	benchAt   = time.UnixMilli(1785240000123).UTC()
	benchKey  = chat.KeyOf("webshop", "user-4711")
	benchUser = chat.UserMessage{
		ID: chat.NewMessageID(benchAt, benchKey, 42), ChannelID: "webshop", ConversationID: "user-4711",
		AcceptedAt: benchAt, ConfigRevision: 12,
		Input:       chat.Input{Kind: chat.InputText, Body: json.RawMessage(`{"text":"I would like a pizza, please"}`)},
		SessionData: json.RawMessage(`{"cart":3}`), Locale: "en-GB",
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	benchBot = chat.BotMessage{
		ID: chat.BotMessageID(benchAt, benchKey, benchUser.ID, 0), ChannelID: "webshop", ConversationID: "user-4711",
		BotID: "pizza", Ordinal: chat.Ordinal{Epoch: 1785240000000, Counter: 8, InputAt: 1785240000123},
		InputID: benchUser.ID, CreatedAt: benchAt, ConfigRevision: 12, Event: chat.EventMessage,
		Message:     json.RawMessage(`{"text":"Which one?","quick_replies":[{"content_type":"text","title":"Margherita"}]}`),
		NLP:         json.RawMessage(`{"intent":{"name":"order","score":0.98}}`),
		Traceparent: benchUser.Traceparent,
	}
)

func BenchmarkUserMessage(b *testing.B) {
	bench(b, &benchUser, wire.EncodeUserMessage, wire.DecodeUserMessage)
}

func BenchmarkBotMessage(b *testing.B) {
	bench(b, &benchBot, wire.EncodeBotMessage, wire.DecodeBotMessage)
}

func BenchmarkSession(b *testing.B) {
	bench(b, &chat.Session{
		ChannelID: "webshop", ConversationID: "user-4711", Epoch: 1785240000000, Counter: 8, LastInputSeq: 4711,
		LastInputAt: 1785240000123, LastInputID: benchUser.ID, LastOutput: []chat.BotMessage{benchBot}, BotID: "pizza",
		Variables: json.RawMessage(`{"cart":3}`), Locale: "en-GB",
	}, wire.EncodeSession, wire.DecodeSession)
}

func BenchmarkTurn(b *testing.B) {
	bench(b, &chat.Turn{
		At: benchAt, Input: benchUser, Output: []chat.BotMessage{benchBot}, BotID: "pizza", Duration: time.Millisecond,
		Outcome: chat.OutcomeProcessed,
	}, wire.EncodeTurn, func(data []byte) (*chat.Turn, error) {
		t, _, err := wire.DecodeJournalEntry(data)
		return t, err
	})
}

func BenchmarkDelivery(b *testing.B) {
	bench(b, &chat.Delivery{
		At: benchAt, ChannelID: "webshop", ConversationID: "user-4711", MessageID: benchBot.ID, EndpointID: "ep-shop",
		Ordinal: benchBot.Ordinal, AttemptNumber: 1, Outcome: chat.OutcomeDelivered,
		Attempt: &chat.Attempt{At: benchAt, Duration: time.Millisecond, Status: 200},
	}, wire.EncodeDelivery, func(data []byte) (*chat.Delivery, error) {
		_, d, err := wire.DecodeJournalEntry(data)
		return d, err
	})
}

func bench[T any](b *testing.B, v *T, encode func(*T) ([]byte, error), decode func([]byte) (*T, error)) {
	b.Helper()
	data, err := encode(v)
	require.NoError(b, err)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := encode(v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
