package botworker

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/bot/echo"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/wire"
)

// sink takes what is stored at once: it encodes sessions as the store does.
type sink struct{ revision uint64 }

func (s *sink) Load(context.Context, chat.ConversationKey) (*chat.Session, uint64, error) {
	return nil, 0, nil
}

func (s *sink) Save(_ context.Context, _ chat.ConversationKey, rec *chat.Session, _ uint64) (uint64, error) {
	_, err := wire.EncodeSession(rec)
	s.revision++
	return s.revision, err
}

func (s *sink) Publish(context.Context, broker.Message) (uint64, error) { return 1, nil }

func (*sink) Flush(context.Context) error { return nil }
func (s *sink) Turn(*chat.Turn)           {}

// BenchmarkTurn is one message through the bot stage, from its bytes to the
// bot's published answer, with the echo bot; what is stored is stored at once.
func BenchmarkTurn(b *testing.B) {
	conn := brokertest.New(b)
	sealer, err := registry.NewSealer(make([]byte, registry.KeySize))
	require.NoError(b, err)
	reg, err := registry.Open(b.Context(), conn.JS, registry.Options{Sealer: sealer, OnlyWriter: true})
	require.NoError(b, err)
	_, _, err = reg.PutBot(b.Context(), chat.Bot{ID: botID, Kind: registry.BotEcho}, registry.Absent)
	require.NoError(b, err)
	_, err = reg.PutChannel(b.Context(), chat.Channel{ID: channel, BotID: botID}, registry.Absent)
	require.NoError(b, err)
	for name, sessionData := range map[string]string{"plain": "", "variables": `{"cart":[1,2,3],"vip":true}`} {
		b.Run(name, func(b *testing.B) {
			s := &sink{}
			h := newHandler(Options{
				Partitions: brokertest.Layout.Partitions, Timeout: time.Minute,
				Sessions: s, Publisher: s, Directory: reg, Journal: s,
				NewBot: func(*chat.Bot, bot.Bot) (bot.Bot, error) { return echo.New(), nil }, Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
			})
			at := time.UnixMilli(1_700_000_000_000)
			var messages [100]lane.Message
			for i := range messages {
				conversation := fmt.Sprintf("user-%d", i)
				data, err := wire.EncodeUserMessage(&chat.UserMessage{
					ID:        chat.NewMessageID(at, chat.KeyOf(channel, conversation), uint64(i)),
					ChannelID: channel, ConversationID: conversation, AcceptedAt: at,
					Input:       chat.Input{Kind: chat.InputText, Body: json.RawMessage(`{"text":"A large pizza with mushrooms, please"}`)},
					SessionData: json.RawMessage(sessionData),
					Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
				})
				require.NoError(b, err)
				messages[i] = lane.Message{Time: at, Data: data, Replay: &lane.Replay{ID: "bench"}} // a replay: its id may come again
			}
			seq := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				seq++
				m := messages[seq%uint64(len(messages))]
				m.Seq = seq
				targets, err := h.Route(b.Context(), &m)
				if err != nil {
					b.Fatal(err)
				}
				task := lane.Task{Target: targets[0], Message: &m, Destination: h.Destination(targets[0].Lane.Group), Number: 1}
				if verdict := h.Handle(b.Context(), &task).String(); verdict != "done" {
					b.Fatal(verdict)
				}
			}
			b.StopTimer()
			require.Equal(b, s.revision, seq, "every message was a turn")
		})
	}
}
