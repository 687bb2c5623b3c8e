package ingest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/ledger/idempotency"
	"github.com/parleyhq/parley/services/ingest"
)

func TestRepeatIsAnsweredTheSameAndStoredOnce(t *testing.T) {
	h := newHarness(t, nil)
	const key = "order 1: ~!"
	legacy := `{"text":"hi","sender":{"id":"c1"},"verifyToken":"` + verifyShop + `"}`

	first, _ := h.good(t, call{body: text("c1", "hi"), key: key})
	for range 3 {
		again, conversation := h.good(t, call{body: text("c1", "hi"), key: key})
		require.Equal(t, first, again)
		require.Equal(t, "c1", conversation)
	}
	require.Len(t, h.stored(t), 1)

	for name, c := range map[string]call{
		"another body":         {body: text("c1", "ho")},
		"another conversation": {body: text("c2", "hi")},
		"another form":         {path: "/api/webhookMessage/pizza", body: legacy},
		"actions":              {path: "/v1/bots/pizza/conversations/c1/actions", body: `{"pauseBot":true,"channel":"shop"}`},
	} {
		t.Run(name, func(t *testing.T) {
			c.key = key
			a := h.do(t, c)
			require.Equal(t, http.StatusUnprocessableEntity, a.status)
			require.Equal(t, "idempotency-key-reused", a.problem(t).Slug())
		})
	}
	other, _ := h.good(t, call{path: "/v1/channels/webhook/app/messages", token: h.app, body: text("c1", "ho"), key: key})
	require.NotEqual(t, first, other, "another channel's keys are its own")
	require.Len(t, h.stored(t), 2)
}

func TestRepeatOfLegacyAndActions(t *testing.T) {
	h := newHarness(t, nil)
	legacy := call{path: "/api/webhookMessage/pizza", key: "k1", body: `{"text":"hi","sender":{"id":"c1"},"verifyToken":"` + verifyShop + `"}`}
	actions := call{path: "/v1/bots/solo/conversations/c1/actions", token: h.one, key: "k1", body: `{"pauseBot":true}`}
	for range 2 {
		require.Equal(t, "EVENT_RECEIVED", h.do(t, legacy).body)
	}
	first, _ := h.good(t, actions)
	again, _ := h.good(t, actions)
	require.Equal(t, first, again)
	require.Len(t, h.stored(t), 2)

	actions.path = "/v1/bots/solo/conversations/c2/actions"
	require.Equal(t, "idempotency-key-reused", h.do(t, actions).problem(t).Slug())
}

func TestRepeatOfABatchStoresWhatIsMissing(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) {
		real := d.Publisher
		d.Publisher = publisher(func(ctx context.Context, m broker.Message) (uint64, error) {
			if broken.Load() && strings.Contains(string(m.Data), "second") {
				return 0, broker.ErrFull
			}
			return real.Publish(ctx, m)
		})
	})
	batch := call{content: ndjson, key: "b1", body: strings.Join([]string{text("c1", "first"), text("c1", "second"), text("c1", "third"), text("c2", "other")}, "\n")}
	a := h.do(t, batch)
	requireSlugs(t, a, "", "store-full", "conversation-blocked", "")
	require.Equal(t, "5", a.header.Get("Retry-After"))

	broken.Store(false)
	again := h.do(t, batch)
	requireSlugs(t, again, "", "", "", "")
	require.Equal(t, a.lines()[0], again.lines()[0])
	require.Equal(t, a.lines()[3], again.lines()[3])
	require.Len(t, h.stored(t), 4)

	batch.body = strings.Replace(batch.body, "third", "3rd", 1)
	requireSlugs(t, h.do(t, batch), "", "", "idempotency-key-reused", "")
}

// held is a publisher that holds the first publish until it is released, and
// then lets it succeed or fail; the others succeed.
type held struct {
	count            atomic.Int64
	entered, release chan struct{}
	fails            bool
}

func newHeld(fails bool) *held {
	return &held{entered: make(chan struct{}), release: make(chan struct{}), fails: fails}
}

func (p *held) Publish(context.Context, broker.Message) (uint64, error) {
	if p.count.Add(1) > 1 {
		return 2, nil
	}
	close(p.entered)
	<-p.release
	if p.fails {
		return 0, broker.ErrUnavailable
	}
	return 1, nil
}

// watched tells how often keys were asked for.
type watched struct {
	ingest.Once
	began chan idempotency.State
}

func (w watched) Begin(ctx context.Context, channelID, key string, body [sha256.Size]byte) (idempotency.State, idempotency.Claim, error) {
	state, claim, err := w.Once.Begin(ctx, channelID, key, body)
	if err == nil {
		select {
		case w.began <- state:
		default:
		}
	}
	return state, claim, err
}

