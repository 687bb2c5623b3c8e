package load

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// While an endpoint is down and no quota is set, what waits fills the parked
// stream, then the queues before it, until nothing is accepted any more. When
// the endpoint is back, all that was accepted arrives, once and in order, and
// nobody is stuck.
func TestFullStoreHeals(t *testing.T) {
	t.Parallel()
	s := e2e.StartPlain(t, binaries, false, "--store-max", "256MiB", "--partitions", "2", "--sync", "1s",
		"--channel-backlog-bytes", "0", "--endpoint-backlog-bytes", "0")
	var mu sync.Mutex
	down := true
	confirmed := map[string][]string{}
	shop := e2e.NewCustomerWith(t, s, "shop", "echo", e2e.Patient(), webhooktest.WithScript(func(_ int, r *webhooktest.Received) webhooktest.Reply {
		mu.Lock()
		defer mu.Unlock()
		if down {
			return webhooktest.Reply{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1"}}}
		}
		said, _, _ := strings.Cut(e2e.Text(t, r), "|")
		confirmed[r.Body.SenderID] = append(confirmed[r.Body.SenderID], said)
		return webhooktest.Reply{}
	}))
	const conversations = 40
	padding := "|" + strings.Repeat("🍕", 9_900) // 40 kB
	url, header := s.PublicURL()+"/v1/channels/webhook/shop/messages", shop.Bearer("application/json")
	accepted := make([][]string, conversations)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	fill, ctx := errgroup.WithContext(ctx)
	for i := range conversations {
		fill.Go(func() error {
			for n := 1; ; n++ {
				words := e2e.Utterance(e2e.ConversationName(i), n)
				a, err := e2e.Post(ctx, url, header, fmt.Appendf(nil, `{"conversationId":%q,"message":{"textMessage":{"text":%q}}}`, e2e.ConversationName(i), words+padding))
				switch {
				case err != nil:
					return err
				case a.Status == http.StatusAccepted:
					accepted[i] = append(accepted[i], words)
				case a.Status == http.StatusServiceUnavailable && strings.Contains(string(a.Body), "store-full") && a.Header.Get("Retry-After") != "":
					return nil
				default:
					return fmt.Errorf("%s was answered %d: %s", words, a.Status, a.Body)
				}
			}
		})
	}
	require.NoError(t, fill.Wait())
	var full []string
	s.AwaitStatus("the stages to wait for each other", func(status *ops.Status) bool {
		full = nil
		for _, stage := range status.Stages {
			for _, p := range stage.Partitions {
				full = append(full, fmt.Sprintf("%s %d: %d of %d bytes", stage.Stage, p.Partition, p.Bytes, p.MaxBytes))
			}
			full = append(full, fmt.Sprintf("%s parked: %d of %d bytes", stage.Stage, stage.Parked.Bytes, stage.Parked.MaxBytes))
		}
		return status.Stages[1].Parked.Bytes > uint64(status.Stages[1].Parked.MaxBytes)*9/10
	})
	t.Log(strings.Join(full, "; "))

	mu.Lock()
	down = false
	mu.Unlock()
	healed := time.Now()
	s.AwaitIdle()
	all := 0
	mu.Lock()
	for i := range conversations {
		require.Equal(t, accepted[i], confirmed[e2e.ConversationName(i)], e2e.ConversationName(i))
		all += len(accepted[i])
	}
	mu.Unlock()
	t.Logf("%d accepted until the store was full, all delivered %s after the endpoint was back", all, time.Since(healed))
	require.Zero(t, s.CountDeadLetters())
	shop.Say("afterwards", "hello|")
	s.AwaitIdle()
}
