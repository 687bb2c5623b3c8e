package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
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
			var s *System
			if test.process == shared {
				s = StartFourProcessesWith(t, binaries, "PARLEY_LEASE_TTL=1s")
			} else {
				s = startPlain(t, test.redis)
			}
			victim := s.Services[test.process]
			poison, spilt := make(chan struct{}, 16), make(chan struct{})
			shop := NewCustomer(t, s, "shop", "echo", webhooktest.WithScript(func(_ int, r *webhooktest.Received) webhooktest.Reply {
				if text(t, r) != "poison" {
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
			for !s.isDeadLetter() {
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
func (s *System) isDeadLetter() bool {
	status, err := s.Status(s.t.Context())
	return err == nil && status.Dead.Messages > 0
}

func text(t *testing.T, r *webhooktest.Received) string {
	t.Helper()
	var m chat.Message
	if err := json.Unmarshal(r.Body.Message, &m); err != nil {
		t.Errorf("message %s: %v", r.Body.Message, err)
	}
	return m.Text
}

// arrived are the texts that a conversation got, but the poison and what came
// again because it was in flight when a process ended.
func arrived(t *testing.T, c *Customer, conversation string) []string {
	t.Helper()
	var texts []string
	last := uint64(0)
	for _, r := range c.Conversation(conversation) {
		if said := text(t, r); said != "poison" && r.Body.MessageCounter > last {
			texts, last = append(texts, said), r.Body.MessageCounter
		}
	}
	return texts
}
