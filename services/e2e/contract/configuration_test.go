package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// What ops has answered is valid everywhere: a message that is posted to
// another process as soon as a channel, its token and its endpoint are made is
// let in and arrives. (A second endpoint gets what comes after it was made, and
// perhaps what was waiting then.)
func TestConfigurationIsInTime(t *testing.T) {
	s := e2e.StartFourProcesses(t, binaries)
	env := s.Services["ingest"].Env()
	second := s.Add("ingest-2", "ingest", env)
	second.Start()
	s.Parley("bot", "create", "echo", "--kind", "echo")
	receiver := webhooktest.New(t)
	const channels = 50
	for i := range channels {
		id := fmt.Sprintf("shop-%d", i)
		create(t, s, "/channels", ops.Channel{ID: id, BotID: "echo"}, nil)
		var token ops.Token
		create(t, s, "/tokens", ops.NewToken{ChannelID: id}, &token)
		// Both processes know the channel before it has an endpoint.
		ingest := []string{s.PublicURL(), second.At.PublicURL}
		say := func(n int, text string) {
			header := map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + token.Token}
			a, err := e2e.Post(t.Context(), ingest[n]+"/v1/channels/webhook/"+id+"/messages", header, e2e.Said(t, id, text))
			require.NoError(t, err)
			require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
		}
		var first, other ops.Endpoint
		create(t, s, "/channels/"+id+"/endpoints", ops.Endpoint{URL: receiver.URL()}, &first)
		say(i%2, "one")
		create(t, s, "/channels/"+id+"/endpoints", ops.Endpoint{URL: receiver.URL()}, &other)
		say((i+1)%2, "two")
	}
	s.AwaitIdle()
	for i := range channels {
		texts := map[string]int{}
		for _, r := range receiver.Conversation(fmt.Sprintf("shop-%d", i)) {
			texts[e2e.Text(t, r)]++
		}
		require.Equal(t, 2, texts["two"], "channel %d: both endpoints get the second message", i)
		require.Contains(t, []int{1, 2}, texts["one"], "channel %d: the first endpoint gets the first", i)
	}
}

// create creates something with the ops API and reads what it answers into made,
// which may be nil.
func create(t *testing.T, s *e2e.System, path string, what, made any) {
	t.Helper()
	body, err := json.Marshal(what)
	require.NoError(t, err)
	header := map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + s.OpsToken()}
	a, err := e2e.Post(t.Context(), s.AdminURL()+ops.Root+path, header, body)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, a.Status, "%s: %s", path, a.Body)
	if made != nil {
		require.NoError(t, json.Unmarshal(a.Body, made))
	}
}
