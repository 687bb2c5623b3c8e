package ops_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/services/ops"
)

// TestFilterDeadLetters: list and count choose alike.
func TestFilterDeadLetters(t *testing.T) {
	a := newAPI(t)
	store, err := deadletter.New(t.Context(), a.conn)
	require.NoError(t, err)
	user := &chat.DeadLetter{
		MessageID: chat.NewMessageID(failed, chat.KeyOf("shop", "ann o'nym"), 7), Stage: chat.StageUser, ChannelID: "shop", Destination: "pizza",
		ConversationID: "ann o'nym", Reason: "refused by the bot", DiedAt: failed, Data: []byte("\xffnonsense"),
		Headers: map[string]string{"Parley-Replay": "1"}, Attempts: []chat.Attempt{{At: failed, Status: 422}},
	}
	require.NoError(t, store.Write(t.Context(), user))
	stored, err := store.Get(t.Context(), user.MessageID)
	require.NoError(t, err)
	at := stored[0].StoredAt.UTC().Format(time.RFC3339Nano)

	for query, want := range map[string]int{
		"":                     3,
		"stage=bot":            2,
		"channel=shop":         3,
		"endpoint=crm":         1,
		"endpoint=pizza":       0,
		"bot=pizza":            1,
		"bot=crm":              0,
		"destination=pizza":    1,
		"stage=user&bot=pizza": 1,
		"channel=shop&conversation=" + url.QueryEscape("ann o'nym"): 1,
		"channel=shop&conversation=nobody":                          0,
		"reason=" + url.QueryEscape("refused by the bot"):           1,
		"reason=refused":               0,
		"status=422":                   1,
		"status=500&channel=shop":      2,
		"since=1h":                     3,
		"until=1h":                     0,
		"since=" + url.QueryEscape(at): 1,
		"until=" + url.QueryEscape(at): 2,
		"since=1h&until=" + url.QueryEscape(at) + "&stage=bot&status=500": 2,
	} {
		page, _ := ok[ops.DeadLetterPage](a, 200, request{method: "GET", path: "/dead-letters?" + query})
		require.Len(t, page.Items, want, query)
		require.Empty(t, page.Next)
		n, _ := ok[ops.DeadLetterCount](a, 200, request{method: "GET", path: "/dead-letters/count?" + query})
		require.EqualValues(t, want, n.Count, query)
	}

	page, _ := ok[ops.DeadLetterPage](a, 200, request{method: "GET", path: "/dead-letters/" + user.MessageID})
	require.Equal(t, user.Data, page.Items[0].Data, "the original, since it can't be read")
	require.Nil(t, page.Items[0].Message)
	require.Equal(t, user.Headers, page.Items[0].Headers)
	require.Equal(t, at, page.Items[0].StoredAt.Format(time.RFC3339Nano))
	require.Contains(t, string(a.do(request{method: "GET", path: "/dead-letters/" + user.MessageID}).body), base64.StdEncoding.EncodeToString(user.Data))
	page, _ = ok[ops.DeadLetterPage](a, 200, request{method: "GET", path: "/dead-letters/" + a.dead.MessageID})
	require.Nil(t, page.Items[0].Data, "it is shown as message")

	a.conn.Close()
	a.refused(503, "broker-unavailable", request{method: "GET", path: "/dead-letters/count"})
	a.refused(503, "broker-unavailable", request{method: "GET", path: "/dead-letters/count?reason=poison"})
}

func TestBadDeadLetterFilter(t *testing.T) {
	a := newAPI(t)
	for query, pointers := range map[string][]string{
		"stage=x&channel=a.b":                    {"stage", "channel"},
		"stage=user&endpoint=crm":                {"endpoint"},
		"stage=bot&bot=pizza":                    {"bot"},
		"endpoint=crm&bot=pizza":                 {"bot"},
		"endpoint=crm&destination=crm":           {"destination"},
		"conversation=anna":                      {"conversation"},
		"status=99":                              {"status"},
		"status=x":                               {"status"},
		"since=yesterday&until=-1h":              {"since", "until"},
		"since=1h&until=2h":                      {"until"},
		"since=2h&until=2h":                      {"until"},
		"endpoint=A&bot=%3E&destination=a.b.%2A": {"endpoint", "bot", "bot", "destination", "destination"},
	} {
		for _, path := range []string{"/dead-letters?", "/dead-letters/count?"} {
			p := a.refused(400, "bad-query", request{method: "GET", path: path + query, offContract: true})
			var got []string
			for _, e := range p.Errors {
				got = append(got, e.Pointer)
			}
			require.ElementsMatch(t, pointers, got, query)
		}
	}
}

// TestDeadLetterFilterInABody: what a query says, a body says alike.
func TestDeadLetterFilterInABody(t *testing.T) {
	now := time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)
	var in ops.DeadLetterFilter
	require.NoError(t, json.Unmarshal(fmt.Appendf(nil, `{"channel":"shop","endpoint":"crm","conversation":"anna","reason":"exhausted","status":500,"since":"24h","until":%q}`,
		now.Format(time.RFC3339)), &in))
	f, err := in.Resolve(now)
	require.NoError(t, err)
	require.Equal(t, deadletter.Filter{
		Stage: chat.StageBot, ChannelID: "shop", Destination: "crm", ConversationID: "anna", Reason: "exhausted", Status: 500,
		After: now.Add(-24 * time.Hour), Before: now,
	}, f)

	_, err = ops.DeadLetterFilter{Conversation: "anna", Status: 1000}.Resolve(now)
	var invalid *chat.ValidationError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, "/conversation", invalid.Problems[0].Pointer)
	require.Equal(t, "/status", invalid.Problems[1].Pointer)
}
