package lane_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

func TestFind(t *testing.T) {
	conn := brokertest.New(t)
	w := lane.NewWaiting(conn, brokertest.Layout.Partitions)
	key := chat.KeyOf("shop", "anna")
	partition := key.Partition(brokertest.Layout.Partitions)
	everything := func(*chat.UserMessage, *chat.BotMessage) bool { return true }
	found, all, err := w.Find(t.Context(), key, everything)
	require.NoError(t, err)
	require.True(t, all)
	require.Empty(t, found)

	user := func(conversation, id string) []byte {
		data, err := wire.EncodeUserMessage(&chat.UserMessage{
			ID: id, ChannelID: "shop", ConversationID: conversation, Input: chat.Input{Kind: chat.InputIntro},
		})
		require.NoError(t, err)
		return data
	}
	bot := func(id string) []byte {
		data, err := wire.EncodeBotMessage(&chat.BotMessage{ID: id, ChannelID: "shop", ConversationID: "anna", InputID: "in", Event: chat.EventMessage})
		require.NoError(t, err)
		return data
	}
	publish := func(stage chat.Stage, key chat.ConversationKey, data []byte) {
		_, err := conn.Publish(t.Context(), broker.Message{Subject: topology.HotSubject(stage, key.Partition(brokertest.Layout.Partitions), "shop", key), Data: data})
		require.NoError(t, err)
	}
	publish(chat.StageUser, key, user("anna", "in2"))
	publish(chat.StageUser, key, []byte("\xff"))
	publish(chat.StageUser, chat.KeyOf("shop", "ben"), user("ben", "his"))
	publish(chat.StageBot, key, bot("out3"))
	store, err := lane.NewJetStream(t.Context(), conn, chat.StageBot, partition)
	require.NoError(t, err)
	at := time.UnixMilli(1_700_000_000_000)
	id := lane.ID{Group: "crm", Key: key}
	for n := range uint64(2) {
		_, err := store.Append(t.Context(), id, &lane.Message{Seq: n + 5, Time: at, Data: bot(fmt.Sprintf("out%d", n+1))})
		require.NoError(t, err)
	}
	state := &chat.LaneState{HeadSeq: 5, AttemptCount: 3}
	require.NoError(t, store.PutState(t.Context(), id, state))

	found, all, err = w.Find(t.Context(), key, everything)
	require.NoError(t, err)
	require.True(t, all)
	require.Len(t, found, 4)
	require.Equal(t, "in2", found[0].User.ID)
	require.Empty(t, found[0].Group)
	require.False(t, found[0].At.IsZero())
	require.Equal(t, "out3", found[1].Bot.ID)
	require.Equal(t, "out1", found[2].Bot.ID)
	require.Equal(t, "crm", found[2].Group)
	require.True(t, at.Equal(found[2].At))
	require.Equal(t, state, found[2].State)
	require.Equal(t, "out2", found[3].Bot.ID)
	require.Equal(t, 1, found[3].Ahead)
	require.Nil(t, found[3].State)

	found, _, err = w.Find(t.Context(), key, func(_ *chat.UserMessage, m *chat.BotMessage) bool { return m != nil && m.ID == "out2" })
	require.NoError(t, err)
	require.Len(t, found, 1)

	for n := range uint64(1001) {
		_, err := store.Append(t.Context(), id, &lane.Message{Seq: n + 7, Time: at, Data: bot("more")})
		require.NoError(t, err)
	}
	found, all, err = w.Find(t.Context(), key, everything)
	require.NoError(t, err)
	require.False(t, all, "not all of so much was looked at")
	require.Len(t, found, 1002)
	conn.Close()
	_, _, err = w.Find(t.Context(), key, everything)
	require.ErrorIs(t, err, broker.ErrUnavailable)
}