func TestRepeatWhileTheFirstIsUnderWay(t *testing.T) {
	for name, tc := range map[string]struct {
		fails     bool
		first     int
		published int64
	}{
		"which succeeds":                      {false, http.StatusAccepted, 1},
		"which fails, so the repeat takes it": {true, http.StatusServiceUnavailable, 2},
	} {
		t.Run(name, func(t *testing.T) {
			pub, began := newHeld(tc.fails), make(chan idempotency.State, 100)
			h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) {
				d.Publisher, d.Once = pub, watched{d.Once, began}
			})
			c := call{body: text("c1", "hi"), key: "k"}
			first := h.later(h.request(t, c))
			<-pub.entered
			require.Equal(t, idempotency.Claimed, <-began)
			second := h.later(h.request(t, c))
			require.Equal(t, idempotency.InProgress, <-began, "the repeat has seen that the first is under way")
			close(pub.release)

			require.Equal(t, tc.first, (<-first).status)
			a := <-second
			require.Equal(t, http.StatusAccepted, a.status, a.body)
			require.Equal(t, tc.published, pub.count.Load())
		})
	}
}

func TestRepeatGivesUpWaiting(t *testing.T) {
	pub := newHeld(false)
	h := newHarness(t, func(o *ingest.Options, d *ingest.Deps) { o.RepeatWait, d.Publisher = time.Millisecond, pub })
	c := call{body: text("c1", "hi"), key: "k"}
	first := h.later(h.request(t, c))
	<-pub.entered
	a := h.do(t, c)
	require.Equal(t, http.StatusConflict, a.status)
	require.Equal(t, "idempotency-key-in-progress", a.problem(t).Slug())
	require.Equal(t, "1", a.header.Get("Retry-After"))
	close(pub.release)
	require.Equal(t, http.StatusAccepted, (<-first).status)
	require.Equal(t, http.StatusAccepted, h.do(t, c).status)
	require.EqualValues(t, 1, pub.count.Load())
}

// The outcome is known to the repeat even where the first client has left.
func TestRepeatAfterTheClientLeft(t *testing.T) {
	pub := newHeld(false)
	h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) { d.Publisher = pub })
	c := call{body: text("c1", "hi"), key: "k"}
	ctx, leave := context.WithCancel(t.Context())
	first := h.later(h.request(t, c).WithContext(ctx))
	<-pub.entered
	leave()
	require.Zero(t, (<-first).status)
	close(pub.release)
	require.Equal(t, http.StatusAccepted, h.do(t, c).status)
	require.EqualValues(t, 1, pub.count.Load())
}

func TestRedisGone(t *testing.T) {
	h := newHarness(t, nil)
	h.redis.Close()
	first, _ := h.good(t, call{body: text("c1", "hi"), key: "k"})
	again, _ := h.good(t, call{body: text("c1", "hi"), key: "k"})
	require.Equal(t, first, again)
	require.Len(t, h.stored(t), 1, "the broker drops the quick repeat")

	h.good(t, call{body: text("c1", "another body"), key: "k"})
	require.Len(t, h.stored(t), 2, "and nothing else")
	h.good(t, call{body: text("c1", "hi")})

	require.Equal(t, 1, h.logs.FilterMessageSnippet("idempotency keys fails").Len(), "logged once")
	require.NoError(t, testutil.GatherAndCompare(h.metrics, strings.NewReader(`
# HELP parley_ingest_idempotency_errors_total Calls to the store of idempotency keys that failed; the service went on without it.
# TYPE parley_ingest_idempotency_errors_total counter
parley_ingest_idempotency_errors_total 3
`), "parley_ingest_idempotency_errors_total"))
}

// flaky fails while down is set.
type flaky struct {
	ingest.Once
	down *atomic.Bool
}

func (f flaky) Begin(ctx context.Context, channelID, key string, body [sha256.Size]byte) (idempotency.State, idempotency.Claim, error) {
	if f.down.Load() {
		return 0, idempotency.Claim{}, errors.New("gone")
	}
	return f.Once.Begin(ctx, channelID, key, body)
}

func TestRedisComesAndGoes(t *testing.T) {
	var down atomic.Bool
	h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) { d.Once = flaky{d.Once, &down} })
	for range 2 {
		down.Store(true)
		h.good(t, call{body: text("c1", "hi"), key: "k"})
		h.good(t, call{body: text("c1", "hi"), key: "k"})
		down.Store(false)
		h.good(t, call{body: text("c1", "hi"), key: "k"})
	}
	require.Equal(t, 2, h.logs.FilterMessageSnippet("idempotency keys fails").Len())
	require.Equal(t, 2, h.logs.FilterMessageSnippet("idempotency keys is back").Len())
	require.Len(t, h.stored(t), 1)
}

func TestKeysWithoutAStore(t *testing.T) {
	h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) { d.Once = nil })
	first, _ := h.good(t, call{body: text("c1", "hi"), key: "k"})
	again, _ := h.good(t, call{body: text("c1", "hi"), key: "k"})
	require.Equal(t, first, again)
	require.Len(t, h.stored(t), 1)
}
