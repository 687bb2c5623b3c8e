package registry_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func newSealer(tb testing.TB) *registry.Sealer {
	tb.Helper()
	key := make([]byte, registry.KeySize)
	_, err := rand.Read(key)
	require.NoError(tb, err)
	s, err := registry.NewSealer(key)
	require.NoError(tb, err)
	return s
}

// open opens a registry and runs it until the test ends, or stop is called.
func open(tb testing.TB, conn *broker.Conn, o registry.Options) (r *registry.Registry, stop func()) {
	tb.Helper()
	r, err := registry.Open(tb.Context(), conn.JS, o)
	require.NoError(tb, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(tb, <-done)
		})
	}
	tb.Cleanup(stop)
	return r, stop
}

const (
	secretOne chat.Secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	secretTwo chat.Secret = "whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
)

func shopBot() chat.Bot         { return chat.Bot{ID: "pizza", Kind: registry.BotEcho} }
func shopChannel() chat.Channel { return chat.Channel{ID: "shop", BotID: "pizza", Name: "Shop"} }

func shopEndpoint() chat.Endpoint {
	return chat.Endpoint{
		ID: "crm", ChannelID: "shop", URL: "https://example.com/hook",
		VerifyToken: "verify-me", Sending: chat.Sending{Secrets: []chat.Secret{secretOne, secretTwo}},
	}
}

// fill writes a bot with a channel and an endpoint, and returns the revision.
func fill(tb testing.TB, r *registry.Registry) uint64 {
	tb.Helper()
	_, _, err := r.PutBot(tb.Context(), shopBot(), registry.Absent)
	require.NoError(tb, err)
	_, err = r.PutChannel(tb.Context(), shopChannel(), registry.Absent)
	require.NoError(tb, err)
	_, revision, err := r.PutEndpoint(tb.Context(), shopEndpoint(), registry.Absent)
	require.NoError(tb, err)
	return revision
}

func TestChangesReachAnotherProcess(t *testing.T) {
	conn := brokertest.New(t)
	o := registry.Options{Sealer: newSealer(t)}
	one, _ := open(t, conn, o)
	two, _ := open(t, conn, o)

	revision := fill(t, one)
	require.Equal(t, revision, one.Snapshot().Revision(), "a writer sees its own write")
	require.NoError(t, two.WaitRevision(t.Context(), revision))
	s := two.Snapshot()
	e, ok := s.Endpoint("crm")
	require.True(t, ok)
	require.Equal(t, shopEndpoint(), undated(*e))
	require.Equal(t, []*chat.Endpoint{e}, s.EndpointsOf("shop"))
	require.Len(t, s.ChannelsOfBot("pizza"), 1)
	found, ok := s.ChannelByVerifyToken("pizza", "verify-me")
	require.True(t, ok)
	require.Equal(t, "shop", found.ID)
	_, ok = s.ChannelByVerifyToken("pizza", "")
	require.False(t, ok)

	revision, err := two.DeleteEndpoint(t.Context(), "crm", registry.Present)
	require.NoError(t, err)
	require.NoError(t, one.WaitRevision(t.Context(), revision))
	require.Empty(t, one.Snapshot().EndpointsOf("shop"))
	require.Len(t, s.EndpointsOf("shop"), 1, "a snapshot never changes")
	s, err = one.CatchUp(t.Context())
	require.NoError(t, err)
	_, ok = s.Endpoint("crm")
	require.False(t, ok)
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	o := registry.Options{Sealer: newSealer(t)}
	conn, stopServer := brokertest.Start(t, dir)
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	r, stop := open(t, conn, o)
	fill(t, r)
	revision, err := r.DeleteEndpoint(t.Context(), "crm", registry.Any)
	require.NoError(t, err)
	stop()
	stopServer()

	conn, _ = brokertest.Start(t, dir)
	again, err := registry.Open(t.Context(), conn.JS, o)
	require.NoError(t, err)
	require.Error(t, again.Ready(), "it doesn't watch yet")
	require.Equal(t, revision, again.Snapshot().Revision())
	require.Empty(t, again.Snapshot().Endpoints())
	require.Len(t, again.Snapshot().Channels(), 1)
}

