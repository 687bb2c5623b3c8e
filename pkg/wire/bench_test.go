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
