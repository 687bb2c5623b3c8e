package contract

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
)

// An operator registers a bot, a channel, an endpoint and a token; two users
// talk; the customer gets the bot's answers, signed and counted.
func TestConversation(t *testing.T) {
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			shop := e2e.NewCustomer(t, s, "shop", "echo")

			shop.Say("anna", "one")
			shop.Say("bert", "uno")
			shop.Say("anna", "two")
			shop.Say("anna", "three")

			deliveries := shop.Await(4)
			require.Equal(t, []string{"one", "two", "three"}, shop.Texts("anna"))
			require.Equal(t, []string{"uno"}, shop.Texts("bert"))
			for _, d := range deliveries {
				require.Regexp(t, `^msg_[0-9a-v]{48}$`, d.ID())
				require.Equal(t, "Parley/e2e", d.Header.Get("User-Agent"))
				require.Equal(t, "application/json", d.Header.Get("Content-Type"))
				require.Equal(t, "1", d.Header.Get("Parley-Attempt"))
			}
		})
	}
}

// What was registered, said and settled survives the end of every service, by
// order and by force, and so does what waits, with the count of its attempts:
// counters go on, and nothing comes again.
func TestRestart(t *testing.T) {
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			shop := e2e.NewCustomer(t, s, "shop", "echo")
			var open atomic.Bool
			late := e2e.NewCustomerWith(t, s, "late", "echo", []string{"--retry", "10ms,10ms,10ms"},
				webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
					if open.Load() {
						return webhooktest.Reply{}
					}
					return webhooktest.Reply{Status: http.StatusGone} // disables it
				}))
			late.Say("carl", "one")
			late.Say("carl", "two")
			late.Await(1)
			shop.Say("anna", "one")
			shop.Await(1)

			for _, service := range s.Services {
				service.Stop()
				service.Start()
			}
			shop.Say("anna", "two")
			shop.Await(2)

			s.AwaitSettled(2) // a kill before that may repeat the last one
			for _, service := range s.Services {
				service.Kill()
				service.Start()
			}
			shop.Say("anna", "three")
			shop.Await(3)
			s.AwaitSettled(2)
			require.Equal(t, []string{"one", "two", "three"}, shop.Texts("anna"))

			require.Equal(t, []string{"1/1"}, e2e.Tries(late.All()), "a disabled endpoint stays disabled")
			open.Store(true)
			s.Parley("endpoint", "enable", late.EndpointID)
			s.AwaitIdle()
			require.Equal(t, []string{"1/1", "1/2", "2/1"}, e2e.Tries(late.All()))
		})
	}
}
