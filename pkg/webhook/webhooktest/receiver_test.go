package webhooktest_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T) *webhook.Client {
	t.Helper()
	c, err := webhook.NewClient(webhook.Options{Guard: &webhook.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AnyPort: true}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestReceiverFollowsItsScript(t *testing.T) {
	open := make(chan struct{})
	r := webhooktest.New(t, webhooktest.WithScript(func(n int, m *webhooktest.Received) webhooktest.Reply {
		if n == 1 {
			return webhooktest.Reply{Status: 500, Until: open, Body: "later for " + m.ID()}
		}
		return webhooktest.Reply{}
	}))
	c := client(t)
	send := func(id, sender string) webhook.Result {
		return c.Do(t.Context(), webhook.Request{
			URL: r.ParsedURL(), MessageID: id, Attempt: 1, Body: webhook.RenderBody(sender, "", []byte(`{"text":"x"}`), 1, nil),
		})
	}
	first := make(chan webhook.Result, 1)
	go func() { first <- send("m1", "a") }()
	_, err := r.Wait(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, 200, send("m2", "b").Status, "one that waits holds up no other")
	close(open)
	result := <-first
	require.Equal(t, 500, result.Status)
	require.Equal(t, "later for m1", string(result.Excerpt))

	got := r.All()
	require.Equal(t, []string{"m1", "m2"}, []string{got[0].ID(), got[1].ID()})
	require.Equal(t, []int{1, 2}, []int{got[0].N, got[1].N})
	require.Equal(t, []*webhooktest.Received{got[1]}, r.Conversation("b"))
}

func TestWaitEndsWithItsContext(t *testing.T) {
	r := webhooktest.New(t, webhooktest.WithScript(webhooktest.Status(204)))
	require.Equal(t, 204, client(t).Do(t.Context(), webhook.Request{URL: r.ParsedURL(), Body: []byte("no JSON"), MessageID: "m"}).Status)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	got, err := r.Wait(ctx, 2)
	require.ErrorIs(t, err, enough)
	require.ErrorContains(t, err, "1 of 2")
	require.Len(t, got, 1)
	require.Error(t, got[0].BodyErr)
}
