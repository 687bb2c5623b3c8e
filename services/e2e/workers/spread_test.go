package workers

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// Delivery-workers join, leave, crash and hang; their partitions spread evenly
// over the live ones in time, and a graceful leave is no pause for any lane.
func TestWorkersSpread(t *testing.T) {
	for _, ttl := range []time.Duration{partition.DefaultTTL, 2 * time.Second} {
		t.Run("lease-ttl "+ttl.String(), func(t *testing.T) {
			t.Parallel()
			// What a spread may take on a busy machine, and after a crash or a hang, when
			// the lease has to end before.
			const settled = 3 * time.Second
			crashed := ttl + settled
			s := e2e.StartFourProcessesWith(t, binaries, "PARLEY_LEASE_TTL="+ttl.String())
			workers := []*e2e.Service{s.Services["delivery-worker"]}
			for i := 2; i <= 3; i++ {
				workers = append(workers, s.Add(fmt.Sprintf("delivery-worker-%d", i), "delivery-worker", workers[0].Env()))
			}
			shop := e2e.NewCustomer(t, s, "shop", "echo")
			stop := chatter(t, s, shop, 24)
			begin := func() time.Time { return time.Now() }
			within := func(what string, bound time.Duration, since time.Time, live ...*e2e.Service) {
				t.Helper()
				awaitSpread(t, s, len(live))
				took := time.Since(since)
				t.Logf("%s: spread after %s", what, took.Round(time.Millisecond))
				require.Less(t, took, bound, what)
			}
			workers[1].Start()
			workers[2].Start()
			within("two joined", settled, begin(), workers...)

			leave := begin()
			workers[1].Stop()
			within("one left", settled, leave, workers[0], workers[2])
			left := time.Now()
			workers[1].Start()
			within("it came back", settled, begin(), workers...)

			crash := begin()
			workers[2].Kill()
			within("one was killed", crashed, crash, workers[0], workers[1])
			workers[2].Start()
			within("it came back", settled, begin(), workers...)

			hang := begin()
			workers[1].Suspend()
			within("one hung", crashed, hang, workers[0], workers[2])
			workers[1].Resume()
			within("it went on", settled, begin(), workers...)

			said := stop()
			s.AwaitIdle()
			pause := time.Duration(0)
			for i := range 24 {
				name := e2e.ConversationName(i)
				var texts []string
				last := leave
				for _, r := range shop.Conversation(name) {
					if r.At.After(leave) && last.Before(left) {
						pause, last = max(pause, r.At.Sub(last)), r.At
					}
					if said := e2e.Text(t, r); len(texts) == 0 || texts[len(texts)-1] != said { // what was in flight at the crash may come twice
						texts = append(texts, said)
					}
				}
				require.Equal(t, said[name], texts, name)
			}
			t.Logf("the longest pause of a lane during the leave, of which 50 ms are the speaker's: %s", pause.Round(time.Millisecond))
			require.Less(t, pause, time.Second)
		})
	}
}

// chatter has conversations talk, each every 50 ms, until the returned function
// is called; that returns what they said.
func chatter(t *testing.T, s *e2e.System, c *e2e.Customer, conversations int) (stop func() map[string][]string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	said := map[string][]string{}
	var talking sync.WaitGroup
	url, header := s.PublicURL()+"/v1/channels/webhook/"+c.Channel+"/messages", c.Bearer("application/json")
	for i := range conversations {
		talking.Go(func() {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			name := e2e.ConversationName(i)
			for n := 1; ; n++ {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				words := e2e.Utterance(name, n)
				body := fmt.Appendf(nil, `{"conversationId":%q,"message":{"textMessage":{"text":%q}}}`, name, words)
				a, err := e2e.Post(context.WithoutCancel(ctx), url, header, body)
				if err != nil || a.Status != http.StatusAccepted {
					t.Errorf("%s: %v %+v", words, err, a)
					return
				}
				mu.Lock()
				said[name] = append(said[name], words)
				mu.Unlock()
			}
		})
	}
	return func() map[string][]string {
		cancel()
		talking.Wait()
		return said
	}
}

// awaitSpread waits until so many delivery-workers hold all partitions, evenly.
func awaitSpread(t *testing.T, s *e2e.System, workers int) {
	t.Helper()
	s.AwaitStatus(fmt.Sprintf("an even spread over %d workers", workers), func(status *ops.Status) bool {
		i := slices.IndexFunc(status.Owners, func(o *partition.Owners) bool { return o.Stage == chat.StageBot })
		members := status.Owners[i].Members
		held, least, most := 0, 1<<10, 0
		for _, m := range members {
			n := len(m.Partitions)
			held, least, most = held+n, min(least, n), max(most, n)
		}
		return len(members) == workers && held == len(status.Owners[i].Partitions) && most-least <= 1
	})
}
