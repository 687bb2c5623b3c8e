package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/services/ingest"
)

const ndjson = "application/x-ndjson"

// requireSlugs asserts what became of each line: "" for accepted, else the
// problem's slug.
func requireSlugs(t *testing.T, a answer, want ...string) {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, a.body)
	var got []string
	for _, l := range a.lines() {
		if strings.Contains(l, `"status":202`) {
			got = append(got, "")
			continue
		}
		p := parseProblem(t, l)
		got = append(got, p.Slug())
	}
	require.Equal(t, want, got, a.body)
}

func TestBatch(t *testing.T) {
	h := newHarness(t, nil)
	var body bytes.Buffer
	for i := range 1000 {
		line := text(fmt.Sprintf("c%d", i%37), fmt.Sprint(i))
		fmt.Fprintf(&body, "%s\r\n\n", line)
		if i < 3 {
			h.contract.requireSchema(t, "UserMessage", line)
		}
	}
	a := h.do(t, call{content: ndjson + "; charset=utf-8", body: body.String()})
	lines := a.lines()
	require.Len(t, lines, 1000)
	place := map[string]int{}
	for i, l := range lines {
		id, conversation := ids(t, answer{body: l})
		require.Contains(t, l, `"status":202`)
		require.Equal(t, fmt.Sprintf("c%d", i%37), conversation)
		place[id] = i
	}
	require.Len(t, place, 1000)
	stored := h.stored(t)
	require.Len(t, stored, 1000)
	last := map[string]int{}
	for _, m := range stored {
		require.GreaterOrEqual(t, place[m.ID], last[m.ConversationID], "in the lines' order")
		last[m.ConversationID] = place[m.ID]
		require.JSONEq(t, fmt.Sprintf(`{"text":"%d"}`, place[m.ID]), string(m.Input.Body))
	}
}

func TestBatchRefusesWhatFollowsABadLine(t *testing.T) {
	big := text("c1", strings.Repeat("x", 64<<10))
	twoKinds := `{"conversationId":"c1","message":{"introMessage":{},"textMessage":{"text":"a"}}}`
	byUser := `{"user":{"id":"c1"},"message":{}}`
	for name, tc := range map[string]struct {
		lines []string
		want  []string
	}{
		"all good":          {[]string{text("c1", "a"), text("c2", "b")}, []string{"", ""}},
		"breaks a rule":     {[]string{text("c1", "a"), twoKinds, text("c2", "b"), text("c1", "c")}, []string{"", "invalid", "", "conversation-blocked"}},
		"by user id":        {[]string{byUser, text("c2", "b"), text("c1", "c")}, []string{"invalid", "", "conversation-blocked"}},
		"blocked stays so":  {[]string{twoKinds, text("c1", "a"), twoKinds, text("c1", "b")}, []string{"invalid", "conversation-blocked", "conversation-blocked", "conversation-blocked"}},
		"not JSON":          {[]string{text("c1", "a"), `{"conv`, text("c2", "b"), text("c1", "c")}, []string{"", "not-json", "conversation-blocked", "conversation-blocked"}},
		"no conversation":   {[]string{`{"message":{"introMessage":{}}}`, text("c2", "b")}, []string{"invalid", "conversation-blocked"}},
		"two conversations": {[]string{`{"conversationId":"c1","user":{"id":"c2"},"message":{"introMessage":{}}}`, text("c3", "b")}, []string{"invalid", "conversation-blocked"}},
		"named twice":       {[]string{`{"conversationId":"c1","conversationId":"c2","message":{"introMessage":{}}}`, text("c3", "b")}, []string{"invalid", "conversation-blocked"}},
		"other spelling":    {[]string{`{"ConversationID":"c1","message":{"introMessage":{}}}`, text("c3", "b")}, []string{"invalid", "conversation-blocked"}},
		"line too large":    {[]string{text("c1", "a"), big, text("c2", "b")}, []string{"", "too-large", "conversation-blocked"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, nil)
			a := h.do(t, call{content: ndjson, body: strings.Join(tc.lines, "\n")})
			requireSlugs(t, a, tc.want...)
			good := 0
			for _, slug := range tc.want {
				if slug == "" {
					good++
				}
			}
			require.Len(t, h.stored(t), good)
		})
	}
}

