package deliveryworker

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

func groups(targets []lane.Target) []string {
	var out []string
	for _, t := range targets {
		out = append(out, t.Lane.Group)
	}
	return out
}

func TestFanOut(t *testing.T) {
	r := newRig(t)
	none := r.message("c1", 1)
	require.Empty(t, r.route(none))
	unrouted := r.journal.with(chat.OutcomeUnrouted)
	require.Len(t, unrouted, 1)
	require.Empty(t, unrouted[0].EndpointID)
	require.EqualValues(t, 1, unrouted[0].Ordinal.Counter)
	require.EqualValues(t, 1, testutil.ToFloat64(r.h.metrics.outcomes[chat.OutcomeUnrouted]))

	r.endpoint("a", "https://example.com/a")
	r.endpoint("b", "https://example.com/b", func(e *chat.Endpoint) { e.Events = []string{chat.EventMessage} })
	require.Empty(t, r.route(r.message("c1", 1, func(m *chat.BotMessage) { m.Event = "typing" })), "no endpoint wants it")
	filtered := r.journal.with(chat.OutcomeFiltered)
	require.Len(t, filtered, 2)
	require.Equal(t, "a", filtered[0].EndpointID)
	require.Equal(t, "b", filtered[1].EndpointID)
	require.Len(t, r.journal.with(chat.OutcomeUnrouted), 1, "filtered is not unrouted")
	wanted := r.message("c1", 2)
	targets := r.route(wanted)
	require.Equal(t, []string{"a", "b"}, groups(targets))
	require.Len(t, r.journal.with(chat.OutcomeFiltered), 2)
	for _, target := range targets {
		require.Equal(t, chat.KeyOf(channel, "c1"), target.Lane.Key)
		require.Equal(t, chat.Ordinal{Epoch: 1, Counter: 2, InputAt: 2}, target.Place)
		restored := r.task(wanted, target.Lane.Group, 1)
		require.Equal(t, target, restored.Target)
	}
	wanted.Replay = &lane.Replay{ID: "r1", To: "b"}
	require.Equal(t, []string{"b"}, groups(r.route(wanted)), "a replay is for one")
	event := r.message("c1", 3, func(m *chat.BotMessage) { m.Event = "typing" })
	event.Replay = &lane.Replay{ID: "r1", To: "b"}
	require.Equal(t, []string{"b"}, groups(r.route(event)), "whatever it wants by now")
	_, err := r.h.Route(t.Context(), &lane.Message{Data: []byte("\xff")})
	require.Error(t, err)
	_, err = r.h.Restore(&lane.Message{Data: []byte("\xff")}, "a")
	require.Error(t, err)
}

func TestEndpointOfALaterConfiguration(t *testing.T) {
	r := newRig(t)
	other := r.open() // where the endpoint is made
	r.endpoint("a", "https://example.com/a")
	_, revision, err := other.PutEndpoint(t.Context(), chat.Endpoint{
		ID: "b", ChannelID: channel, URL: "https://example.com/b", VerifyToken: "t",
	}, registry.Absent)
	require.NoError(t, err)
	m := r.message("c1", 1, func(m *chat.BotMessage) { m.ConfigRevision = revision })
	require.Equal(t, []string{"a", "b"}, groups(r.route(m)))
}

func TestAttempts(t *testing.T) {
	r := newRig(t)
	replies := []webhooktest.Reply{
		{Status: http.StatusInternalServerError, Body: "oops"},
		{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"120"}}},
		{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"86400"}}},
		{Status: http.StatusFound, Header: http.Header{"Location": {"/elsewhere"}}},
		{Fault: webhooktest.Reset},
		{Status: http.StatusNoContent},
	}
	customer := webhooktest.New(t, webhooktest.WithScript(func(n int, _ *webhooktest.Received) webhooktest.Reply { return replies[n-1] }))
	e := r.endpoint("a", customer.URL())
	keys, err := webhook.ParseSecrets(e.Secrets)
	require.NoError(t, err)
	m := r.message("c1", 7, func(m *chat.BotMessage) { m.NLP = []byte(`{"intent":{"name":"hi","score":1}}`) })
	for i, want := range []string{
		"retry after 0s: HTTP 500", "retry after 2m0s: HTTP 503", "retry after 1h0m0s: HTTP 429", "retry after 0s: HTTP 302", "retry after 0s: reset: ", "done",
	} {
		require.Contains(t, r.h.Handle(t.Context(), r.task(m, "a", i+1)).String(), want)
	}
	got := customer.All()
	require.Len(t, got, len(replies))
	for i, p := range got {
		require.Equal(t, string(got[0].Raw), string(p.Raw), "the same bytes on each attempt")
		require.Equal(t, got[0].ID(), p.ID())
		require.Equal(t, string(rune('1'+i)), p.Header.Get("Parley-Attempt"))
		require.NoError(t, webhook.Verify(keys, p.Header, p.Raw, p.At, 0))
	}
	require.JSONEq(t, `{"senderId":"c1","recipient":{"id":"c1"},"verifyToken":"verify-me","message":{"text":"7"},"messageCounter":7,"nlp":{"intent":{"name":"hi","score":1}}}`, string(got[0].Raw))
}

