package deliveryworker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// TestOneThatHangsHoldsNobodyUp: an endpoint that answers nothing gets half of all
// deliveries, more than the windows of all partitions and the worker's places
// hold. The other one gets all of its own meanwhile, and the first no more at once
// than its cap; what waits for it is delivered, in order, once it answers.
func TestOneThatHangsHoldsNobodyUp(t *testing.T) {
	const conversations, messages = 700, 2
	r := newRig(t)
	answers := make(chan struct{})
	hangs := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		return webhooktest.Reply{Until: answers}
	}))
	well := webhooktest.New(t)
	r.endpoint("hangs", hangs.URL(), func(e *chat.Endpoint) { e.Timeout = chat.Duration(time.Minute) }) // so that no attempt ends by itself
	r.endpoint("well", well.URL())
	r.start()
	for n := range uint64(messages) {
		for c := range conversations {
			conversation := fmt.Sprint("c", c)
			r.publish(conversation, r.message(conversation, n+1))
		}
	}
	require.Eventually(t, func() bool { return len(well.All()) == conversations*messages }, 50*time.Second, 20*time.Millisecond,
		"what goes to others waits for the one that hangs")
	require.NotEmpty(t, hangs.All())
	require.LessOrEqual(t, len(hangs.All()), lane.DefaultInFlight)
	for _, d := range r.journal.with(chat.OutcomeDelivered) {
		require.Equal(t, "well", d.EndpointID)
	}

	close(answers)
	last := map[string]uint64{}
	for _, d := range r.journal.await(t, chat.OutcomeDelivered, 2*conversations*messages) {
		name := d.EndpointID + " " + d.ConversationID
		require.Equal(t, last[name]+1, d.Ordinal.Counter, name)
		last[name]++
	}
	require.Empty(t, r.journal.with(chat.OutcomeRetry))
}
