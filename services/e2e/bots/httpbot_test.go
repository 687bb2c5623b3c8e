package bots

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// startBot starts the sample of an http bot, and returns where it listens.
func startBot(t *testing.T, secret string) (bot *e2e.Process, url string) {
	t.Helper()
	bot = e2e.NewProcess(t, "httpbot", binaries.Bot, []string{"PARLEY_BOT_SECRET=" + secret}, "--addr", "127.0.0.1:0")
	bot.Start()
	listening := regexp.MustCompile(`listening on (http://\S+)`)
	e2e.Await(t, func() string { return "the sample bot to listen" }, func(context.Context) bool {
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
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			secret := webhook.NewSecret().Reveal()
			bot, url := startBot(t, secret)
			shop := e2e.NewCustomer(t, s, "shop", "echo")
			s.Parley("bot", "update", "shop", "--kind", "http", "--url", url, "--secret", secret,
				"--timeout", "5s", "--retry", "20ms,50ms", "--fallback", "Sorry, not now.")

			shop.Say("anna", "one")
			shop.Say("bert", "uno")
			shop.Say("anna", "two")
			shop.Await(5)
			require.Equal(t, []string{"Hello! I count what you say.", "1: one", "2: two"}, shop.Texts("anna"))
			require.Equal(t, []string{"Hello! I count what you say.", "1: uno"}, shop.Texts("bert"))

			// The sample has the former secret still.
			s.Parley("bot", "rotate-secret", "shop")
			shop.Say("anna", "three")
			shop.Await(6)
			require.Equal(t, []string{"3: three"}, shop.Texts("anna")[3:])

			bot.Kill()
			shop.Say("anna", "four")
			shop.Await(7)
			_, url = startBot(t, secret)
			s.Parley("bot", "update", "shop", "--url", url)
			shop.Say("anna", "five")
			shop.Await(8)
			require.Equal(t, []string{"Sorry, not now.", "4: five"}, shop.Texts("anna")[4:])

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

// A bot that fails or is slow parks its own lanes as an endpoint does, and nobody else's;
// they drain in order when it is back. What an operator skips gets no fallback.
func TestHTTPBotParksItsLanes(t *testing.T) {
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			secret := webhook.NewSecret().Reveal()
			bot, url := startBot(t, secret)
			shop, other := e2e.NewCustomer(t, s, "shop", "echo"), e2e.NewCustomer(t, s, "other", "echo")
			s.Parley("bot", "update", "shop", "--kind", "http", "--url", url, "--secret", secret, "--retry", "1h", "--fallback", "Sorry, not now.")
			shop.Say("anna", "one")
			shop.Await(2)

			bot.Kill()
			shop.Say("anna", "two")
			shop.Say("bert", "uno")
			shop.Say("anna", "three")
			lanes := map[string]ops.Lane{}
			e2e.Await(t, func() string { return fmt.Sprintf("both lanes to be parked after an attempt: %+v", lanes) }, func(ctx context.Context) bool {
				var page ops.LanePage
				if _, err := s.Get(ctx, ops.Root+"/lanes?channel=shop", &page); err != nil {
					return false
				}
				for _, l := range page.Items {
					lanes[l.ConversationID] = l
				}
				return lanes["anna"].Messages == 2 && lanes["anna"].AttemptCount == 1 && lanes["bert"].Messages == 1 && lanes["bert"].AttemptCount == 1
			})
			for _, l := range lanes {
				require.Equal(t, "shop", l.Destination)
				require.Contains(t, l.LastError, "refused")
			}
			other.Say("carl", "hi")
			other.Await(1)

			s.Parley("lane", "skip", lanes["bert"].ID)
			letters, err := s.DeadLetters(t.Context(), "shop")
			require.NoError(t, err)
			require.Len(t, letters, 1)
			require.Equal(t, lane.ReasonSkipped, letters[0].Reason)

			_, url = startBot(t, secret)
			s.Parley("bot", "update", "shop", "--url", url)
			s.Parley("lane", "retry-now", lanes["anna"].ID)
			shop.Await(4)
			s.AwaitIdle()
			require.Equal(t, []string{"Hello! I count what you say.", "1: one", "2: two", "3: three"}, shop.Texts("anna"))
			require.Empty(t, shop.Conversation("bert"))

			// One that is slow fails in the end too.
			slow := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
				return webhooktest.Reply{Fault: webhooktest.Hang}
			}))
			s.Parley("bot", "update", "shop", "--url", slow.URL(), "--timeout", "1s", "--retry", "20ms")
			shop.Say("anna", "four")
			other.Say("carl", "and?")
			other.Await(2)
			shop.Await(5)
			require.Equal(t, "Sorry, not now.", shop.Texts("anna")[4])
			require.Len(t, slow.All(), 2)
		})
	}
}