func TestInterruptedAttemptSaysNothing(t *testing.T) {
	r := newRig(t)
	ctx, cut := context.WithCancel(t.Context())
	customer := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		cut()
		return webhooktest.Reply{Until: make(chan struct{})}
	}))
	r.endpoint("a", customer.URL())
	require.Contains(t, r.h.Handle(ctx, r.task(r.message("c1", 1), "a", 1)).String(), "stall: ")
	require.Empty(t, r.journal.deliveries)
}

func TestWhatExpiryDependsOn(t *testing.T) {
	r := newRig(t)
	r.endpoint("a", "https://example.com/a", func(e *chat.Endpoint) { e.ExpireAfter, e.Supersede = chat.Duration(time.Minute), true })
	require.Equal(t, time.Minute, r.h.Policy("a").ExpireAfter)
	require.True(t, r.h.Policy("a").Supersede)
	made, until := time.UnixMilli(5_000).UTC(), time.UnixMilli(9_000).UTC()
	task := r.task(r.message("c1", 1, func(m *chat.BotMessage) {
		m.CreatedAt, m.ExpiresAt, m.Supersede = made, until, true
	}), "a", 1)
	require.Equal(t, made, task.Created)
	require.Equal(t, until, task.Expires)
	require.True(t, task.Supersede)
	require.Equal(t, "expired", r.h.Expire(t.Context(), task).String())
}

func TestRemovedEndpoint(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t)
	r.endpoint("a", customer.URL())
	require.Equal(t, "done", r.h.Handle(t.Context(), r.task(r.message("c1", 1), "a", 1)).String())
	_, err := r.registry.DeleteEndpoint(t.Context(), "a", registry.Present)
	require.NoError(t, err)
	task := r.task(r.message("c1", 2), "a", 1)
	require.Equal(t, "dead, endpoint_removed: endpoint a does not exist any more", r.h.Handle(t.Context(), task).String())
	require.NotEmpty(t, r.h.Policy("a").Schedule)
	_, kept := r.h.routes.known.Load("a")
	require.False(t, kept, "its keys are forgotten")

	// What can't be asked is not known to be removed.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Contains(t, r.h.Handle(ctx, task).String(), "stall: ")
}

func TestEndpointThatIsNotAllowedHereWaits(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t)
	r.endpoint("a", customer.URL())
	r.h.routes = newRoutes(&webhook.Guard{}, r.h.circuitOf) // started without --allow-cidrs
	m := r.message("c1", 1)
	require.Contains(t, r.h.Handle(t.Context(), r.task(m, "a", 1)).String(), "retry after 0s: the URL: ")
	require.Empty(t, customer.All())
	r.h.routes = newRoutes(r.guard, r.h.circuitOf)
	require.Equal(t, "done", r.h.Handle(t.Context(), r.task(m, "a", 2)).String())
}

func TestRouteFollowsTheConfiguration(t *testing.T) {
	r := newRig(t)
	e := r.endpoint("a", "https://example.com/a")
	made := r.h.routes.of(e)
	require.Same(t, made, r.h.routes.of(e))
	require.Equal(t, "https://example.com/a", made.target.Request().URL.String())
	require.Empty(t, r.h.Policy("a").Closed)

	e = r.endpoint("a", "", func(e *chat.Endpoint) {
		e.URL, e.Disabled, e.OnExhausted, e.MaxInFlight = "https://example.com/b", "paused", "hold", 3
		e.Retry = []chat.Duration{chat.Duration(time.Second)}
	})
	require.Equal(t, "https://example.com/b", r.h.routes.of(e).target.Request().URL.String())
	p := r.h.Policy("a")
	require.Equal(t, "paused", p.Closed)
	require.True(t, p.Hold)
	require.Equal(t, 3, p.MaxInFlight)
	require.Equal(t, time.Second, p.Schedule.Total())
}