func nopLog() *zap.Logger { return zap.NewNop() }

func startServer(tb testing.TB, dir, addr string, store int64) *broker.Server {
	tb.Helper()
	srv, err := broker.StartServer(broker.ServerOptions{
		Dir: dir, MaxStore: store, MaxMemory: 64 << 20, SyncInterval: time.Minute, Listen: addr,
	}, nopLog())
	require.NoError(tb, err)
	return srv
}

// TestServerComesBack stops the server under a running registry.
func TestServerComesBack(t *testing.T) {
	dir := t.TempDir()
	addr := "127.0.0.1:0"
	srv := startServer(t, dir, addr, 1<<30)
	addr = srv.ClientURL()[len("nats://"):]
	conn, err := broker.Connect(srv.ClientURL(), "test", nopLog())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	o := registry.Options{Sealer: newSealer(t), CheckEvery: 20 * time.Millisecond}
	r, _ := open(t, conn, o)
	fill(t, r)
	require.Eventually(t, func() bool { return r.Ready() == nil }, 10*time.Second, 5*time.Millisecond)

	require.NoError(t, srv.Close(t.Context()))
	require.Eventually(t, func() bool { return r.Ready() != nil }, 10*time.Second, 5*time.Millisecond)
	_, err = r.CatchUp(t.Context())
	require.ErrorIs(t, err, broker.ErrUnavailable)
	_, ok := r.Snapshot().Endpoint("crm")
	require.True(t, ok, "the last snapshot stays in use")

	srv = startServer(t, dir, addr, 1<<30)
	t.Cleanup(func() { require.NoError(t, srv.Close(context.WithoutCancel(t.Context()))) })
	second, err := broker.Connect(srv.ClientURL(), "second", nopLog())
	require.NoError(t, err)
	t.Cleanup(second.Close)
	writer, _ := open(t, second, o)
	revision, err := writer.DeleteEndpoint(t.Context(), "crm", registry.Present)
	require.NoError(t, err)
	require.NoError(t, r.WaitRevision(t.Context(), revision))
	require.Eventually(t, func() bool { return r.Ready() == nil }, 20*time.Second, 5*time.Millisecond)
}

func TestExpectations(t *testing.T) {
	conn := brokertest.New(t)
	r, _ := open(t, conn, registry.Options{Sealer: newSealer(t)})
	bot := shopBot()

	_, _, err := r.PutBot(t.Context(), bot, registry.Present)
	require.ErrorIs(t, err, registry.ErrNotFound)
	_, _, err = r.PutBot(t.Context(), bot, 7)
	require.ErrorIs(t, err, registry.ErrNotFound)
	_, first, err := r.PutBot(t.Context(), bot, registry.Absent)
	require.NoError(t, err)
	_, _, err = r.PutBot(t.Context(), bot, registry.Absent)
	require.ErrorIs(t, err, registry.ErrExists)
	bot.Name = "Pizza"
	_, second, err := r.PutBot(t.Context(), bot, registry.Expect(first))
	require.NoError(t, err)
	require.Greater(t, second, first)
	_, _, err = r.PutBot(t.Context(), bot, registry.Expect(first))
	require.ErrorIs(t, err, registry.ErrConflict)
	_, err = r.DeleteBot(t.Context(), "pizza", registry.Expect(first))
	require.ErrorIs(t, err, registry.ErrConflict)
	_, err = r.DeleteBot(t.Context(), "pizza", registry.Any)
	require.NoError(t, err)
	_, err = r.DeleteBot(t.Context(), "pizza", registry.Any)
	require.ErrorIs(t, err, registry.ErrNotFound)
	_, _, err = r.PutBot(t.Context(), bot, registry.Absent)
	require.NoError(t, err, "a deleted id may be used again")
}

