package upgrade

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// A worker that meets a message of a later version than it knows neither gives it
// up nor goes on behind it: it leaves the partition, and says so where it is
// asked whether it is ready. The other partitions go on.
func TestNewerMessageIsLeft(t *testing.T) {
	s := e2e.StartFourProcesses(t, after)
	shop := e2e.NewCustomer(t, s, "shop", "echo")
	const partitions = 8
	key := chat.KeyOf(shop.Channel, "anna")
	at := time.Now()
	data, err := wire.EncodeUserMessage(&chat.UserMessage{
		ID: chat.NewMessageID(at, key, 1), ChannelID: shop.Channel, ConversationID: "anna", AcceptedAt: at,
		Input: chat.Input{Kind: chat.InputText, Body: []byte(`{"text":"from tomorrow"}`)},
	})
	require.NoError(t, err)
	data = protowire.AppendVarint(protowire.AppendTag(data, 100, protowire.VarintType), wire.Version+1)
	conn, err := broker.Connect(s.NATS.URL, "test", zap.NewNop())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Publish(t.Context(), broker.Message{Subject: topology.HotSubject(chat.StageUser, key.Partition(partitions), shop.Channel, key), Data: data})
	require.NoError(t, err)

	worker := s.Services["bot-worker"]
	worker.Await("the worker to leave the partition", func() bool { return worker.Says("wrote; it is left to a process of that version") })
	require.Contains(t, after.Fail(t, nil, "health", "--url", worker.At.AdminURL+"/readyz"), "what a newer version of parley wrote")
	require.Equal(t, "ready\n", after.Run(t, nil, "health", "--url", worker.At.AdminURL+"/livez"), "to restart it would not help")
	shop.Say("anna", "behind it")
	for i, said := 0, 0; said < 3; i++ {
		name := fmt.Sprint("user", i)
		if chat.KeyOf(shop.Channel, name).Partition(partitions) != key.Partition(partitions) {
			shop.Say(name, "hello")
			said++
		}
	}
	shop.Await(3)
	s.AwaitStatus("the newer message and what stands behind it to wait", func(status *ops.Status) bool { return status.Stages[0].Waiting == 2 })
	require.Empty(t, shop.Conversation("anna"))
	require.Zero(t, s.CountDeadLetters())
}