func TestBatchIsRefusedAsAWhole(t *testing.T) {
	h := newHarness(t, nil)
	line := text("c1", "a") + "\n"
	for name, tc := range map[string]struct {
		call
		status int
		slug   string
	}{
		"too many lines": {call{body: strings.Repeat(line, 1001)}, 413, "too-many-lines"},
		"too large":      {call{body: strings.Repeat(strings.Repeat(" ", 1<<20)+"\n", 16)}, 413, "too-large"},
		"empty":          {call{body: "\n\n"}, 422, "invalid"},
		"no token":       {call{body: line, token: "-"}, 401, "unauthorized"},
		"other channel":  {call{body: line, token: h.app}, 403, "forbidden"},
		"charset":        {call{body: line, content: ndjson + "; charset=latin1"}, 415, "unsupported-media-type"},
		"bad key":        {call{body: line, key: "\t"}, 400, "invalid-idempotency-key"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.content = or(tc.content, ndjson)
			a := h.do(t, tc.call)
			require.Equal(t, tc.status, a.status, a.body)
			require.Equal(t, tc.slug, a.problem(t).Slug())
		})
	}
	require.Empty(t, h.stored(t))
}

func TestBatchStopsAConversationAtItsFirstFailure(t *testing.T) {
	var mu sync.Mutex
	var published []string
	h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) {
		d.Publisher = publisher(func(_ context.Context, m broker.Message) (uint64, error) {
			mu.Lock()
			defer mu.Unlock()
			if bytes.Contains(m.Data, []byte("fails")) {
				return 0, fmt.Errorf("%w: no", broker.ErrUnavailable)
			}
			published = append(published, m.Subject)
			return uint64(len(published)), nil
		})
	})
	a := h.do(t, call{content: ndjson, body: strings.Join([]string{
		text("c1", "1"), text("c2", "2"), text("c1", "fails"), text("c2", "4"), text("c1", "5"), text("c1", "6"),
	}, "\n")})
	requireSlugs(t, a, "", "", "broker-unavailable", "", "conversation-blocked", "conversation-blocked")
	require.Len(t, published, 3)
	require.Equal(t, "1", a.header.Get("Retry-After"))
}

// Conversations overlap; within one the next publish starts after the one
// before has ended.
func TestBatchPublishesConversationsSideBySide(t *testing.T) {
	const conversations = 8
	var mu sync.Mutex
	under := map[string]int{}
	twice, all, once := false, make(chan struct{}), sync.Once{}
	h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) {
		d.Publisher = publisher(func(ctx context.Context, m broker.Message) (uint64, error) {
			mu.Lock()
			under[m.Subject]++
			twice = twice || under[m.Subject] > 1
			if len(under) == conversations {
				once.Do(func() { close(all) })
			}
			mu.Unlock()
			defer func() {
				mu.Lock()
				under[m.Subject]--
				mu.Unlock()
			}()
			select {
			case <-all: // every conversation is at its first message
				return 1, nil
			case <-ctx.Done():
				return 0, errors.New("the conversations do not overlap")
			}
		})
	})
	var lines, want []string
	for i := range 4 * conversations {
		lines, want = append(lines, text(fmt.Sprint(i%conversations), "x")), append(want, "")
	}
	requireSlugs(t, h.do(t, call{content: ndjson, body: strings.Join(lines, "\n")}), want...)
	require.False(t, twice)
}

func TestBatchEndsInTime(t *testing.T) {
	h := newHarness(t, func(o *ingest.Options, d *ingest.Deps) {
		o.BatchTimeout = time.Nanosecond
	})
	a := h.do(t, call{content: ndjson, body: text("c1", "1") + "\n" + text("c1", "2")})
	requireSlugs(t, a, "broker-unavailable", "conversation-blocked")
	require.Empty(t, h.stored(t))
}

func TestTooManyBatches(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	h := newHarness(t, func(o *ingest.Options, d *ingest.Deps) {
		o.MaxBatches = 1
		d.Publisher = publisher(func(context.Context, broker.Message) (uint64, error) {
			entered <- struct{}{}
			<-release
			return 1, nil
		})
	})
	first := h.later(h.request(t, call{content: ndjson, body: text("c1", "hi")}))
	<-entered
	a := h.do(t, call{content: ndjson, body: text("c1", "hi")})
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Equal(t, "overloaded", a.problem(t).Slug())
	close(release)
	require.Equal(t, http.StatusOK, (<-first).status)
}
