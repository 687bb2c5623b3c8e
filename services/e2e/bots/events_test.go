package bots

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
)

const handingOver = `
intro: hello
not_understood: hello
intents: {human: {keywords: [human], goto: human}}
dialogs:
  hello: [Hello!]
  human:
    - A colleague will help you.
    - offload: {queue: sales}
    - One moment.
`

// Each endpoint of a channel gets what it asks for, in order and once, also
// across the end of the processes by force; what two of them don't take is told
// to who asks for that, and holds up nobody.
func TestEvents(t *testing.T) {
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			shop := e2e.NewCustomer(t, s, "shop", "echo")
			flow := filepath.Join(t.TempDir(), "flow.yaml")
			require.NoError(t, os.WriteFile(flow, []byte(handingOver), 0o600))
			s.Parley("bot", "update", "shop", "--kind", "flow", "--file", flow)
			answering := func(status int) webhooktest.Option { return webhooktest.WithScript(webhooktest.Status(status)) }
			desk := e2e.NewEndpoint(t, s, "shop", []string{"--event", "user_message,message,offload"})
			alarm := e2e.NewEndpoint(t, s, "shop", []string{"--event", "delivery.failed,dead_letter.created,endpoint.disabled"})
			gone := e2e.NewEndpoint(t, s, "shop", []string{"--retry", "1h"}, answering(http.StatusGone))
			broken := e2e.NewEndpoint(t, s, "shop", []string{"--retry", "10ms"}, answering(http.StatusInternalServerError))

			shop.Say("anna", "hi")
			shop.Say("anna", "a human, please")
			shop.Await(3)
			desk.Await(6)
			alarm.Await(7)
			s.AwaitSettled(3) // those of who is gone
			for _, service := range s.Services {
				service.Kill()
				service.Start()
			}
			shop.Say("anna", "anybody?")
			desk.Await(7)
			s.AwaitSettled(3)

			require.Equal(t, []string{"Hello!", "A colleague will help you.", "One moment."}, shop.Texts("anna"))
			require.Equal(t, []string{
				`user_message {"textMessage":{"text":"hi"}} false`, "message 1",
				`user_message {"textMessage":{"text":"a human, please"}} false`, "message 2", `offload {"queue":"sales"}`, "message 3",
				`user_message {"textMessage":{"text":"anybody?"}} true`,
			}, told(t, desk.All()))
			failed, dead := fmt.Sprintf("delivery.failed %s exhausted", broken.EndpointID), fmt.Sprintf("dead_letter.created %s exhausted", broken.EndpointID)
			require.ElementsMatch(t, []string{
				fmt.Sprintf("endpoint.disabled %s answered 410 Gone", gone.EndpointID), failed, failed, failed, dead, dead, dead,
			}, told(t, alarm.All()))
			require.Len(t, gone.All(), 1)
		})
	}
}

// told puts each delivery in a few words.
func told(t *testing.T, deliveries []*webhooktest.Received) (out []string) {
	t.Helper()
	for _, d := range deliveries {
		var body struct {
			Type string
			Data struct {
				chat.OperationalData
				Message   json.RawMessage
				BotPaused bool
				Details   json.RawMessage
			}
		}
		require.NoError(t, json.Unmarshal(d.Raw, &body))
		require.Equal(t, d.Header.Get(webhook.HeaderEvent), body.Type)
		switch body.Type {
		case "":
			out = append(out, fmt.Sprint("message ", d.Body.MessageCounter))
		case chat.EventUserMessage:
			out = append(out, fmt.Sprintf("%s %s %t", body.Type, body.Data.Message, body.Data.BotPaused))
		case chat.EventOffload:
			out = append(out, fmt.Sprintf("%s %s", body.Type, body.Data.Details))
		default:
			out = append(out, fmt.Sprintf("%s %s %s", body.Type, body.Data.EndpointID, body.Data.Reason))
		}
	}
	return out
}
