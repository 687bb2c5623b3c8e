package e2e

import (
	"context"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/services/ops"
)

// startBot starts the sample of an http bot, and returns where it listens.
func startBot(t *testing.T, secret string) (bot *Process, url string) {
	t.Helper()
	bot = NewProcess(t, "httpbot", binaries.Bot, []string{"PARLEY_BOT_SECRET=" + secret}, "--addr", "127.0.0.1:0")
	bot.Start()
	listening := regexp.MustCompile(`listening on (http://\S+)`)
	await(t, func() string { return "the sample bot to listen" }, func(context.Context) bool {
		found := listening.FindStringSubmatch(bot.Tail())
		if found != nil {
			url = found[1]
		}
		return found != nil
	})
	return bot, url
}

// A bot of one's own, as docs/bots.md has it: its answers arrive in order, with
// what it keeps in the session; while it is down its fallback is sent, and then
// the conversation goes on as if nothing had been.
func TestHTTPBot(t *testing.T) {
	for _, topology := range Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			secret := webhook.NewSecret().Reveal()
			bot, url := startBot(t, secret)
			shop := NewCustomer(t, s, "shop", "echo")
			s.Parley("bot", "update", "shop", "--kind", "http", "--url", url, "--secret", secret,
				"--timeout", "5s", "--retry", "20ms,50ms", "--fallback", "Sorry, not now.")

			shop.Say("anna", "one")
			shop.Say("bert", "uno")
			shop.Say("anna", "two")
			shop.Await(5)
			require.Equal(t, []string{"Hello! I count what you say.", "1: one", "2: two"}, shop.Texts("anna"))
			require.Equal(t, []string{"Hello! I count what you say.", "1: uno"}, shop.Texts("bert"))

			bot.Kill()
			shop.Say("anna", "three")
			shop.Await(6)
			_, url = startBot(t, secret)
			s.Parley("bot", "update", "shop", "--url", url)
			shop.Say("anna", "four")
			shop.Await(7)
			require.Equal(t, []string{"Sorry, not now.", "3: four"}, shop.Texts("anna")[3:])

			// One that doesn't know the secret refuses, and without a fallback the turn
			// is a dead letter that says so.
			s.Parley("bot", "update", "shop", "--secret", webhook.NewSecret().Reveal(), "--fallback", "")
			shop.Say("bert", "due")
			s.AwaitIdle()
			letters, err := s.DeadLetters(t.Context(), "shop")
			require.NoError(t, err)
			require.Len(t, letters, 1)
			require.Equal(t, []any{"shop", "exhausted", 3}, []any{letters[0].Destination, letters[0].Reason, letters[0].AttemptCount})
			require.Contains(t, letters[0].Error, "HTTP 401")
			var shown ops.DeadLetterPage
			s.Read(&shown, "dead", "show", letters[0].MessageID)
			require.Contains(t, shown.Items[0].Attempts[0].Excerpt, "no webhook-signature matches")
		})
	}
}