// TestWritersNeverLose has two processes count one record up at once.
func TestWritersNeverLose(t *testing.T) {
	conn := brokertest.New(t)
	o := registry.Options{Sealer: newSealer(t)}
	one, _ := open(t, conn, o)
	two, _ := open(t, conn, o)
	fill(t, one)

	const each = 20
	var g errgroup.Group
	for _, r := range []*registry.Registry{one, two} {
		g.Go(func() error {
			for range each {
				if err := increment(t.Context(), r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	s, err := one.CatchUp(t.Context())
	require.NoError(t, err)
	e, _ := s.Endpoint("crm")
	require.Equal(t, 2*each, e.MaxInFlight)
}

func increment(ctx context.Context, r *registry.Registry) error {
	for {
		s, err := r.CatchUp(ctx)
		if err != nil {
			return err
		}
		at, _ := s.RecordRevision(registry.KindEndpoint, "crm")
		e, _ := s.Endpoint("crm")
		next := *e
		next.MaxInFlight++
		if _, _, err = r.PutEndpoint(ctx, next, registry.Expect(at)); !errors.Is(err, registry.ErrConflict) {
			return err
		}
	}
}

func TestReferences(t *testing.T) {
	conn := brokertest.New(t)
	r, _ := open(t, conn, registry.Options{Sealer: newSealer(t), NewSecret: func() chat.Secret { return secretTwo }})

	var problem *chat.ValidationError
	_, err := r.PutChannel(t.Context(), shopChannel(), registry.Absent)
	require.ErrorAs(t, err, &problem)
	require.Equal(t, "/botId", problem.Problems[0].Pointer)
	_, _, err = r.PutEndpoint(t.Context(), shopEndpoint(), registry.Absent)
	require.ErrorAs(t, err, &problem)
	require.Equal(t, "/channelId", problem.Problems[0].Pointer)
	fill(t, r)
	_, err = r.PutChannel(t.Context(), chat.Channel{ID: "other", BotID: "pizza"}, registry.Absent)
	require.NoError(t, err)

	moved := shopEndpoint()
	moved.ChannelID = "other"
	_, _, err = r.PutEndpoint(t.Context(), moved, registry.Any)
	require.ErrorAs(t, err, &problem)
	_, token := registry.NewToken("shop", "", time.Now())
	_, err = r.PutToken(t.Context(), token, registry.Absent)
	require.NoError(t, err)
	_, err = r.DeleteBot(t.Context(), "pizza", registry.Any)
	require.ErrorIs(t, err, registry.ErrInUse)
	_, err = r.DeleteChannel(t.Context(), "shop", registry.Any)
	require.ErrorIs(t, err, registry.ErrInUse)
	require.ErrorContains(t, err, "endpoint crm, token "+token.ID)

	bare := shopEndpoint()
	bare.ID, bare.Secrets = "bare", nil
	stored, _, err := r.PutEndpoint(t.Context(), bare, registry.Absent)
	require.NoError(t, err)
	require.Equal(t, []chat.Secret{secretTwo}, stored.Secrets)
}

// Each change is told of with what was before it; the end of the context is no
// error.
func TestFollow(t *testing.T) {
	r, _ := open(t, brokertest.New(t), registry.Options{Sealer: newSealer(t)})
	fill(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	written := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if _, err := r.PutChannel(ctx, shopChannel(), registry.Present); err != nil && ctx.Err() == nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	var seen []*registry.Snapshot
	require.NoError(t, r.Follow(ctx, func(last, next *registry.Snapshot) {
		if len(seen) > 0 {
			require.Same(t, seen[len(seen)-1], last)
		}
		require.Greater(t, next.Revision(), last.Revision())
		if seen = append(seen, next); len(seen) == 3 {
			cancel()
		}
	}))
	require.GreaterOrEqual(t, len(seen), 3)
	require.NoError(t, <-written)
}

func TestWaitRevisionEndsWithContext(t *testing.T) {
	conn := brokertest.New(t)
	r, _ := open(t, conn, registry.Options{Sealer: newSealer(t)})
	why := errors.New("the test had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	require.ErrorIs(t, r.WaitRevision(ctx, 1<<40), why)
	require.NoError(t, r.WaitRevision(ctx, 0))
}

func TestUnreadableRecord(t *testing.T) {
	conn := brokertest.New(t)
	o := registry.Options{Sealer: newSealer(t)}
	r, _ := open(t, conn, o)
	fill(t, r)
	kv, err := conn.JS.KeyValue(t.Context(), topology.BucketConfig)
	require.NoError(t, err)
	revision, err := kv.PutString(t.Context(), "endpoint.crm", "{")
	require.NoError(t, err)

	require.NoError(t, r.WaitRevision(t.Context(), revision))
	require.ErrorContains(t, r.Ready(), `endpoint "crm"`)
	e, ok := r.Snapshot().Endpoint("crm")
	require.True(t, ok, "the former value stays in use")
	require.Equal(t, shopEndpoint(), undated(*e))
	_, err = registry.Open(t.Context(), conn.JS, o)
	require.ErrorContains(t, err, `endpoint "crm"`)

	_, _, err = r.PutEndpoint(t.Context(), shopEndpoint(), registry.Any)
	require.NoError(t, err)
	require.NoError(t, r.Ready())
}

func TestWrongKey(t *testing.T) {
	conn := brokertest.New(t)
	_, err := registry.Open(t.Context(), conn.JS, registry.Options{Sealer: newSealer(t)})
	require.NoError(t, err)
	_, err = registry.Open(t.Context(), conn.JS, registry.Options{Sealer: newSealer(t)})
	require.ErrorIs(t, err, registry.ErrWrongKey)
}

func TestSecretsAreSealed(t *testing.T) {
	conn := brokertest.New(t)
	o := registry.Options{Sealer: newSealer(t)}
	r, _ := open(t, conn, o)
	fill(t, r)
	kv, err := conn.JS.KeyValue(t.Context(), topology.BucketConfig)
	require.NoError(t, err)
	_, _, err = r.PutBot(t.Context(), helper(t), registry.Absent)
	require.NoError(t, err)
	for _, key := range []string{"bot.helper", "endpoint.crm"} {
		stored, err := kv.Get(t.Context(), key)
		require.NoError(t, err)
		require.NotContains(t, string(stored.Value()), "verify-me")
		require.NotContains(t, string(stored.Value()), "whsec_")
		require.NotContains(t, string(stored.Value()), "[redacted]")

		// A ciphertext opens in its own record only.
		kind, _, _ := strings.Cut(key, ".")
		_, err = kv.Put(t.Context(), kind+".thief", stored.Value())
		require.NoError(t, err)
		_, err = registry.Open(t.Context(), conn.JS, o)
		require.ErrorIs(t, err, registry.ErrWrongKey)
		require.NoError(t, kv.Delete(t.Context(), kind+".thief"))
	}
}

// undated is an endpoint without the time that the registry sets.
func undated(e chat.Endpoint) chat.Endpoint {
	e.EnabledAt = time.Time{}
	return e
}

// TestEnabledAt: failures from before an endpoint was opened, or led elsewhere,
// are not held against it.
func TestEnabledAt(t *testing.T) {
	r, _ := open(t, brokertest.New(t), registry.Options{Sealer: newSealer(t)})
	fill(t, r)
	e := shopEndpoint()
	for _, step := range []struct {
		name   string
		change func()
		later  bool
	}{
		{"paused", func() { e.Paused = "counting" }, false},
		{"disabled too", func() { e.Disabled = "moving" }, false},
		{"resumed and disabled still", func() { e.Paused = "" }, false},
		{"enabled", func() { e.Disabled = "" }, true},
		{"another time-out", func() { e.Timeout = chat.Duration(2 * time.Second) }, false},
		{"another URL", func() { e.URL += "/v2" }, true},
	} {
		before, ok := r.Snapshot().Endpoint(e.ID)
		require.True(t, ok)
		require.NotZero(t, before.EnabledAt)
		step.change()
		require.Eventually(t, func() bool { return time.Since(before.EnabledAt) > 5*time.Millisecond }, time.Second, time.Millisecond)
		after, _, err := r.PutEndpoint(t.Context(), e, registry.Any)
		require.NoError(t, err)
		require.Equal(t, step.later, after.EnabledAt.After(before.EnabledAt), step.name)
	}
}

// helper is an http bot with every field set.
func helper(t *testing.T) chat.Bot {
	t.Helper()
	return chat.Bot{
		ID: "helper", Kind: registry.BotHTTP, Name: "Helper", URL: "https://example.com/turn", Sending: sending(t),
		Retry: []chat.Duration{chat.Duration(time.Second)}, Timeout: chat.Duration(time.Second), MaxInFlight: 3, Fallback: "Sorry.", Paused: "moving", ManagedBy: "shop",
	}
}

// TestStoredFormOfABotIsComplete fails when a field of chat.Bot doesn't survive,
// or a secret is stored in clear.
func TestStoredFormOfABotIsComplete(t *testing.T) {
	b := helper(t)
	v := reflect.ValueOf(b)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name != "Flow" { // an http bot has none
			require.False(t, v.Field(i).IsZero(), "set %s in this test", name)
		}
	}
	conn := brokertest.New(t)
	o := registry.Options{Sealer: newSealer(t), NewSecret: func() chat.Secret { return secretTwo }}
	r, _ := open(t, conn, o)
	stored, _, err := r.PutBot(t.Context(), b, registry.Absent)
	require.NoError(t, err)
	require.Equal(t, b, stored)
	bare := b
	bare.ID, bare.Secrets = "bare", nil
	bare.Retiring = []chat.Retiring{{Key: secretTwo, Until: time.Now().Add(-time.Nanosecond)}}
	stored, _, err = r.PutBot(t.Context(), bare, registry.Absent)
	require.NoError(t, err)
	require.Equal(t, []chat.Secret{secretTwo}, stored.Secrets, "one is made")
	require.Empty(t, stored.Retiring, "what has ended is not kept")
	again, err := registry.Open(t.Context(), conn.JS, o)
	require.NoError(t, err)
	got, _ := again.Snapshot().Bot("helper")
	require.Equal(t, b, *got)
	kv, err := conn.JS.KeyValue(t.Context(), topology.BucketConfig)
	require.NoError(t, err)
	entry, err := kv.Get(t.Context(), "bot.helper")
	require.NoError(t, err)
	requireSealed(t, entry.Value())
}

// requireSealed requires that a record shows none of the secrets of sending.
func requireSealed(t *testing.T, stored []byte) {
	t.Helper()
	for _, secret := range []string{"whsec_", "whsk_", "the-", "PRIVATE", "[redacted]"} {
		require.NotContains(t, string(stored), secret)
	}
}

// sending has every field set.
func sending(t *testing.T) chat.Sending {
	t.Helper()
	cert, key := webhooktest.NewAuthority(t).Issue("parley")
	return chat.Sending{
		Secrets:    []chat.Secret{secretOne},
		SigningKey: webhook.NewSigningKey(), Retiring: []chat.Retiring{{Key: secretTwo, Until: time.Now().Add(time.Hour).UTC().Round(0)}},
		Headers: map[string]chat.Secret{"X-Team": "the-team"},
		Auth: &chat.Auth{
			Kind: chat.AuthOAuth2, TokenURL: "https://login.example.com/token", ClientID: "parley", ClientSecret: "the-client-secret",
			Scopes: []string{"hooks"}, Audience: "crm", InBody: true,
		},
		TLS: &chat.TLS{ClientCert: cert, ClientKey: chat.Secret(key), CA: webhooktest.NewAuthority(t).PEM()},
	}
}

// full is an endpoint with every field set.
func full(t *testing.T) chat.Endpoint {
	t.Helper()
	return chat.Endpoint{
		ID: "crm", ChannelID: "shop", URL: "https://example.com", VerifyToken: "v", Sending: sending(t),
		Events: []string{chat.EventMessage}, Retry: []chat.Duration{chat.Duration(time.Second)}, Timeout: chat.Duration(time.Second),
		ExpireAfter: chat.Duration(time.Hour), Supersede: true, OnExhausted: registry.OnExhaustedHold, MaxInFlight: 3, Disabled: "moving", Paused: "counting", ManagedBy: "shop",
		RateLimit:    &chat.Rate{Count: 10, Per: time.Second, Burst: 20},
		DisableAfter: chat.Duration(time.Hour), EnabledAt: time.Now().UTC().Truncate(time.Millisecond),
	}
}

// TestStoredFormIsComplete fails when a field of chat.Endpoint doesn't survive,
// or a secret is stored in clear.
func TestStoredFormIsComplete(t *testing.T) {
	e := full(t)
	for _, of := range []any{e, e.Sending, e.Retiring[0], *e.TLS} {
		v := reflect.ValueOf(of)
		for i := range v.NumField() {
			require.False(t, v.Field(i).IsZero(), "set %s in this test", v.Type().Field(i).Name)
		}
	}
	conn := brokertest.New(t)
	o := registry.Options{Sealer: newSealer(t)}
	r, _ := open(t, conn, o)
	fill(t, r)
	kv, err := conn.JS.KeyValue(t.Context(), topology.BucketConfig)
	require.NoError(t, err)
	for _, auth := range []*chat.Auth{
		e.Auth,
		{Kind: chat.AuthBasic, Username: "parley", Password: "the-password"},
		{Kind: chat.AuthBearer, Token: "the-token"},
	} {
		e.Auth = auth
		_, _, err := r.PutEndpoint(t.Context(), e, registry.Any)
		require.NoError(t, err)
		again, err := registry.Open(t.Context(), conn.JS, o)
		require.NoError(t, err)
		got, _ := again.Snapshot().Endpoint("crm")
		require.NotZero(t, got.EnabledAt)
		require.Equal(t, undated(e), undated(*got))
		stored, err := kv.Get(t.Context(), "endpoint.crm")
		require.NoError(t, err)
		requireSealed(t, stored.Value())
	}
}

func TestRotation(t *testing.T) {
	conn := brokertest.New(t)
	r, _ := open(t, conn, registry.Options{Sealer: newSealer(t)})
	fill(t, r)
	before, _ := r.Snapshot().Endpoint("crm")
	e := *before
	e.SigningKey = webhook.NewSigningKey()
	oldKey := e.SigningKey
	third, newKey := webhook.NewSecret(), webhook.NewSigningKey()
	until := time.Now().Add(time.Hour).UTC().Round(0)
	e.Rotate(third, newKey, until)
	stored, _, err := r.PutEndpoint(t.Context(), e, registry.Any)
	require.NoError(t, err)
	require.Equal(t, []chat.Secret{third}, stored.Secrets)
	require.Equal(t, newKey, stored.SigningKey)
	require.Equal(t, []chat.Retiring{{Key: secretOne, Until: until}, {Key: secretTwo, Until: until}, {Key: oldKey, Until: until}}, stored.Retiring)
	require.Empty(t, before.Retiring, "a snapshot never changes")

	// Whatever is written next, what has ended is not kept.
	e.Retiring[0].Until = time.Now().Add(-time.Nanosecond)
	e.Disabled = "moving"
	stored, _, err = r.PutEndpoint(t.Context(), e, registry.Any)
	require.NoError(t, err)
	require.Len(t, stored.Retiring, 2)
	now, _ := r.Snapshot().Endpoint("crm")
	require.Len(t, now.Retiring, 2)

	for range 3 {
		e.Rotate(webhook.NewSecret(), webhook.NewSigningKey(), until)
	}
	stored, _, err = r.PutEndpoint(t.Context(), e, registry.Any)
	require.NoError(t, err, "five of a kind")
	e = stored
	e.Rotate(webhook.NewSecret(), webhook.NewSigningKey(), until)
	_, _, err = r.PutEndpoint(t.Context(), e, registry.Any)
	require.ErrorContains(t, err, "overlap 0")
	e.Rotate(third, newKey, time.Time{})
	stored, _, err = r.PutEndpoint(t.Context(), e, registry.Any)
	require.NoError(t, err)
	require.Empty(t, stored.Retiring)
	require.Equal(t, []chat.Secret{third}, stored.Secrets)
}

func TestTokens(t *testing.T) {
	conn := brokertest.New(t)
	r, _ := open(t, conn, registry.Options{Sealer: newSealer(t)})
	clear, token := registry.NewToken("", "ci", time.Now())
	require.Regexp(t, `^pat_[a-z2-7]{10}_[A-Za-z0-9_-]{43}$`, clear)
	_, err := r.PutToken(t.Context(), token, registry.Absent)
	require.NoError(t, err)
	s := r.Snapshot()
	got, ok := s.Authenticate(clear)
	require.True(t, ok)
	require.Equal(t, token, got)
	require.True(t, got.Ops)
	for _, bad := range []string{
		"", "pat_", "pat_" + token.ID, "pat_" + token.ID + "_", clear + "x", clear[:len(clear)-1], clear[len("pat_"):],
		"pat_aaaaaaaaaa_" + clear[len("pat_aaaaaaaaaa_"):],
	} {
		_, ok := s.Authenticate(bad)
		require.False(t, ok, bad)
	}
}

func TestLoadOrCreateKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "seal.key")
	var g errgroup.Group
	keys := make([][]byte, 8)
	for i := range keys {
		g.Go(func() (err error) {
			keys[i], err = registry.LoadOrCreateKey(path)
			return err
		})
	}
	require.NoError(t, g.Wait())
	for _, key := range keys {
		require.Equal(t, keys[0], key)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, files, 1)

	require.NoError(t, os.WriteFile(path, []byte("short"), 0o600))
	_, err = registry.LoadOrCreateKey(path)
	require.ErrorContains(t, err, "sealing key")
}

// BenchmarkOpen loads 10,000 endpoints of one channel.
func BenchmarkOpen(b *testing.B) {
	layout := brokertest.Layout
	layout.Store = 20 << 30
	srv := startServer(b, b.TempDir(), "", layout.Store)
	b.Cleanup(func() { require.NoError(b, srv.Close(context.WithoutCancel(b.Context()))) })
	conn, err := srv.Connect("bench", nopLog())
	require.NoError(b, err)
	b.Cleanup(conn.Close)
	require.NoError(b, topology.Ensure(b.Context(), conn.JS, layout))
	o := registry.Options{Sealer: newSealer(b)}
	r, _ := open(b, conn, o)
	fill(b, r)
	for i := range 10_000 {
		e := shopEndpoint()
		e.ID = fmt.Sprintf("e%d", i)
		_, _, err := r.PutEndpoint(b.Context(), e, registry.Absent)
		require.NoError(b, err)
	}
	for b.Loop() {
		again, err := registry.Open(b.Context(), conn.JS, o)
		require.NoError(b, err)
		require.Len(b, again.Snapshot().Endpoints(), 10_001)
	}
}
