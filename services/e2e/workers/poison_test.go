package workers

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
)

// A message whose delivery ends the process each time becomes a dead letter,
// and nothing else does: where everything is one process and where a worker is,
// with Redis and without.
func TestPoison(t *testing.T) {
	const shared = "delivery-worker"
	for _, test := range []struct {
		name    string
		process string // that the poison ends
		redis   bool
	}{
		{"serve", "serve", false},
		{"serve with Redis", "serve", true},
		{"worker", shared, true},
		{"worker, Redis gone", shared, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var s *e2e.System
			if test.process == shared {
				s = e2e.StartFourProcessesWith(t, binaries, "PARLEY_LEASE_TTL=1s")
			} else {
				s = e2e.StartPlain(t, binaries, test.redis)
			}
			victim := s.Services[test.process]
			poison, spilt := make(chan struct{}, 16), make(chan struct{})
			shop := e2e.NewCustomer(t, s, "shop", "echo", webhooktest.WithScript(func(_ int, r *webhooktest.Received) webhooktest.Reply {
				if e2e.Text(t, r) != "poison" {
					return webhooktest.Reply{}
				}
				poison <- struct{}{}
				return webhooktest.Reply{Until: spilt, Fault: webhooktest.Reset} // the process is ended before it gets an answer
			}))
			t.Cleanup(func() { close(spilt) })
			if test.process == shared && !test.redis {
				s.Redis.Kill()
			}
			shop.Say("bad", "one")
			shop.Say("bad", "poison")
			shop.Say("bad", "three")
			for _, conversation := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
				shop.Say(conversation, "hello")
				shop.Say(conversation, "goodbye")
			}
			begun, deaths := time.Now(), 0
			for !isDeadLetter(t, s) {
				select {
				case <-poison:
					deaths++
					require.LessOrEqual(t, deaths, 5)
					victim.Kill()
					victim.Start()
				case <-time.After(50 * time.Millisecond):
				}
			}
			t.Logf("found after %d deaths, %s", deaths, time.Since(begun))
			s.AwaitIdle()
			letters, err := s.DeadLetters(t.Context(), "shop")
			require.NoError(t, err)
			require.Len(t, letters, 1)
			require.Equal(t, lane.ReasonPoison, letters[0].Reason)
			require.Equal(t, "bad", letters[0].ConversationID)
			require.Equal(t, []string{"one", "three"}, arrived(t, shop, "bad"))
			for _, conversation := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
				require.Equal(t, []string{"hello", "goodbye"}, arrived(t, shop, conversation))
			}
		})
	}
}

// isDeadLetter reports whether there is a dead letter, and that there isn't
// while the process is down that would say so.
func isDeadLetter(t *testing.T, s *e2e.System) bool {
	t.Helper()
	status, err := s.Status(t.Context())
	return err == nil && status.Dead.Messages > 0
}

// arrived are the texts that a conversation got, but the poison and what came
// again because it was in flight when a process ended.
func arrived(t *testing.T, c *e2e.Customer, conversation string) []string {
	t.Helper()
	var texts []string
	last := uint64(0)
	for _, r := range c.Conversation(conversation) {
		if said := e2e.Text(t, r); said != "poison" && r.Body.MessageCounter > last {
			texts, last = append(texts, said), r.Body.MessageCounter
		}
	}
	return texts
}
