package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// A message's way is there to be read while it is under way, and when it is
// through; so are the attempts, and the conversation.
func TestTrace(t *testing.T) {
	for _, topology := range []e2e.Topology{{Name: "serve", Start: e2e.StartServe}, {Name: "four processes", Start: e2e.StartFourProcesses}} {
		t.Run(topology.Name, func(t *testing.T) {
			s := topology.Start(t, binaries)
			var open atomic.Bool
			shop := e2e.NewCustomerWith(t, s, "shop", "echo", []string{"--retry", "1h,1h"},
				webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
					if open.Load() {
						return webhooktest.Reply{}
					}
					return webhooktest.Reply{Status: http.StatusInternalServerError}
				}))
			var sent struct {
				MessageID string `json:"messageId"`
			}
			s.Read(&sent, "send", "--url", s.PublicURL(), "--channel", shop.Channel, "--token", shop.Token, "--conversation", "anna", `{"textMessage":{"text":"one"}}`)

			trace := awaitTrace(t, s, sent.MessageID, func(trace *ops.Trace) bool {
				return len(trace.Events) == 4 && len(trace.Waiting) == 1 && trace.Waiting[0].AttemptCount == 1
			})
			require.Equal(t, []ops.Happening{ops.HappenedAccepted, ops.HappenedBot, ops.HappenedMessage, ops.HappenedAttempt}, whatOf(trace))
			waiting := trace.Waiting[0]
			require.Equal(t, shop.EndpointID, waiting.Destination)
			require.NotEmpty(t, waiting.LastError)
			require.NotNil(t, waiting.DueAt)

			open.Store(true)
			s.Parley("lane", "retry-now", waiting.Lane)
			trace = awaitTrace(t, s, sent.MessageID, func(trace *ops.Trace) bool { return len(trace.Events) == 5 && len(trace.Waiting) == 0 })
			require.Equal(t, 2, trace.Events[4].Number)
			require.Equal(t, chat.OutcomeDelivered, trace.Events[4].Outcome)
			require.Len(t, trace.Outcomes, 2)
			answer := shop.Await(2)[1].ID()
			require.Equal(t, answer, trace.Outcomes[1].MessageID)
			require.Contains(t, s.Parley("trace", answer), "#1 at "+shop.EndpointID)

			var attempts ops.DeliveryPage
			s.Read(&attempts, "attempts", "--endpoint", shop.EndpointID)
			require.Len(t, attempts.Items, 2)
			require.Contains(t, s.Parley("conversation", "show", "shop", "anna"), shop.EndpointID+" delivered after 2 attempts (200)")

			var history struct {
				Rows []struct{ ID string }
			}
			read(t, s, shop, "/api/bots/shop/history/anna", &history)
			require.Len(t, history.Rows, 2)
			require.Equal(t, answer, history.Rows[0].ID)
			var variables map[string]any
			read(t, s, shop, "/api/sessionData/shop/anna/default", &variables)
		})
	}
}

func whatOf(trace *ops.Trace) (all []ops.Happening) {
	for _, e := range trace.Events {
		all = append(all, e.What)
	}
	return all
}

// awaitTrace waits until a message's trace is as wanted: the journal is written a
// moment later.
func awaitTrace(t *testing.T, s *e2e.System, id string, ok func(*ops.Trace) bool) (trace *ops.Trace) {
	t.Helper()
	var failed error
	e2e.Await(t, func() string { return fmt.Sprintf("the trace; it is %+v, %v", trace, failed) }, func(ctx context.Context) bool {
		trace = new(ops.Trace)
		_, failed = s.Get(ctx, ops.Root+"/messages/"+id+"/trace", trace)
		return failed == nil && ok(trace)
	})
	return trace
}

// read reads JSON from the public API.
func read(t *testing.T, s *e2e.System, c *e2e.Customer, path string, v any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.PublicURL()+path, http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+c.Token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, json.NewDecoder(resp.Body).Decode(v))
}
