package contract

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// What comes in, in each form, and what goes out: every field, every header.
func TestContract(t *testing.T) {
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			shop := e2e.NewCustomer(t, s, "shop", "echo")
			bearer := map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + shop.Token}
			const messages = "/v1/channels/webhook/shop/messages"

			trace := maps.Clone(bearer)
			trace["Traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
			a := s.MustPost(messages, trace, `{"conversationId":"anna","message":{"textMessage":{"text":"one"}}}`)
			require.Equal(t, http.StatusAccepted, a.Status, string(a.Body))
			var accepted struct{ MessageID, ConversationID string }
			require.NoError(t, json.Unmarshal(a.Body, &accepted))
			require.Equal(t, "anna", accepted.ConversationID)
			require.Regexp(t, `^msg_[0-9a-v]{48}$`, accepted.MessageID)
			checkDelivery(t, shop.Await(1)[0])

			a = s.MustPost("/api/webhookMessage/shop", map[string]string{"Content-Type": "application/json"},
				`{"text":"two","sender":{"id":"anna"},"verifyToken":"verify-shop","locale":"nl-NL"}`)
			require.Equal(t, http.StatusOK, a.Status, string(a.Body))
			require.Equal(t, "EVENT_RECEIVED", string(a.Body))
			a = s.MustPost("/api/webhookMessage/shop", map[string]string{"Content-Type": "application/json"},
				`{"text":"{\"nextDialogstateId\":\"order\",\"type\":\"postback\",\"caption\":\"Order\"}","sender":{"id":"anna"},"verifyToken":"verify-shop"}`)
			require.Equal(t, http.StatusOK, a.Status, string(a.Body))

			a = s.MustPost("/v1/bots/shop/conversations/anna/actions", bearer, `{"sendMessages":[{"text":"from"},{"text":"outside"}]}`)
			require.Equal(t, http.StatusAccepted, a.Status, string(a.Body))

			ndjson := maps.Clone(bearer)
			ndjson["Content-Type"] = "application/x-ndjson"
			a = s.MustPost(messages, ndjson, strings.Join([]string{
				`{"conversationId":"anna","message":{"textMessage":{"text":"last"}}}`,
				`{"conversationId":"bert","message":{"introMessage":{}}}`,
				`{"conversationId":"carl","message":{}}`,
				`{"user":{"id":"bert"},"message":{"locationMessage":{"lat":52.5,"long":4.25}}}`,
			}, "\n"))
			require.Equal(t, http.StatusOK, a.Status, string(a.Body))
			require.Equal(t, []int{202, 202, 422, 202}, e2e.LineStatuses(t, a.Body))

			a = s.MustPost(messages, map[string]string{"Content-Type": "application/json"}, `{}`)
			require.Equal(t, http.StatusUnauthorized, a.Status)
			require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"))

			shop.Await(8)
			s.AwaitIdle()
			require.Equal(t, []string{"one", "two", "You chose: Order", "from", "outside", "last"}, shop.Texts("anna"))
			require.Equal(t, []string{"Hello! I say back what you tell me.", "You are at 52.5, 4.25"}, shop.Texts("bert"))
			require.Len(t, shop.All(), 8)
		})
	}
}

// checkDelivery requires every byte and every header of the first delivery;
// Await has checked the signature.
func checkDelivery(t *testing.T, d *webhooktest.Received) {
	t.Helper()
	require.Equal(t, http.MethodPost, d.Method)
	require.Equal(t,
		`{"senderId":"anna","recipient":{"id":"anna"},"verifyToken":"verify-shop","message":{"text":"one"},"messageCounter":1}`,
		string(d.Raw))
	header := d.Header.Clone()
	for _, transport := range []string{"Accept-Encoding", "Content-Length"} {
		header.Del(transport)
	}
	require.ElementsMatch(t, []string{
		"Content-Type", "User-Agent", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "Traceparent", "Parley-Attempt",
	}, slices.Collect(maps.Keys(header)))
	require.Equal(t, "application/json", header.Get("Content-Type"))
	require.Equal(t, "Parley/e2e", header.Get("User-Agent"))
	require.Regexp(t, `^msg_[0-9a-v]{48}$`, d.ID())
	require.Regexp(t, `^v1,[A-Za-z0-9+/]{43}=$`, header.Get("Webhook-Signature"))
	require.Regexp(t, `^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$`, header.Get("Traceparent"))
	require.Equal(t, "1", header.Get("Parley-Attempt"))
}

