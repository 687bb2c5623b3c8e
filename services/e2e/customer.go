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
	*Endpoint
	system *System

	Channel string
	Token   string
}

// Endpoint is a channel's endpoint: its configuration, and what listens there.
type Endpoint struct {
	*webhooktest.Receiver
	t testing.TB

	EndpointID  string
	VerifyToken string
	keys        []*webhook.Key
}

// arrivesWithin bounds the wait for what must arrive.
const arrivesWithin = time.Minute

// NewCustomer registers a bot of a kind, a channel for it, an endpoint and a
// token, with the commands that an operator uses.
func NewCustomer(t testing.TB, s *System, name, botKind string, options ...webhooktest.Option) *Customer {
	t.Helper()
	return NewCustomerWith(t, s, name, botKind, nil, options...)
}

// NewCustomerWith is NewCustomer with more flags of `parley endpoint create`.
func NewCustomerWith(t testing.TB, s *System, name, botKind string, flags []string, options ...webhooktest.Option) *Customer {
	t.Helper()
	c := &Customer{system: s, Channel: name}
	s.Parley("bot", "create", name, "--kind", botKind)
	s.Parley("channel", "create", name, "--bot", name)
	c.Endpoint = NewEndpoint(t, s, name, flags, options...)
	c.Token = s.NewToken(name)
	return c
}

// NewToken makes an access token of a channel.
func (s *System) NewToken(channel string) string {
	s.t.Helper()
	var made struct {
		Token string `json:"token"`
	}
	s.Read(&made, "token", "create", "--channel", channel)
	require.True(s.t, strings.HasPrefix(made.Token, "pat_"), "an access token begins with pat_")
	return made.Token
}

// NewEndpoint starts what listens and registers it at a channel.
func NewEndpoint(t testing.TB, s *System, channel string, flags []string, options ...webhooktest.Option) *Endpoint {
	t.Helper()
	e := &Endpoint{Receiver: webhooktest.New(t, options...), t: t, VerifyToken: "verify-" + channel}
	var made struct {
		ID      string        `json:"id"`
		Secrets []chat.Secret `json:"secrets"`
	}
	s.Read(&made, append([]string{
		"endpoint", "create", "--channel", channel, "--url", e.URL(), "--verify-token", e.VerifyToken,
	}, flags...)...)
	var err error
	e.EndpointID = made.ID
	e.keys, err = webhook.ParseSecrets(made.Secrets)
	require.NoError(t, err)
	require.NotEmpty(t, e.keys, "a new endpoint gets a signing secret")
	return e
}

// Say posts a text of a user with `parley send`.
func (c *Customer) Say(conversation, text string) {
	c.t.Helper()
	c.system.Parley("send", "--url", c.system.PublicURL(), "--channel", c.Channel, "--token", c.Token, "--conversation", conversation, text)
}

// Await waits until n deliveries have arrived in all, and requires of each that
// it is well-formed, signed, and has the verify token.
func (e *Endpoint) Await(n int) []*webhooktest.Received {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), arrivesWithin)
	defer cancel()
	all, err := e.Wait(ctx, n)
	require.NoError(e.t, err)
	for _, r := range all {
		require.NoError(e.t, r.BodyErr)
		require.NoError(e.t, webhook.Verify(e.keys, r.Header, r.Raw, r.At, 0), "the signature of delivery %d", r.N)
		require.Equal(e.t, e.VerifyToken, r.Body.VerifyToken)
		require.Equal(e.t, r.Body.SenderID, r.Body.Recipient.ID)
		require.Empty(e.t, r.Header.Get("Idempotency-Key"), "Go's client would repeat a POST with it by itself")
	}
	return all
}

// Texts are the texts that a conversation got, in the order of arrival; it
// requires that their counters are 1, 2, 3, …
func (e *Endpoint) Texts(conversation string) []string {
	e.t.Helper()
	var texts []string
	for i, r := range e.Conversation(conversation) {
		require.EqualValues(e.t, i+1, r.Body.MessageCounter, "the counter of delivery %d of conversation %s", i+1, conversation)
		var m chat.Message
		require.NoError(e.t, json.Unmarshal(r.Body.Message, &m))
		texts = append(texts, m.Text)
	}
	return texts
}
