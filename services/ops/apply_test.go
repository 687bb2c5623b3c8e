package ops_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/services/ops"
)

const tokenValue = "pat_app_0123456789abcdef0123456789abcdef"

// shopDeclared is a declaration of every kind of object.
func shopDeclared() ops.ApplyRequest {
	return ops.ApplyRequest{Declaration: ops.Declaration{
		Bots: []ops.Bot{{ID: "pizza", Kind: "echo"}, {ID: "remote", Kind: "http", URL: "https://example.com/turn", Retry: []string{"1s"}}},
		Channels: []ops.DeclaredChannel{{
			Channel: ops.Channel{ID: "shop", BotID: "pizza", Limit: "100/s"},
			Endpoints: []ops.Endpoint{{
				ID: "billing", URL: "https://example.com/hook", VerifyToken: new("verify-me"), Timeout: "5s", DisableAfter: "off",
				Sending: ops.Sending{V1A: true, Headers: map[string]string{"X-Key": "key-value"}, Auth: &ops.Auth{Kind: "bearer", Token: "bearer-value"}},
			}},
		}},
		Tokens: []ops.DeclaredToken{{ID: "app", ChannelID: "shop", Value: tokenValue}, {ID: "other", ChannelID: "shop"}},
	}}
}

func (a *api) apply(r ops.ApplyRequest) ops.Applied {
	a.t.Helper()
	body, err := json.Marshal(r)
	require.NoError(a.t, err)
	out, _ := ok[ops.Applied](a, 200, request{method: "POST", path: "/apply", body: string(body)})
	return out
}

func (a *api) applyRefused(status int, slug string, r ops.ApplyRequest) []chat.Problem {
	a.t.Helper()
	body, err := json.Marshal(r)
	require.NoError(a.t, err)
	return a.refused(status, slug, request{method: "POST", path: "/apply", body: string(body), offContract: true}).Errors
}

// names are the changes in their order, such as "create bot pizza".
func names(applied ops.Applied) []string {
	out := make([]string, len(applied.Changes))
	for i, c := range applied.Changes {
		out[i] = fmt.Sprint(c.Action, " ", c.Kind, " ", c.ID)
	}
	return out
}

func TestApply(t *testing.T) {
	a := newAPI(t)
	r := shopDeclared()
	r.DryRun = true
	planned := a.apply(r)
	require.Equal(t, []string{
		"create bot pizza", "create bot remote", "create channel shop", "create endpoint billing", "create token app", "create token other",
	}, names(planned))
	require.Empty(t, a.registry.Snapshot().Bots(), "a dry run changes nothing")

	r.DryRun, r.Plan = false, planned.Plan
	done := a.apply(r)
	require.Equal(t, planned.Plan, done.Plan)
	require.Empty(t, done.Error)
	for _, c := range done.Changes {
		require.True(t, c.Done, c.ID)
	}
	require.Len(t, done.Changes[1].Secrets, 1, "an http bot's")
	require.Len(t, done.Changes[3].Secrets, 1)
	require.Regexp(t, "^pat_other_", done.Changes[5].Token)
	for id, clear := range map[string]string{"app": tokenValue, "other": done.Changes[5].Token} {
		token, known := a.registry.Snapshot().Authenticate(clear)
		require.True(t, known)
		require.Equal(t, id, token.ID)
		require.Equal(t, "shop", token.ChannelID)
	}
	stored, _ := a.registry.Snapshot().Endpoint("billing")
	require.Equal(t, "default", stored.ManagedBy)
	require.Equal(t, "verify-me", stored.VerifyToken.Reveal())

	r.Plan = ""
	before := a.registry.Snapshot().Revision()
	again := a.apply(r)
	require.Empty(t, again.Changes)
	require.Equal(t, 6, again.Unchanged)
	require.Equal(t, before, a.registry.Snapshot().Revision(), "applied twice, nothing is written")

	r.Plan = planned.Plan
	a.applyRefused(412, "changed", r)
}

