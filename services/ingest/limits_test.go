package ingest_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/ratelimit"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/services/ingest"
)

const slow = 2 // messages that a limit of a test lets through

// slowly is a rate that gives nothing more for as long as a test runs.
func slowly() chat.Rate { return chat.Rate{Count: 1, Per: time.Minute, Burst: slow} }

func newLimited(t *testing.T, limits ingest.Limits) *harness {
	t.Helper()
	return newHarness(t, func(o *ingest.Options, d *ingest.Deps) {
		o.Limits = limits
		d.Limiter = ratelimit.New(ratelimit.Options{Log: zap.NewNop(), Metrics: prometheus.NewRegistry()})
	})
}

func (h *harness) requireLimited(t *testing.T, c call, whose string) {
	t.Helper()
	a := h.do(t, c)
	require.Equal(t, http.StatusTooManyRequests, a.status, a.body)
	p := a.problem(t)
	require.Equal(t, "rate-limited", p.Slug())
	require.Contains(t, p.Detail, "the "+whose+" sends more than 1/m:2")
	wait, err := strconv.Atoi(a.header.Get("Retry-After"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, wait, 1)
	require.LessOrEqual(t, wait, 60)
	require.Contains(t, a.header.Get("RateLimit-Policy"), `"`+whose+`";q=2;w=120`)
	require.Contains(t, a.header.Get("RateLimit"), `"`+whose+`";r=0;t=`)
}

// Each limit refuses its own and nobody else, in every form.
func TestLimits(t *testing.T) {
	legacy := func(conversation string) call {
		return call{path: "/api/webhookMessage/pizza", token: "-", body: `{"text":"hi","sender":{"id":"` + conversation + `"},"verifyToken":"` + verifyShop + `"}`}
	}
	actions := func(conversation string) call {
		return call{path: "/v1/bots/solo/conversations/" + conversation + "/actions", body: `{"pauseBot":true}`}
	}
	for name, test := range map[string]struct {
		limits ingest.Limits
		whose  string
		over   func(h *harness, i int) call // must be over its limit after slow calls
		beside func(h *harness) call        // must not
	}{
		"conversation": {
			ingest.Limits{Conversation: slowly()},
			"conversation",
			func(*harness, int) call { return call{body: text("c", "hi")} },
			func(*harness) call { return call{body: text("d", "hi")} },
		},
		"channel": {
			ingest.Limits{Channel: slowly()},
			"channel",
			func(_ *harness, i int) call { return call{body: text(fmt.Sprint(i), "hi")} },
			func(h *harness) call {
				return call{path: "/v1/channels/webhook/app/messages", token: h.app, body: text("c", "hi")}
			},
		},
		"token": {
			ingest.Limits{Token: slowly()},
			"token",
			func(_ *harness, i int) call { return call{body: text(fmt.Sprint(i), "hi")} },
			func(*harness) call { return legacy("c") },
		},
		"legacy form": {
			ingest.Limits{Channel: slowly()},
			"channel",
			func(_ *harness, i int) call { return legacy(fmt.Sprint(i)) },
			func(h *harness) call {
				return call{path: "/v1/channels/webhook/app/messages", token: h.app, body: text("c", "hi")}
			},
		},
		"actions": {
			ingest.Limits{Conversation: slowly()},
			"conversation",
			func(h *harness, _ int) call { c := actions("c"); c.token = h.one; return c },
			func(h *harness) call { c := actions("d"); c.token = h.one; return c },
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newLimited(t, test.limits)
			for i := range slow {
				a := h.do(t, test.over(h, i))
				require.Less(t, a.status, 300, a.body)
				require.Contains(t, a.header.Get("RateLimit"), fmt.Sprintf(`"%s";r=%d;t=`, test.whose, slow-1-i))
				require.Empty(t, a.header.Get("Retry-After"))
			}
			h.requireLimited(t, test.over(h, slow), test.whose)
			a := h.do(t, test.beside(h))
			require.Less(t, a.status, 300, a.body)
			require.Len(t, h.stored(t), slow+1)
			refused := 0.0
			for _, form := range []string{"message", "legacy", "actions"} {
				refused += h.refused(t, form, "rate-limited")
			}
			require.Equal(t, 1.0, refused)
		})
	}
}

// A channel or a token may have limits of its own, more or less or none.
func TestOwnLimits(t *testing.T) {
	h := newLimited(t, ingest.Limits{Channel: slowly(), Conversation: slowly(), Token: slowly()})
	rate := slowly()
	put := func(c chat.Channel) {
		_, err := h.registry.PutChannel(t.Context(), c, registry.Any)
		require.NoError(t, err)
	}
	clear, token := registry.NewToken("shop", "free", time.Now())
	token.Limit = &chat.Rate{}
	_, err := h.registry.PutToken(t.Context(), token, registry.Absent)
	require.NoError(t, err)
	put(chat.Channel{ID: "shop", BotID: "pizza", Limit: &chat.Rate{}, ConversationLimit: &chat.Rate{}})
	for range 2 * slow {
		a := h.do(t, call{token: clear, body: text("c", "hi")})
		require.Equal(t, http.StatusAccepted, a.status, a.body)
		require.Empty(t, a.header.Get("RateLimit-Policy"), "nothing limits it")
	}
	put(chat.Channel{ID: "shop", BotID: "pizza", Limit: &rate, ConversationLimit: &chat.Rate{}})
	for range slow {
		require.Equal(t, http.StatusAccepted, h.do(t, call{token: clear, body: text("c", "hi")}).status)
	}
	h.requireLimited(t, call{token: clear, body: text("c", "hi")}, "channel")
}

