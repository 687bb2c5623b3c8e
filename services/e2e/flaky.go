package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// Flaky is how an endpoint answers that fails a share of its requests: which,
// depends on the seed, the message and the attempt alone. It remembers what
// each conversation got.
type Flaky struct {
	Seed  uint64
	Share float64 // of the requests that fail

	mu        sync.Mutex
	requests  map[string][]Request // by conversation, in the order of arrival
	total     int
	failed    int
	confirmed map[string]int // by text
	changed   chan struct{}  // closed and replaced at each confirmation
	broken    []string       // requests that could not be understood
}

// Request is one POST as the flaky endpoint saw it.
type Request struct {
	ID        string
	Counter   uint64
	Number    int // that the conversation said
	Attempt   string
	Confirmed bool
}

// NewFlaky makes an endpoint's script.
func NewFlaky(seed uint64, share float64) *Flaky {
	return &Flaky{Seed: seed, Share: share, requests: map[string][]Request{}, confirmed: map[string]int{}, changed: make(chan struct{})}
}

// Answer is the webhooktest.Script.
func (f *Flaky) Answer(_ int, r *webhooktest.Received) webhooktest.Reply {
	var m chat.Message
	err := json.Unmarshal(r.Body.Message, &m)
	said, n, nerr := number(m.Text)
	attempt := r.Header.Get("Parley-Attempt")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total++
	if err != nil || nerr != nil || r.SignatureErr != nil || said != r.Body.SenderID {
		f.broken = append(f.broken, fmt.Sprintf("%s: %v %v %v", r.Raw, err, nerr, r.SignatureErr))
		return webhooktest.Reply{Status: http.StatusBadRequest}
	}
	fails := f.fails(fmt.Sprintf("%s %d %s", said, r.Body.MessageCounter, attempt))
	f.requests[said] = append(f.requests[said], Request{
		ID: r.ID(), Counter: r.Body.MessageCounter, Number: n, Attempt: attempt, Confirmed: !fails,
	})
	if fails {
		f.failed++
		return webhooktest.Reply{Status: http.StatusInternalServerError}
	}
	f.confirmed[m.Text]++
	close(f.changed)
	f.changed = make(chan struct{})
	return webhooktest.Reply{}
}

func (f *Flaky) fails(request string) bool {
	h := fnv.New64a()
	_, _ = h.Write([]byte(request)) // never fails
	return rand.New(rand.NewPCG(f.Seed, h.Sum64())).Float64() < f.Share
}

// AwaitConfirmed waits until n different messages are confirmed.
func (f *Flaky) AwaitConfirmed(ctx context.Context, n int) error {
	for {
		f.mu.Lock()
		got, total, changed := len(f.confirmed), f.total, f.changed
		f.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d messages confirmed, by %d requests: %w", got, n, total, context.Cause(ctx))
		}
	}
}

// Inspect requires of every conversation that it got its counters from 1 on
// without a gap, each for the first time after the one before was confirmed;
// that a message is not repeated once its successor was attempted, and once at
// most; and that what came is what was said, in that order, again only where
// its answer had been lost.
func Inspect(t testing.TB, f *Flaky, crowd *Crowd) Seen {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Empty(t, f.broken, "requests that break the contract")
	require.Len(t, f.requests, crowd.Conversations)
	all := Seen{Requests: f.total, Failed: f.failed}
	for conversation, requests := range f.requests {
		var done []Request // the confirmed message of each counter
		repeats := 0
		for i, r := range requests {
			n := len(done)
			if n > 0 && r.Counter == done[n-1].Counter { // the last one again
				require.Equal(t, done[n-1].ID, r.ID, "%s: request %d repeats message %d under another id", conversation, i, r.Counter)
				if r.Confirmed {
					repeats++
				}
				continue
			}
			require.EqualValues(t, n+1, r.Counter, "%s: request %d came after %d confirmed messages: %+v", conversation, i, n, requests[max(0, i-4):i+1])
			if r.Confirmed {
				done = append(done, r)
			}
		}
		require.LessOrEqual(t, repeats, 1, "%s: repeats", conversation)
		said := 0
		for _, r := range done {
			if r.Number == said {
				require.True(t, crowd.Uncertain(conversation, said), "%s: %d was accepted once and answered twice", conversation, said)
				continue
			}
			require.Equal(t, said+1, r.Number, "%s: message %d", conversation, r.Counter)
			said = r.Number
		}
		require.Equal(t, crowd.Each, said, "%s: the last message", conversation)
		all.Delivered += len(done)
		all.Repeated += repeats
	}
	return all
}

// Seen is what a crowd's conversations got in all.
type Seen struct {
	Delivered int // different bot messages that were confirmed
	Repeated  int // confirmations of a message that had been confirmed
	Requests  int
	Failed    int // of them
}