// What a file sets is compared field by field, secrets without showing them; what
// it leaves out has its default, but what was made or switched stays.
func TestApplyComparesFields(t *testing.T) {
	a := newAPI(t)
	a.apply(shopDeclared())
	ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/billing/pause", body: `{"reason":"moving"}`})
	ok[ops.Endpoint](a, 200, request{method: "POST", path: "/endpoints/billing/rotate-secret"})
	require.Empty(t, a.apply(shopDeclared()).Changes, "a pause and a rotation are no difference")
	was, _ := a.registry.Snapshot().Endpoint("billing")

	r := shopDeclared()
	e := &r.Channels[0].Endpoints[0]
	e.Timeout, e.DisableAfter, e.VerifyToken, e.Auth = "", "2h", new("another"), nil
	e.Headers = map[string]string{"X-Other": "other-value"}
	r.Bots[1].Retry = []string{"1s", "1m"}
	r.Tokens[0].Value = strings.ToUpper(tokenValue[:8]) + tokenValue[8:]
	require.Equal(t, "/tokens/0/value", a.applyRefused(422, "invalid", r)[0].Pointer)
	r.Tokens[0].Value = tokenValue + "x"
	got := a.apply(r)
	require.Equal(t, []string{"update bot remote", "update endpoint billing", "update token app"}, names(got))
	require.Equal(t, []ops.FieldChange{{Field: "retry", From: "1s", To: "1s, 1m0s"}}, got.Changes[0].Fields)
	require.Equal(t, []ops.FieldChange{
		{Field: "auth.kind", From: "bearer"},
		{Field: "auth.token", From: "[redacted]", Secret: true},
		{Field: "disableAfter", From: "off", To: "2h0m0s"},
		{Field: "headers.X-Key", From: "[redacted]", Secret: true},
		{Field: "headers.X-Other", To: "[redacted]", Secret: true},
		{Field: "timeout", From: "5s"},
		{Field: "verifyToken", From: "[redacted]", To: "[redacted]", Secret: true},
	}, got.Changes[1].Fields)
	require.Equal(t, []ops.FieldChange{{Field: "value", From: "[redacted]", To: "[redacted]", Secret: true}}, got.Changes[2].Fields)
	now, _ := a.registry.Snapshot().Endpoint("billing")
	require.Equal(t, "moving", now.Paused)
	require.Equal(t, was.Secrets, now.Secrets)
	require.Equal(t, was.SigningKey, now.SigningKey)
	require.Equal(t, was.Retiring, now.Retiring)
	_, known := a.registry.Snapshot().Authenticate(tokenValue)
	require.False(t, known)

	_, text := ok[ops.AuditPage](a, 200, request{method: "GET", path: "/audit?limit=500"})
	for _, secret := range []string{"verify-me", "another", "key-value", "other-value", "bearer-value", "0123456789abcdef"} {
		require.NotContains(t, string(text.body), secret)
	}
	written := a.audit("object=app").Items
	require.Equal(t, "token.put", written[0].Action)
	require.Equal(t, "apply=default", written[0].Query)
}

func TestApplyPrunes(t *testing.T) {
	a := newAPI(t)
	a.apply(shopDeclared())
	ok[ops.Bot](a, 201, request{method: "POST", path: "/bots", body: `{"id":"byhand","kind":"echo"}`})
	for i := range 3 {
		a.park("billing", fmt.Sprint("c", i), nil, 1)
	}
	nothing := ops.ApplyRequest{}
	require.Empty(t, a.apply(nothing).Changes, "without prune nothing goes")
	other := ops.ApplyRequest{Declaration: ops.Declaration{Owner: "team"}, Prune: ops.PruneOwned}
	require.Empty(t, a.apply(other).Changes, "nor what another owner manages")

	ok[ops.Endpoint](a, 201, request{method: "POST", path: "/channels/shop/endpoints", body: `{"id":"mine","url":"https://example.com/hook"}`})
	nothing.Prune = ops.PruneOwned
	wrong := a.applyRefused(422, "invalid", nothing)
	require.Len(t, wrong, 1)
	require.Contains(t, wrong[0].Detail, `endpoint "mine" is not managed by default`)
	ok[ops.Deleted](a, 200, request{method: "DELETE", path: "/endpoints/mine"})

	pruned := a.apply(nothing)
	require.Equal(t, []string{
		"delete endpoint billing", "delete token app", "delete token other", "delete channel shop", "delete bot pizza", "delete bot remote",
	}, names(pruned))
	require.EqualValues(t, 3, pruned.Changes[0].Parked)
	require.Empty(t, pruned.Error)

	ada, _ := ok[ops.Token](a, 201, request{method: "POST", path: "/tokens", body: `{"ops":true,"name":"ada"}`})
	ok[ops.Token](a, 201, request{method: "POST", path: "/tokens", body: `{"ops":true,"name":"ben"}`})
	all, _ := ok[ops.Applied](a, 200, request{method: "POST", path: "/apply", body: `{"prune":"all"}`, token: ada.Token})
	require.Len(t, all.Changes, 2, "ben's token and the bot, not the token that asks")
	require.Len(t, a.registry.Snapshot().Tokens(), 1)
}

func TestApplyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*ops.ApplyRequest)
		want   []string
	}{
		"everything at once": {func(r *ops.ApplyRequest) {
			r.Bots[1].URL = "/turn"
			r.Channels[0].BotID = "none"
			r.Channels[0].Limit = "fast"
			r.Channels[0].Endpoints[0].Timeout = "soon"
			r.Tokens[0].ChannelID = "none"
		}, []string{"/bots/1/url", "/channels/0/limit", "/channels/0/botId", "/channels/0/endpoints/0/timeout", "/tokens/0/channelId"}},
		"no id":          {func(r *ops.ApplyRequest) { r.Channels[0].Endpoints[0].ID = "" }, []string{"/channels/0/endpoints/0/id"}},
		"twice":          {func(r *ops.ApplyRequest) { r.Bots[1] = r.Bots[0] }, []string{"/bots/1/id"}},
		"owner":          {func(r *ops.ApplyRequest) { r.Owner = "A b" }, []string{"/owner"}},
		"prune":          {func(r *ops.ApplyRequest) { r.Prune = "some" }, []string{"/prune"}},
		"redacted":       {func(r *ops.ApplyRequest) { r.Channels[0].Endpoints[0].VerifyToken = new(ops.Redacted) }, []string{"/channels/0/endpoints/0/verifyToken"}},
		"underscore":     {func(r *ops.ApplyRequest) { r.Tokens[1].ID = "my_app" }, []string{"/tokens/1/id"}},
		"short value":    {func(r *ops.ApplyRequest) { r.Tokens[0].Value = "pat_app_short" }, []string{"/tokens/0/value"}},
		"limit of ops":   {func(r *ops.ApplyRequest) { r.Tokens[1] = ops.DeclaredToken{ID: "x", Ops: true, Limit: "1/s"} }, []string{"/tokens/1/limit"}},
		"opens too much": {func(r *ops.ApplyRequest) { r.Tokens[1].Ops = true }, []string{"/tokens/1/channelId"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			r := shopDeclared()
			c.change(&r)
			var at []string
			for _, p := range a.applyRefused(422, "invalid", r) {
				at = append(at, p.Pointer)
			}
			require.Equal(t, c.want, at)
			require.Empty(t, a.registry.Snapshot().Bots())
		})
	}
}

func TestApplyKeepsToItsOwner(t *testing.T) {
	a := newAPI(t)
	a.apply(shopDeclared())
	got, _ := ok[ops.Channel](a, 200, request{method: "PUT", path: "/channels/shop", body: `{"botId":"pizza","name":"By hand"}`})
	require.Equal(t, "default", got.ManagedBy, "a change by hand keeps the owner")
	r := shopDeclared()
	r.Owner = "team"
	require.Len(t, a.applyRefused(422, "invalid", r), 6)
	r.TakeOver = true
	taken := a.apply(r)
	require.Len(t, taken.Changes, 6)
	i := slices.IndexFunc(taken.Changes, func(c ops.Change) bool { return c.Kind == registry.KindChannel })
	require.Equal(t, []ops.FieldChange{{Field: "limit", To: "100/s"}, {Field: "managedBy", From: "default", To: "team"}, {Field: "name", From: "By hand"}}, taken.Changes[i].Fields)

	moved := shopDeclared()
	moved.Owner = "team"
	moved.Channels = append(moved.Channels, ops.DeclaredChannel{Channel: ops.Channel{ID: "new", BotID: "pizza"}, Endpoints: moved.Channels[0].Endpoints})
	moved.Channels[0].Endpoints = nil
	require.Contains(t, a.applyRefused(422, "invalid", moved)[0].Detail, "which can't change")
}

// Processes that apply the same at the same time all end with it, and with one
// token.
func TestApplyAtOnce(t *testing.T) {
	a := newAPI(t)
	var g errgroup.Group
	var made atomic.Int32
	for range 4 {
		g.Go(func() error {
			out, err := a.service.Apply(t.Context(), shopDeclared(), "apply")
			if err != nil {
				return err
			}
			if out.Error != "" {
				return errors.New(out.Error)
			}
			for _, c := range out.Changes {
				if c.Token != "" {
					made.Add(1)
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.LessOrEqual(t, made.Load(), int32(1), "who lost the token to another doesn't show one")
	require.Empty(t, a.apply(shopDeclared()).Changes)
	require.Len(t, a.registry.Snapshot().Tokens(), 2)
}

// What is changed between a plan and its change isn't overwritten: the rest is left
// and said so, and the next run does it.
func TestApplyStopsAtTheFirstFailure(t *testing.T) {
	a := newAPI(t)
	a.apply(shopDeclared())
	r := shopDeclared()
	r.Prune = ops.PruneOwned
	r.Bots[0].Name, r.Bots[1].Name, r.Channels[0].Endpoints = "One", "Two", nil
	*a.planned = func() {
		*a.planned = func() {}
		ok[ops.Bot](a, 200, request{method: "POST", path: "/bots/remote/pause", body: `{"reason":"moving"}`})
	}
	stopped := a.apply(r)
	require.Contains(t, stopped.Error, "it was changed meanwhile")
	require.Equal(t, []string{"update bot pizza", "update bot remote", "delete endpoint billing"}, names(stopped))
	require.Equal(t, []bool{true, false, false}, []bool{stopped.Changes[0].Done, stopped.Changes[1].Done, stopped.Changes[2].Done})
	remote, _ := a.registry.Snapshot().Bot("remote")
	require.Equal(t, "moving", remote.Paused)

	rest := a.apply(r)
	require.Empty(t, rest.Error)
	require.Equal(t, []string{"update bot remote", "delete endpoint billing"}, names(rest))
	remote, _ = a.registry.Snapshot().Bot("remote")
	require.Equal(t, "moving", remote.Paused)
	require.Equal(t, "Two", remote.Name)
}
