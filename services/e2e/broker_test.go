package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// While the broker is down nothing is accepted, and who sends is told to come
// again. When it is back everything goes on by itself, and what was accepted
// arrives.
func TestBrokerStops(t *testing.T) {
	s := StartFourProcesses(t, binaries)
	shop := NewCustomer(t, s, "shop", "echo")
	shop.Say("anna", "before")
	shop.Await(1)
	shop.Say("anna", "just before") // may be on its way when the broker ends
	s.NATS.Kill()

	const messages = "/v1/channels/webhook/shop/messages"
	down := string(said(t, "bert", "down"))
	forms := map[string]func() *Answer{
		"message": func() *Answer {
			return s.MustPost(messages, shop.bearer("application/json"), down)
		},
		"legacy": func() *Answer {
			return s.MustPost("/api/webhookMessage/shop", map[string]string{"Content-Type": "application/json"},
				`{"text":"down","sender":{"id":"bert"},"verifyToken":"`+shop.VerifyToken+`"}`)
		},
		"actions": func() *Answer {
			return s.MustPost("/v1/bots/shop/conversations/bert/actions", shop.bearer("application/json"), `{"sendMessages":[{"text":"down"}]}`)
		},
		"batch": func() *Answer {
			return s.MustPost(messages, shop.bearer("application/x-ndjson"), down)
		},
	}
	answers := map[string]*Answer{}
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
			status = lineStatuses(t, a.Body)[0]
		} else {
			require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"), form)
		}
		require.Equal(t, http.StatusServiceUnavailable, status, "%s: %s", form, a.Body)
	}
	ingest := s.Services["ingest"].At.AdminURL
	require.Contains(t, binaries.Fail(t, nil, "health", "--url", ingest+"/readyz"), "broker")
	require.Equal(t, "ready\n", binaries.Run(t, nil, "health", "--url", ingest+"/livez"), "to restart ingest would not help")

	s.NATS.Start()
	await(t, func() string { return "ingest to take messages again" }, func(ctx context.Context) bool {
		a, err := post(ctx, s.PublicURL()+messages, shop.bearer("application/json"), said(t, "anna", "after"))
		require.NoError(t, err)
		require.Contains(t, []int{http.StatusAccepted, http.StatusServiceUnavailable}, a.Status, string(a.Body))
		return a.Status == http.StatusAccepted
	})
	shop.awaitText("anna", "after")
	s.AwaitIdle()

	// An answer of 503 means "perhaps not": what it was given for may have come.
	var heard []string
	for _, text := range shop.unrepeated("anna") {
		if len(heard) == 0 || heard[len(heard)-1] != text {
			heard = append(heard, text)
		}
	}
	require.Equal(t, []string{"before", "just before", "after"}, heard)
	require.Zero(t, s.deadLetters())
}

// unrepeated are the texts that a conversation got, without repeats of the
// last: of a message whose confirmation could not be recorded while the broker
// was down.
func (c *Customer) unrepeated(conversation string) []string {
	c.t.Helper()
	var texts []string
	for _, r := range c.Conversation(conversation) {
		if int(r.Body.MessageCounter) == len(texts) {
			continue
		}
		require.EqualValues(c.t, len(texts)+1, r.Body.MessageCounter)
		var m struct{ Text string }
		require.NoError(c.t, json.Unmarshal(r.Body.Message, &m))
		texts = append(texts, m.Text)
	}
	return texts
}

func (c *Customer) awaitText(conversation, text string) {
	c.t.Helper()
	await(c.t, func() string { return "the text " + text }, func(context.Context) bool {
		texts := c.unrepeated(conversation)
		return len(texts) > 0 && texts[len(texts)-1] == text
	})
}

// said is a message in the v1 form.
func said(t *testing.T, conversation, text string) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"conversationId": conversation, "message": map[string]any{"textMessage": map[string]string{"text": text}}})
	require.NoError(t, err)
	return body
}

func (c *Customer) bearer(contentType string) map[string]string {
	return map[string]string{"Content-Type": contentType, "Authorization": "Bearer " + c.Token}
}