func TestGone(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t, webhooktest.WithScript(webhooktest.Status(http.StatusGone)))
	r.endpoint("a", customer.URL())
	m := r.message("c1", 1)
	require.Contains(t, r.h.Handle(t.Context(), r.task(m, "a", 1)).String(), "retry after 0s: HTTP 410")
	e, ok := r.registry.Snapshot().Endpoint("a")
	require.True(t, ok)
	require.Equal(t, answeredGone, e.Disabled)
	require.Equal(t, answeredGone, r.h.Policy("a").Closed)
	require.EqualValues(t, 1, testutil.ToFloat64(r.h.metrics.disabled[disabledGone]))
}

func TestGoneKeepsAChangeMadeMeanwhile(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		// The operator moves the endpoint while the attempt is under way.
		r.endpoint("a", "", func(e *chat.Endpoint) { e.URL = "https://example.com/moved" })
		return webhooktest.Reply{Status: http.StatusGone}
	}))
	r.endpoint("a", customer.URL())
	require.Contains(t, r.h.Handle(t.Context(), r.task(r.message("c1", 1), "a", 1)).String(), "retry after 0s: HTTP 410")
	e, _ := r.registry.Snapshot().Endpoint("a")
	require.Equal(t, "https://example.com/moved", e.URL)
	require.Empty(t, e.Disabled)
	require.Zero(t, testutil.ToFloat64(r.h.metrics.disabled[disabledGone]))
}

func TestGoneThatCanNotBeStored(t *testing.T) {
	r := newRig(t)
	r.h.Directory = refusing{r.registry}
	customer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }))
	t.Cleanup(customer.Close)
	r.endpoint("a", customer.URL)
	require.Contains(t, r.h.Handle(t.Context(), r.task(r.message("c1", 1), "a", 1)).String(), "retry after 0s: HTTP 410")
	require.Zero(t, testutil.ToFloat64(r.h.metrics.disabled[disabledGone]))
}

// refusing is a configuration that takes no endpoint.
type refusing struct{ *registry.Registry }

func (refusing) PutEndpoint(context.Context, chat.Endpoint, registry.Expect) (chat.Endpoint, uint64, error) {
	return chat.Endpoint{}, 0, errors.New("no broker")
}

func TestJumps(t *testing.T) {
	r := newRig(t)
	r.endpoint("a", "https://example.com/a", func(e *chat.Endpoint) { e.Events = []string{chat.EventUserMessage} }) // no message
	count := func() float64 { return testutil.ToFloat64(r.h.metrics.jumps) }
	see := func(conversation string, epoch, counter uint64) {
		require.Empty(t, r.route(r.message(conversation, counter, func(m *chat.BotMessage) { m.Ordinal.Epoch = epoch })))
	}
	see("c1", 1, 3) // the first that is seen
	see("c1", 1, 4)
	see("c1", 1, 3) // delivered again
	see("c1", 1, 5)
	see("c1", 2, 1) // a new session
	see("c2", 1, 1)
	require.Zero(t, count())
	see("c1", 2, 3)
	require.EqualValues(t, 1, count(), "seen before filters")
	replay := r.message("c1", 9)
	replay.Replay = &lane.Replay{ID: "r1"}
	r.route(replay)
	require.EqualValues(t, 1, count())

	// Another worker had the partition meanwhile.
	_, err := r.h.open(t.Context(), 0)
	require.NoError(t, err)
	see("c2", 1, 7)
	see("c2", 1, 8)
	require.EqualValues(t, 1, count())
	problems, err := testutil.GatherAndLint(r.metrics)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestJumpsAreBounded(t *testing.T) {
	j := jumps{last: map[chat.ConversationKey]chat.Ordinal{}}
	for i := range watched + 10 {
		require.False(t, j.seen(chat.ConversationKey{byte(i), byte(i >> 8), byte(i >> 16)}, chat.Ordinal{Epoch: 1, Counter: 1}))
	}
	require.LessOrEqual(t, len(j.last), watched)
}
