package ops_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/services/ops"
)

// failed is when the rig's endpoint crm has begun to fail.
var failed = time.Now().Add(-10 * time.Minute).UTC().Truncate(time.Second)

// circuits are what workers share, by key.
type circuits map[string]health.Record

func (c circuits) Records() map[string]health.Record { return c }

func (c circuits) Record(key string) (health.Record, bool) {
	r, ok := c[key]
	return r, ok
}

// An endpoint shows how it does, and can be put again with that; a status shows
// whose circuit is open.
func TestCircuits(t *testing.T) {
	a := newAPI(t)
	ok[ops.Bot](a, 201, request{method: "PUT", path: "/bots/pizza", body: `{"kind":"echo"}`})
	ok[ops.Channel](a, 201, request{method: "PUT", path: "/channels/shop", body: `{"botId":"pizza"}`})
	want := map[string]ops.Circuit{
		"crm":   {State: "open", Since: &failed, Failures: 12, FailingSince: &failed, LastFailure: &failed, NextProbe: new(failed.Add(time.Hour)), Warned: &failed},
		"well":  {State: "closed", Since: &failed},
		"fresh": {State: "closed"},
	}
	for id := range want {
		ok[ops.Endpoint](a, 201, request{method: "PUT", path: "/endpoints/" + id, body: `{"channelId":"shop","url":"https://example.com/hook","disableAfter":"48h"}`})
		e, got := ok[ops.Endpoint](a, 200, request{method: "GET", path: "/endpoints/" + id})
		require.Equal(t, want[id], *e.Health, id)
		require.Equal(t, "48h0m0s", e.DisableAfter)
		ok[ops.Endpoint](a, 200, request{method: http.MethodPut, path: "/endpoints/" + id, body: string(got.body)})
		stored, _ := a.registry.Snapshot().Endpoint(id)
		require.Equal(t, 48*time.Hour, stored.DisableAfter.Std())
	}
	off, _ := ok[ops.Endpoint](a, 200, request{method: "PUT", path: "/endpoints/crm", body: `{"url":"https://example.com/hook","disableAfter":"off"}`})
	require.Equal(t, "off", off.DisableAfter)
	stored, _ := a.registry.Snapshot().Endpoint("crm")
	require.Negative(t, stored.DisableAfter.Std(), "what is stored can be read")
	a.refused(422, "invalid", request{method: "PUT", path: "/endpoints/crm", body: `{"url":"https://example.com/hook","disableAfter":"1m"}`})

	status, _ := ok[ops.Status](a, 200, request{method: "GET", path: "/status"})
	crm := want["crm"]
	crm.Stage, crm.Destination = chat.StageBot, "crm"
	require.Equal(t, []ops.Circuit{crm}, status.Circuits)
}
