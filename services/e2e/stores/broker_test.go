package stores

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/e2e"
)

// While the broker is down nothing is accepted, and who sends is told to come
// again. When it is back everything goes on by itself, and what was accepted
// arrives.
func TestBrokerStops(t *testing.T) {
	s := e2e.StartFourProcesses(t, binaries)
	shop := e2e.NewCustomer(t, s, "shop", "echo")
	shop.Say("anna", "before")
	shop.Await(1)
	shop.Say("anna", "just before") // may be on its way when the broker ends
	s.NATS.Kill()

	const messages = "/v1/channels/webhook/shop/messages"
	down := string(e2e.Said(t, "bert", "down"))
	forms := map[string]func() *e2e.Answer{
		"message": func() *e2e.Answer {
			return s.MustPost(messages, shop.Bearer("application/json"), down)
		},
		"legacy": func() *e2e.Answer {
			return s.MustPost("/api/webhookMessage/shop", map[string]string{"Content-Type": "application/json"},
				`{"text":"down","sender":{"id":"bert"},"verifyToken":"`+shop.VerifyToken+`"}`)
		},
		"actions": func() *e2e.Answer {
			return s.MustPost("/v1/bots/shop/conversations/bert/actions", shop.Bearer("application/json"), `{"sendMessages":[{"text":"down"}]}`)
		},
		"batch": func() *e2e.Answer {
			return s.MustPost(messages, shop.Bearer("application/x-ndjson"), down)
		},
	}
	answers := map[string]*e2e.Answer{}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for form, ask := range forms { // at once: each waits for the broker as long as it may
		asking.Go(func() {
			a := ask()
			mu.Lock()
			defer mu.Unlock()
			answers[form] = a
		})
	}
	asking.Wait()
	for form, a := range answers {
		seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
		require.NoError(t, err, "%s: Retry-After of %s", form, a.Body)
		require.Positive(t, seconds, form)
		status := a.Status
		if form == "batch" {
			require.Equal(t, http.StatusOK, a.Status)
			status = e2e.LineStatuses(t, a.Body)[0]
		} else {
			require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"), form)
		}
		require.Equal(t, http.StatusServiceUnavailable, status, "%s: %s", form, a.Body)
	}
	ingest := s.Services["ingest"].At.AdminURL
	require.Contains(t, binaries.Fail(t, nil, "health", "--url", ingest+"/readyz"), "broker")
	require.Equal(t, "ready\n", binaries.Run(t, nil, "health", "--url", ingest+"/livez"), "to restart ingest would not help")

	s.NATS.Start()
	e2e.Await(t, func() string { return "ingest to take messages again" }, func(ctx context.Context) bool {
		a, err := e2e.Post(ctx, s.PublicURL()+messages, shop.Bearer("application/json"), e2e.Said(t, "anna", "after"))
		require.NoError(t, err)
		require.Contains(t, []int{http.StatusAccepted, http.StatusServiceUnavailable}, a.Status, string(a.Body))
		return a.Status == http.StatusAccepted
	})
	awaitText(t, shop, "anna", "after")
	s.AwaitIdle()

	// An answer of 503 means "perhaps not": what it was given for may have come.
	var heard []string
	for _, text := range shop.Unrepeated("anna") {
		if len(heard) == 0 || heard[len(heard)-1] != text {
			heard = append(heard, text)
		}
	}
	require.Equal(t, []string{"before", "just before", "after"}, heard)
	require.Zero(t, s.CountDeadLetters())
}

func awaitText(t *testing.T, c *e2e.Customer, conversation, text string) {
	t.Helper()
	e2e.Await(t, func() string { return "the text " + text }, func(context.Context) bool {
		texts := c.Unrepeated(conversation)
		return len(texts) > 0 && texts[len(texts)-1] == text
	})
}
