package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// Customer is a customer of a [System]: a channel with its access token, and an
// endpoint that records what is delivered.
type Customer struct {
	*webhooktest.Receiver
	t      testing.TB
	system *System

	Channel     string
	Token       string
	VerifyToken string
	keys        []*webhook.Key
}

// arrivesWithin bounds the wait for what must arrive.
const arrivesWithin = time.Minute

// NewCustomer registers a bot of a kind, a channel for it, an endpoint and a
// token, with the commands that an operator uses.
func NewCustomer(t testing.TB, s *System, name, botKind string, options ...webhooktest.Option) *Customer {
	t.Helper()
	c := &Customer{
		Receiver: webhooktest.New(t, options...), t: t, system: s,
		Channel: name, VerifyToken: "verify-" + name,
	}
	s.Parley("bot", "create", name, "--kind", botKind)
	s.Parley("channel", "create", name, "--bot", name)
	var endpoint struct {
		Secrets []chat.Secret `json:"secrets"`
	}
	c.read(s.Parley("endpoint", "create", "--channel", name, "--url", c.URL(), "--verify-token", c.VerifyToken, "--json"), &endpoint)
	var err error
	c.keys, err = webhook.ParseSecrets(endpoint.Secrets)
	require.NoError(t, err)
	require.NotEmpty(t, c.keys, "a new endpoint gets a signing secret")
	var token struct {
		Token string `json:"token"`
	}
	c.read(s.Parley("token", "create", "--channel", name, "--json"), &token)
	require.True(t, strings.HasPrefix(token.Token, "pat_"), "an access token begins with pat_")
	c.Token = token.Token
	return c
}

func (c *Customer) read(output string, into any) {
	c.t.Helper()
	require.NoError(c.t, json.Unmarshal([]byte(output), into), "the command's JSON: %s", output)
}

// Say posts a text of a user with `parley send`.
func (c *Customer) Say(conversation, text string) {
	c.t.Helper()
	c.system.Parley("send", "--url", c.system.PublicURL(), "--channel", c.Channel, "--token", c.Token, "--conversation", conversation, text)
}

// Await waits until n deliveries have arrived in all, and requires of each that
// it is well-formed, signed, and has the verify token.
func (c *Customer) Await(n int) []*webhooktest.Received {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), arrivesWithin)
	defer cancel()
	all, err := c.Wait(ctx, n)
	require.NoError(c.t, err)
	for _, r := range all {
		require.NoError(c.t, r.BodyErr)
		require.NoError(c.t, webhook.Verify(c.keys, r.Header, r.Raw, r.At, 0), "the signature of delivery %d", r.N)
		require.Equal(c.t, c.VerifyToken, r.Body.VerifyToken)
		require.Equal(c.t, r.Body.SenderID, r.Body.Recipient.ID)
		require.Empty(c.t, r.Header.Get("Idempotency-Key"), "Go's client would repeat a POST with it by itself")
	}
	return all
}

// Texts are the texts that a conversation got, in the order of arrival; it
// requires that their counters are 1, 2, 3, …
func (c *Customer) Texts(conversation string) []string {
	c.t.Helper()
	var texts []string
	for i, r := range c.Conversation(conversation) {
		require.EqualValues(c.t, i+1, r.Body.MessageCounter, "the counter of delivery %d of conversation %s", i+1, conversation)
		var m chat.Message
		require.NoError(c.t, json.Unmarshal(r.Body.Message, &m))
		texts = append(texts, m.Text)
	}
	return texts
}
