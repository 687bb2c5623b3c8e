package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/ops"
)

func TestDeadFilters(t *testing.T) {
	env, letter := opsServer(t)
	count := func(args ...string) uint64 {
		return goodJSON[ops.DeadLetterCount](t, env, append([]string{"dead", "count"}, args...)...).Count
	}
	require.Equal(t, "2\n", good(t, env, "dead", "count"))
	require.EqualValues(t, 1, count("--endpoint", "crm"))
	require.EqualValues(t, 0, count("--bot", "crm"))
	require.EqualValues(t, 2, count("--channel", "shop", "--conversation", letter.ConversationID, "--reason", "exhausted", "--status", "500", "--since", "1h"))
	require.EqualValues(t, 0, count("--until", "1h"))
	require.EqualValues(t, 0, count("--status", "404"))

	require.Regexp(t, `(?m)^2 in all$`, good(t, env, "dead", "list", "--limit", "1"))
	out := good(t, env, "dead", "list", "--reason", "exhausted", "--since", "1h")
	require.Contains(t, out, letter.MessageID)
	require.NotContains(t, out, "in all", "that would read every letter")
	require.Len(t, goodJSON[ops.DeadLetterPage](t, env, "dead", "list", "--endpoint", "crm", "--limit", "501").Items, 1)

	for want, args := range map[string][]string{
		"conversation: a conversation is one of a channel": {"--conversation", "anna"},
		"--until \"soon\": this is no time":                {"--until", "soon"},
		"endpoint: messages for a destination":             {"--stage", "user", "--endpoint", "crm"},
	} {
		for _, command := range []string{"list", "count"} {
			r := parley(t, env, "", append([]string{"dead", command}, args...)...)
			require.Equal(t, exitFailed, r.code)
			require.Contains(t, r.stderr, want)
		}
	}
	r := parley(t, env, "", "dead", "list", "--limit", "0")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "--limit is 0")
}

// TestDeadListGoesOn: a part of the list that is short or empty is not its end.
func TestDeadListGoesOn(t *testing.T) {
	letter := func(id string) ops.DeadLetter { return ops.DeadLetter{MessageID: id} }
	parts := map[string]ops.DeadLetterPage{
		"":   {Items: []ops.DeadLetter{}, Next: "90"},
		"90": {Items: []ops.DeadLetter{letter("msg_a"), letter("msg_b")}, Next: "70", Undecodable: 1},
		"70": {Items: []ops.DeadLetter{}, Next: "50"},
		"50": {Items: []ops.DeadLetter{letter("msg_c")}, Next: "30"},
		"30": {Items: []ops.DeadLetter{letter("msg_d")}},
	}
	var limits, since []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		limits, since = append(limits, query.Get("limit")), append(since, query.Get("since"))
		_ = json.NewEncoder(w).Encode(parts[query.Get("before")])
	}))
	defer srv.Close()
	env := []string{"PARLEY_OPS_URL=" + srv.URL, "PARLEY_OPS_TOKEN=" + testOpsToken}

	page := goodJSON[ops.DeadLetterPage](t, env, "dead", "list", "--limit", "3", "--reason", "poison", "--since", "1h")
	require.Equal(t, ops.DeadLetterPage{Items: []ops.DeadLetter{letter("msg_a"), letter("msg_b"), letter("msg_c")}, Next: "30", Undecodable: 1}, page)
	require.Equal(t, []string{"3", "3", "1", "1"}, limits, "it asks for what is missing")
	for _, s := range since {
		require.Equal(t, since[0], s, "one moment for all parts")
	}

	out := good(t, env, "dead", "list", "--limit", "600", "--reason", "poison")
	require.Regexp(t, `(?s)msg_a.*msg_d.*1 that can't be read`, out)
	require.NotContains(t, out, "more:")
	require.Equal(t, "500", limits[len(limits)-5], "the API gives no more at once")
}

func TestDeadShowsAll(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(ops.DeadLetterPage{Items: []ops.DeadLetter{{
			MessageID: "seq-bot-3-17", Reason: "undecodable", Headers: map[string]string{"Parley-Replay": "1", "A": "x"}, Data: []byte("\xffnonsense"),
		}}})
	}))
	defer srv.Close()
	out := good(t, []string{"PARLEY_OPS_URL=" + srv.URL, "PARLEY_OPS_TOKEN=" + testOpsToken}, "dead", "show", "seq-bot-3-17")
	require.Regexp(t, `(?ms)^header A +x\nheader Parley-Replay +1\n.*^body as base64 +/25vbnNlbnNl$`, out)
}
