package ops_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/ops"
)

// audit lists what a query finds.
func (a *api) audit(query string) ops.AuditPage {
	a.t.Helper()
	page, _ := ok[ops.AuditPage](a, 200, request{method: "GET", path: "/audit?" + query})
	return page
}

// Everything that operators can do is done once, and is in the audit, without
// the secrets that were made.
func TestAudit(t *testing.T) {
	a := newAPI(t)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	ada, _ := ok[ops.Token](a, 201, request{method: "POST", path: "/tokens", body: `{"ops":true,"name":"ada"}`})
	var secrets []string
	did := func(method, path, body string) {
		t.Helper()
		got := a.do(request{method: method, path: path, body: body, token: ada.Token})
		require.Equal(t, 2, got.StatusCode/100, "%s %s: %s", method, path, got.body)
		for word := range strings.SplitSeq(string(got.body), `"`) {
			if strings.HasPrefix(word, "whsec_") || strings.HasPrefix(word, "pat_") {
				secrets = append(secrets, word)
			}
		}
	}
	did("POST", "/bots", `{"id":"helper","kind":"http","url":"https://example.com/turn"}`)
	did("PUT", "/bots/helper", `{"kind":"http","url":"https://example.com/turn"}`)
	did("POST", "/bots/helper/rotate-secret", "")
	did("POST", "/apply", `{"dryRun":true}`)
	did("POST", "/channels", `{"id":"shop","botId":"helper"}`)
	did("PUT", "/channels/shop", `{"botId":"helper","name":"Shop"}`)
	did("POST", "/channels/shop/endpoints", `{"id":"crm","url":"`+receiver.URL+`","verifyToken":"verify-me","auth":{"kind":"basic","username":"u","password":"pass-word"}}`)
	did("PUT", "/endpoints/crm", `{"url":"`+receiver.URL+`","headers":{"X-Key":"key-value"}}`)
	did("POST", "/endpoints/crm/rotate-secret", `{"overlap":"1h"}`)
	did("POST", "/endpoints/crm/test", "")
	did("POST", "/endpoints/crm/disable", `{"reason":"moving"}`)
	did("POST", "/endpoints/crm/enable", "")
	for _, path := range []string{"/channels/shop", "/endpoints/crm", "/bots/helper"} {
		did("POST", path+"/pause", "")
		did("POST", path+"/resume", "")
	}
	did("DELETE", "/conversations?channel=shop&conversation=anna", "")
	for i, action := range []string{"retry-now", "skip", "discard"} {
		did("POST", "/lanes/bot."+a.park("crm", string(rune('a'+i)), nil, 1).String()+"/"+action, "")
		did("POST", "/endpoints/crm/lanes/"+action+"?held=true", "")
	}
	did("POST", "/replays", `{"action":"discard","filter":{"endpoint":"crm","channel":"shop","conversation":"ann-from-shop"},"reason":"test data"}`)
	for _, action := range []string{"pause", "resume", "cancel"} {
		did("POST", "/replays/"+a.audit("kind=replay").Items[0].Object+"/"+action, "")
	}
	did("POST", "/tokens", `{"channelId":"shop","name":"app"}`)
	for _, item := range a.audit("kind=token").Items {
		if item.TokenID == ada.ID {
			did("DELETE", "/tokens/"+item.Object, "")
		}
	}
	did("DELETE", "/endpoints/crm", "")
	did("DELETE", "/channels/shop", "")
	did("DELETE", "/bots/helper", "")

	page := a.audit("limit=500&by=ada")
	require.Equal(t, page, a.audit("limit=500&by="+ada.ID))
	var names []string
	for _, e := range page.Items {
		names = append(names, e.Action)
		require.NotEmpty(t, e.Object, e.Action)
		require.NotEmpty(t, e.Detail, e.Action)
		require.True(t, strings.HasPrefix(e.Remote, "127.0.0.1:"))
		require.Equal(t, "ada", e.By)
		require.Equal(t, e.Kind, e.Action[:len(e.Kind)])
		require.Equal(t, 2, e.Status/100)
	}
	slices.Sort(names)
	require.Equal(t, ops.ActionNames(), names)

	_, got := ok[ops.AuditPage](a, 200, request{method: "GET", path: "/audit?limit=500"})
	require.Len(t, secrets, 5)
	for _, secret := range append(secrets, ada.Token, "verify-me", "pass-word", "key-value", "ann-from-shop") {
		require.NotContains(t, string(got.body), secret)
	}
	disabled := a.audit("kind=endpoint&object=crm").Items
	i := slices.IndexFunc(disabled, func(e ops.AuditEntry) bool { return e.Action == "endpoint.disable" })
	require.Contains(t, string(disabled[i].Detail), `"disabled":"moving"`)
	skipped := a.audit("object=crm").Items
	i = slices.IndexFunc(skipped, func(e ops.AuditEntry) bool { return e.Action == "endpoint.lanes-skip" })
	require.Equal(t, "held=true", skipped[i].Query)
	first := a.audit("by=" + url.QueryEscape("the bootstrap token")).Items
	require.Len(t, first, 1)
	require.Empty(t, first[0].TokenID)
	require.Equal(t, ada.ID, first[0].Object)
}

func TestAuditList(t *testing.T) {
	a := newAPI(t)
	ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"b0","kind":"echo"}`})
	for _, id := range []string{"b1", "b2"} {
		ok[ops.Bot](a, 201, request{method: "PUT", path: "/bots/" + id, body: `{"kind":"echo"}`, header: map[string]string{"X-Request-Id": "r-" + id}})
	}
	a.refused(409, "exists", request{method: "POST", path: "/bots", body: `{"id":"b0","kind":"echo"}`})
	a.refused(404, "not-found", request{method: "DELETE", path: "/bots/b9"})
	a.refused(401, "unauthorized", request{method: "DELETE", path: "/bots/b0", token: "x"})

	all := a.audit("").Items
	require.Len(t, all, 3, "what was refused is not there")
	require.Equal(t, []string{"b2", "b1", "b0"}, []string{all[0].Object, all[1].Object, all[2].Object})
	require.Equal(t, "r-b2", all[0].RequestID)
	require.Equal(t, 201, all[0].Status)

	page := a.audit("limit=2")
	require.Equal(t, all[:2], page.Items)
	page = a.audit("limit=2&before=" + page.Next)
	require.Equal(t, all[2:], page.Items)
	require.Empty(t, page.Next)
	at := func(e ops.AuditEntry) string { return url.QueryEscape(e.At.Format(time.RFC3339Nano)) }
	require.Equal(t, all[:2], a.audit("since="+at(all[1])).Items)
	require.Equal(t, all[2:], a.audit("until="+at(all[1])).Items)
	require.Empty(t, a.audit("kind=lane").Items)
	require.Empty(t, a.audit("object=b9").Items)

	p := a.refused(400, "bad-query", request{method: "GET", path: "/audit?kind=x&since=yesterday&until=x&limit=0&before=x", offContract: true})
	require.Len(t, p.Errors, 5)
	a.conn.Close()
	a.refused(503, "broker-unavailable", request{method: "GET", path: "/audit"})
	a.refused(503, "broker-unavailable", request{method: "DELETE", path: "/bots/b0"})
	require.Len(t, a.logs.FilterMessage("what an operator did could not be recorded in the audit").All(), 1)
}