// What is refused by one limit doesn't use up the others.
func TestRefusedByOne(t *testing.T) {
	h := newLimited(t, ingest.Limits{Conversation: slowly(), Channel: slowly()})
	for i := range slow {
		require.Equal(t, http.StatusAccepted, h.do(t, call{body: text(fmt.Sprint(i), "hi")}).status)
	}
	for range 3 {
		h.requireLimited(t, call{body: text("c", "hi")}, "channel")
	}
	off := chat.Rate{}
	_, err := h.registry.PutChannel(t.Context(), chat.Channel{ID: "shop", BotID: "pizza", Limit: &off}, registry.Any)
	require.NoError(t, err)
	for range slow {
		require.Equal(t, http.StatusAccepted, h.do(t, call{body: text("c", "hi")}).status, "the conversation has sent nothing yet")
	}
	h.requireLimited(t, call{body: text("c", "hi")}, "conversation")
}

// A repeat under its key is answered as before, and is no message more.
func TestLimitAndRepeat(t *testing.T) {
	h := newLimited(t, ingest.Limits{Channel: slowly()})
	first, _ := h.good(t, call{body: text("c", "hi"), key: "k"})
	for range 3 {
		again, _ := h.good(t, call{body: text("c", "hi"), key: "k"})
		require.Equal(t, first, again)
	}
	h.good(t, call{body: text("c", "two"), key: "k2"})
	h.requireLimited(t, call{body: text("c", "three"), key: "k3"}, "channel")
	h.requireLimited(t, call{body: text("c", "three"), key: "k3"}, "channel") // the key is free, not taken by the refusal
}

// In a batch what is over the limit is refused by itself, and so are the later
// lines of its conversation.
func TestLimitsInABatch(t *testing.T) {
	h := newLimited(t, ingest.Limits{Conversation: slowly()})
	a := h.do(t, call{content: ndjson, body: strings.Join([]string{
		text("a", "1"), text("b", "1"), text("a", "2"), text("a", "3"), text("b", "2"), text("a", "4"), text("c", "1"),
	}, "\n")})
	requireSlugs(t, a, "", "", "", "rate-limited", "", "conversation-blocked", "")
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Empty(t, a.header.Get("RateLimit-Policy"), "many conversations")

	h = newLimited(t, ingest.Limits{Channel: chat.Rate{Count: 1, Per: time.Minute, Burst: 100}})
	var body bytes.Buffer
	for i := range 300 {
		fmt.Fprintln(&body, text(fmt.Sprintf("c%d", i%30), strconv.Itoa(i/30)))
	}
	a = h.do(t, call{content: ndjson, body: body.String()})
	require.Equal(t, `"channel";q=100;w=6000`, a.header.Get("RateLimit-Policy"))
	last := map[string]int{} // conversation → lines accepted; nothing behind a refused one
	for i, line := range a.lines() {
		conversation := fmt.Sprintf("c%d", i%30)
		if strings.Contains(line, `"status":202`) {
			require.Equal(t, i/30, last[conversation], line)
			last[conversation]++
		}
	}
	stored := h.stored(t)
	require.Len(t, stored, 100)
}

// Off is the default, and costs nothing.
func TestNoLimits(t *testing.T) {
	h := newLimited(t, ingest.Limits{})
	a := h.do(t, call{body: text("c", "hi")})
	require.Equal(t, http.StatusAccepted, a.status)
	require.Empty(t, a.header.Get("RateLimit-Policy"))
	require.Empty(t, a.header.Get("RateLimit"))
}

// asked is a limiter that says no, after so many.
type asked struct{ left int }

func (a *asked) Take(string, chat.Rate, int) ratelimit.Decision {
	if a.left--; a.left < 0 {
		return ratelimit.Decision{Wait: 1500 * time.Millisecond, Reset: 10 * time.Second}
	}
	return ratelimit.Decision{Granted: 1, Remaining: a.left, Reset: 2500 * time.Millisecond}
}

func (*asked) GiveBack(string, chat.Rate, int) {}

// Seconds are rounded up, so that who waits so long gets through.
func TestLimitTimesAreRoundedUp(t *testing.T) {
	h := newHarness(t, func(o *ingest.Options, d *ingest.Deps) {
		o.Limits.Channel = chat.Rate{Count: 4, Per: time.Second, Burst: 6}
		d.Limiter = &asked{left: 1}
	})
	a := h.do(t, call{body: text("c", "hi")})
	require.Equal(t, `"channel";r=0;t=3`, a.header.Get("RateLimit"))
	require.Equal(t, `"channel";q=6;w=2`, a.header.Get("RateLimit-Policy"))
	a = h.do(t, call{body: text("c", "hi")})
	require.Equal(t, "2", a.header.Get("Retry-After"))
	a = h.do(t, call{content: ndjson, body: text("c", "hi")})
	require.Equal(t, "2", a.header.Get("Retry-After"))
}