// A dead endpoint holds back nobody else, and gets everything in order when it
// is back. An endpoint gets the events that it asks for.
func TestTwoEndpoints(t *testing.T) {
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			well := e2e.NewCustomerWith(t, s, "shop", "echo", []string{"--event", "message"})
			var up atomic.Bool
			ill := e2e.NewEndpoint(t, s, "shop", e2e.Patient(), webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
				if up.Load() {
					return webhooktest.Reply{Status: http.StatusNoContent}
				}
				return webhooktest.Reply{Fault: webhooktest.Reset}
			}))
			well.Token = s.NewToken("shop") // with it ingest knows the second endpoint
			refused := s.Refused("endpoint", "create", "--channel", "shop", "--url", ill.URL(), "--event", "weather")
			require.Contains(t, refused, "/events/0")

			for _, text := range []string{"one", "two", "three"} {
				well.Say("anna", text)
				well.Say("bert", text)
			}
			well.Await(6)
			for _, r := range ill.Await(2) {
				require.EqualValues(t, 1, r.Body.MessageCounter, "nothing goes before the first message")
			}
			up.Store(true)
			s.AwaitIdle()

			require.Equal(t, []string{"one", "two", "three"}, well.Texts("anna"))
			require.Equal(t, []string{"one", "two", "three"}, well.Texts("bert"))
			for _, conversation := range []string{"anna", "bert"} {
				requests := ill.Conversation(conversation)
				require.True(t, slices.IsSortedFunc(requests, func(a, b *webhooktest.Received) int {
					return int(a.Body.MessageCounter) - int(b.Body.MessageCounter)
				}), "in order")
				require.EqualValues(t, 3, requests[len(requests)-1].Body.MessageCounter)
				attempt := 0
				for i, r := range requests {
					attempt++
					if i > 0 && r.Body.MessageCounter != requests[i-1].Body.MessageCounter {
						attempt = 1
					}
					require.Equal(t, strconv.Itoa(attempt), r.Header.Get("Parley-Attempt"))
				}
			}
		})
	}
}

// An endpoint that answers 410 is disabled. What comes then waits, and is
// delivered in order when the operator enables it again: the time until then
// uses up nothing of a message's schedule.
func TestGone(t *testing.T) {
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			shop := e2e.NewCustomerWith(t, s, "shop", "echo", []string{"--retry", "20ms,20ms"},
				webhooktest.WithScript(func(n int, _ *webhooktest.Received) webhooktest.Reply {
					switch n {
					case 1:
						return webhooktest.Reply{Status: http.StatusGone}
					case 2:
						return webhooktest.Reply{Status: http.StatusInternalServerError}
					}
					return webhooktest.Reply{}
				}))
			shop.Say("anna", "one")
			shop.Await(1)
			e2e.Await(t, func() string { return "the endpoint to be disabled" }, func(ctx context.Context) bool {
				e, err := s.Endpoint(ctx, shop.EndpointID)
				return err == nil && e.Disabled != ""
			})
			shop.Say("anna", "two")
			shop.Say("anna", "three")
			s.AwaitStatus("three parked messages", func(status *ops.Status) bool {
				return status.Stages[1].Stage == chat.StageBot && status.Stages[1].Parked.Messages == 3
			})
			require.Len(t, shop.All(), 1, "a disabled endpoint gets nothing")
			require.Contains(t, s.Parley("endpoint", "show", shop.EndpointID), "disabled: answered 410 Gone")

			s.Parley("endpoint", "enable", shop.EndpointID)
			s.AwaitIdle()
			require.Zero(t, s.CountDeadLetters())
			require.Equal(t, []string{"1/1", "1/2", "1/3", "2/1", "3/1"}, e2e.Tries(shop.Conversation("anna")))
		})
	}
}

// A message whose schedule is used up is a dead letter, with its history; its
// conversation goes on.
func TestDeadLetter(t *testing.T) {
	for _, topology := range e2e.Topologies() {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			shop := e2e.NewCustomerWith(t, s, "shop", "echo", []string{"--retry", "10ms,20ms"},
				webhooktest.WithScript(func(_ int, r *webhooktest.Received) webhooktest.Reply {
					if r.Body.MessageCounter == 1 {
						return webhooktest.Reply{Status: http.StatusInternalServerError, Body: "out of order"}
					}
					return webhooktest.Reply{}
				}))
			shop.Say("anna", "one")
			shop.Say("anna", "two")
			s.AwaitIdle()
			require.Equal(t, []string{"1/1", "1/2", "1/3", "2/1"}, e2e.Tries(shop.Conversation("anna")))

			var list, shown ops.DeadLetterPage
			s.Read(&list, "dead", "list", "--channel", "shop")
			require.Len(t, list.Items, 1)
			id := shop.All()[0].ID()
			require.Equal(t, id, list.Items[0].MessageID)
			s.Read(&shown, "dead", "show", id)
			require.Len(t, shown.Items, 1)
			dead := shown.Items[0]
			require.Equal(t, chat.StageBot, dead.Stage)
			require.Equal(t, "shop", dead.ChannelID)
			require.Equal(t, shop.EndpointID, dead.Destination)
			require.Equal(t, "anna", dead.ConversationID)
			require.EqualValues(t, 1, dead.MessageCounter)
			require.Equal(t, "exhausted", dead.Reason)
			require.JSONEq(t, `{"text":"one"}`, string(dead.Message))
			require.Equal(t, 3, dead.AttemptCount)
			require.Len(t, dead.Attempts, 3)
			for _, a := range dead.Attempts {
				require.Equal(t, http.StatusInternalServerError, a.Status)
				require.Equal(t, "out of order", a.Excerpt)
			}
			require.NotContains(t, s.Parley("dead", "show", id, "--json"), shop.VerifyToken)
			require.Contains(t, s.Parley("dead", "list"), id)
		})
	}
}
