package ops_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/services/ops"
)

// obey stands for the owners of a conversation's lanes: what they are told counts
// as done.
func (a *api) obey(key chat.ConversationKey) {
	a.t.Helper()
	ctx, cancel := context.WithCancel(a.t.Context())
	a.t.Cleanup(cancel)
	for _, stage := range []chat.Stage{chat.StageUser, chat.StageBot} {
		commands := lane.NewJetStreamCommands(a.conn, stage, key.Partition(brokertest.Layout.Partitions))
		ended := make(chan error, 1)
		go func() {
			ended <- commands.Follow(ctx, func(c *lane.Command) {
				if err := commands.Done(ctx, c); err != nil && ctx.Err() == nil {
					a.t.Error(err)
				}
			})
		}()
		a.t.Cleanup(func() {
			cancel()
			require.Error(a.t, <-ended)
		})
	}
}

func TestEraseConversation(t *testing.T) {
	a := newAPI(t) // a message of anna's has died at crm and at archive
	key := chat.KeyOf("shop", "anna")
	a.withEndpoint(`{"id":"crm","url":"https://example.com/hook"}`)
	a.park("crm", "anna", &chat.LaneState{HeadSeq: 1, AttemptCount: 3}, 2)
	a.park("crm", "ben", nil, 1)
	for range 3 {
		_, err := a.conn.Publish(t.Context(), broker.Message{Subject: topology.JournalSubject("shop", key), Data: []byte("x")})
		require.NoError(t, err)
	}
	sessions, err := session.New(t.Context(), a.conn, brokertest.Layout.Partitions)
	require.NoError(t, err)
	_, err = sessions.Save(t.Context(), key, &chat.Session{ChannelID: "shop", ConversationID: "anna", Epoch: 1}, 0)
	require.NoError(t, err)
	path := "/conversations?channel=shop&conversation=anna"
	there := ops.Erased{ChannelID: "shop", ConversationID: "anna", JournalEntries: 3, DeadLetters: 2, ParkedMessages: 2, Session: true}

	dry := there
	dry.DryRun = true
	for range 2 {
		got, _ := ok[ops.Erased](a, 200, request{method: "DELETE", path: path + "&dryRun=true"})
		require.Equal(t, dry, got, "nothing is erased")
	}
	pending := there
	pending.PendingLanes = 2 // the channel's, and that at crm: nobody owns them
	got, _ := ok[ops.Erased](a, 202, request{method: "DELETE", path: path})
	require.Equal(t, pending, got)
	parked, err := lane.NewWaiting(a.conn, brokertest.Layout.Partitions).Get(t.Context(), chat.StageBot, lane.ID{Group: "crm", Key: key})
	require.NoError(t, err)
	require.EqualValues(t, 2, parked.Messages, "that is its owner's to do")
	shown, _ := ok[ops.Lane](a, 200, request{method: "GET", path: "/lanes/" + parked.Name()})
	require.Equal(t, lane.Erase, shown.Asked.Action)

	a.obey(key)
	require.Eventually(t, func() bool {
		got, answer := ops.Erased{}, a.do(request{method: "DELETE", path: path})
		require.NoError(t, json.Unmarshal(answer.body, &got))
		require.Zero(t, got.DeadLetters+got.JournalEntries, "it was erased before")
		return answer.StatusCode == 200
	}, 20*time.Second, time.Millisecond)
	dead, _ := ok[ops.DeadLetterPage](a, 200, request{method: "GET", path: "/dead-letters"})
	require.Empty(t, dead.Items)

	unknown, _ := ok[ops.Erased](a, 200, request{method: "DELETE", path: "/conversations?dryRun=true&channel=gone&conversation=" + url.QueryEscape("a b/ü")})
	require.Equal(t, ops.Erased{ChannelID: "gone", ConversationID: "a b/ü", DryRun: true}, unknown)
	for _, bad := range []string{"channel=shop", "conversation=anna", "channel=sh.op&conversation=a", "channel=shop&conversation=" + strings.Repeat("x", 257), "channel=shop&conversation=a&dryRun=perhaps"} {
		a.refused(400, "bad-query", request{method: "DELETE", path: "/conversations?" + bad, offContract: true})
	}
	a.conn.Close()
	a.refused(503, "broker-unavailable", request{method: "DELETE", path: path})
}

// TestErasedInTheAudit: by the hash of the conversation, which names nobody; the
// log too.
func TestErasedInTheAudit(t *testing.T) {
	a := newAPI(t)
	const name = "ada.lovelace"
	a.do(request{method: "DELETE", path: "/conversations?channel=shop&conversation=" + name})
	hash := chat.KeyOf("shop", name).String()
	entries := a.audit("kind=conversation").Items
	require.Len(t, entries, 1)
	require.Equal(t, "conversation.erase", entries[0].Action)
	require.Equal(t, hash, entries[0].Object)
	require.Contains(t, entries[0].Query, hash)
	require.NotContains(t, entries[0].Query+string(entries[0].Detail), name)
	logged := a.logs.FilterMessageSnippet("erased a conversation").All()
	require.Len(t, logged, 1)
	require.Equal(t, hash, logged[0].ContextMap()["conversation"])
	for _, l := range a.logs.All() {
		require.NotContains(t, fmt.Sprint(l.ContextMap()), name)
	}
}
