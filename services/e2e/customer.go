package e2e

import (
	"context"
	"encoding/json"
	"strconv"
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

// Tries are the requests of a conversation as "counter/attempt", in order.
func Tries(requests []*webhooktest.Received) []string {
	out := make([]string, len(requests))
	for i, r := range requests {
		out[i] = strconv.FormatUint(r.Body.MessageCounter, 10) + "/" + r.Header.Get("Parley-Attempt")
	}
	return out
}

// InFlight is how many POSTs to a patient endpoint are under way at once.
const InFlight = 64

// Patient is a schedule that a message doesn't use up: 50 attempts that fail
// with a chance of 0.2 each are one in 10^35. Its delays are short.
func Patient() []string {
	delays := []string{"10ms", "20ms", "50ms", "100ms"}
	for len(delays) < 50 {
		delays = append(delays, "200ms")
	}
	return []string{"--retry", strings.Join(delays, ","), "--max-in-flight", strconv.Itoa(InFlight)}
}

// Text is what a delivery of a text says.
func Text(t testing.TB, r *webhooktest.Received) string {
	t.Helper()
	var m chat.Message
	if err := json.Unmarshal(r.Body.Message, &m); err != nil {
		t.Errorf("message %s: %v", r.Body.Message, err)
	}
	return m.Text
}

// Said is a message in the v1 form.
func Said(t testing.TB, conversation, text string) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"conversationId": conversation, "message": map[string]any{"textMessage": map[string]string{"text": text}}})
	require.NoError(t, err)
	return body
}

// Bearer is the header of a request with the customer's token.
func (c *Customer) Bearer(contentType string) map[string]string {
	return map[string]string{"Content-Type": contentType, "Authorization": "Bearer " + c.Token}
}

// Unrepeated are the texts that a conversation got, without repeats of the
// last: of a message whose confirmation could not be recorded while the broker
// was down.
func (c *Customer) Unrepeated(conversation string) []string {
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
