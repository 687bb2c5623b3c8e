package stores

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/e2e"
)

// Whatever Redis does, messages are accepted and delivered, once and in order
// while nothing else fails; the processes are ready and say that they are
// degraded, and when Redis is well again so are they.
func TestRedisInTrouble(t *testing.T) {
	t.Parallel() // it waits for a Redis that is slow
	s := e2e.NewSystem(t, binaries)
	s.Redis, s.NATS = e2e.StartRedis(t), e2e.StartNATS(t, binaries)
	proxy := e2e.StartProxy(t, s.Redis.Addr)
	env := e2e.Environment(s.NATS.URL, "redis://"+proxy.Addr()+"/0")
	for _, command := range []string{"ops", "delivery-worker", "bot-worker", "ingest"} {
		s.Add(command, command, env).Start()
	}
	shop := e2e.NewCustomer(t, s, "shop", "echo")
	tell := func(command string) func() {
		return func() { require.NoError(t, s.Redis.Tell(t.Context(), command)) }
	}
	for _, trouble := range []struct {
		name       string
		begin, end func()
	}{
		{"gone", s.Redis.Kill, s.Redis.Start},
		{"hanging", s.Redis.Suspend, s.Redis.Resume},
		{"slow", func() { proxy.SetDelay(time.Second) }, func() { proxy.SetDelay(0) }},
		{"out of memory", tell("CONFIG SET maxmemory 1"), tell("CONFIG SET maxmemory 0")},
		{"a replica whose master is gone", tell("REPLICAOF 127.0.0.1 1"), tell("REPLICAOF NO ONE")},
		{"emptied", tell("FLUSHALL"), func() {}},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			const conversations, each = 4, 5
			conversation := func(i int) string { return fmt.Sprintf("%s %d", trouble.name, i) }
			shop.Say(conversation(0), "before")
			s.AwaitIdle()
			trouble.begin()
			begun := time.Now()
			for n := range each {
				for i := range conversations {
					header := shop.Bearer("application/json")
					header["Idempotency-Key"] = fmt.Sprintf("%s-%d-%d", trouble.name, i, n)
					a := s.MustPost("/v1/channels/webhook/shop/messages", header, string(e2e.Said(t, conversation(i), fmt.Sprint(n))))
					require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
				}
			}
			accepted := time.Since(begun)
			s.AwaitIdle()
			t.Logf("%d accepted in %s, delivered after %s", conversations*each, accepted, time.Since(begun))
			for i := range conversations {
				want := []string{"0", "1", "2", "3", "4"}
				if i == 0 {
					want = append([]string{"before"}, want...)
				}
				require.Equal(t, want, shop.Texts(conversation(i)))
			}
			if trouble.name != "emptied" { // which is no state that lasts
				awaitReadiness(t, s, "ingest", "degraded")
				awaitReadiness(t, s, "delivery-worker", "degraded")
			}
			trouble.end()
			awaitReadiness(t, s, "ingest", "ok")
			awaitReadiness(t, s, "delivery-worker", "ok")
		})
	}
}

// awaitReadiness waits until a process is ready, and says in which state.
func awaitReadiness(t *testing.T, s *e2e.System, service, status string) {
	t.Helper()
	last := ""
	e2e.Await(t, func() string { return service + " to be " + status + "; it said " + last }, func(ctx context.Context) bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Services[service].At.AdminURL+"/readyz", http.NoBody)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		last = string(body)
		require.Equal(t, http.StatusOK, resp.StatusCode, "it can do without Redis: %s", last)
		return strings.HasPrefix(last, `{"status":"`+status+`"`)
	})
}
