package deliveryworker

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// attempt makes the n-th attempt at a conversation's message.
func (r *rig) attempt(m string, n int) string {
	r.t.Helper()
	return r.h.Handle(r.t.Context(), r.task(r.message(m, 1), "a", n)).String()
}

// TestRotationBetweenAttempts: the body and the id are the same on each attempt
// while its secrets change, and each is signed with what is in use then.
func TestRotationBetweenAttempts(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t, webhooktest.WithScript(webhooktest.Status(http.StatusInternalServerError)))
	r.endpoint("a", customer.URL(), func(e *chat.Endpoint) { e.SigningKey = webhook.NewSigningKey() })
	secret, key := webhook.NewSecret(), webhook.NewSigningKey()
	until := time.Now().Add(time.Hour)
	var keys [][]*webhook.Key // of each attempt, one a signature
	parse := func(secrets ...chat.Secret) {
		parsed, err := webhook.ParseSecrets(secrets)
		require.NoError(t, err)
		keys = append(keys, parsed)
	}
	m := r.message("c1", 7, func(m *chat.BotMessage) { m.NLP = []byte(`{"intent": {"name":"h\u00ef","score":1.0}}`) })
	n := 0
	attempt := func(change func(*chat.Endpoint)) *chat.Endpoint {
		e, _ := r.registry.Snapshot().Endpoint("a")
		if change != nil {
			e = r.endpoint("a", "", change)
		}
		n++
		require.Contains(t, r.h.Handle(t.Context(), r.task(m, "a", n)).String(), "HTTP 500")
		return e
	}
	old := attempt(nil)
	parse(old.Secrets[0], old.SigningKey)
	attempt(func(e *chat.Endpoint) { e.Rotate(secret, key, until) })
	parse(secret, key, old.Secrets[0], old.SigningKey)
	attempt(func(e *chat.Endpoint) { e.Rotate(old.Secrets[0], old.SigningKey, time.Time{}) })
	parse(old.Secrets[0], old.SigningKey)
	// A former one whose time is over signs no more, although it is still there.
	stored := r.endpoint("a", "", func(e *chat.Endpoint) { e.Rotate(secret, key, until) })
	over := *stored
	over.Retiring = []chat.Retiring{{Key: old.Secrets[0], Until: time.Now()}, {Key: old.SigningKey, Until: time.Now()}}
	r.h.routes.known.Store("a", &route{config: stored, target: r.h.routes.build(&over, nil).target})
	attempt(nil)
	parse(secret, key)

	got := customer.All()
	require.Len(t, got, n)
	for i, p := range got {
		require.Equal(t, string(got[0].Raw), string(p.Raw), "the same bytes on each attempt")
		require.Equal(t, got[0].ID(), p.ID())
		require.Len(t, strings.Fields(p.Header.Get(webhook.HeaderSignature)), len(keys[i]))
		for _, k := range keys[i] {
			require.NoError(t, webhook.Verify([]*webhook.Key{k}, p.Header, p.Raw, p.At, 0), "attempt %d", i+1)
		}
	}
}

func TestHeadersAndBasicAuthentication(t *testing.T) {
	r := newRig(t)
	customer := webhooktest.New(t)
	r.endpoint("a", customer.URL(), func(e *chat.Endpoint) {
		e.Headers = map[string]chat.Secret{"x-team": "crm"}
		e.Auth = &chat.Auth{Kind: chat.AuthBasic, Username: "me", Password: "pw"}
	})
	require.Equal(t, "done", r.attempt("c1", 1))
	got := customer.All()[0].Header
	require.Equal(t, "crm", got.Get("X-Team"))
	require.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("me:pw")), got.Get("Authorization"))
}

// loginServer is a token server; refuses says that it gives no token.
type loginServer struct {
	*httptest.Server
	refuses atomic.Bool
	given   atomic.Int32
}

func newLoginServer(t *testing.T) *loginServer {
	t.Helper()
	l := &loginServer{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if id, secret, _ := req.BasicAuth(); l.refuses.Load() || id != "parley" || secret != "pw" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"error":"invalid_client"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, l.given.Add(1))
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *loginServer) auth() *chat.Auth {
	return &chat.Auth{Kind: chat.AuthOAuth2, TokenURL: l.URL, ClientID: "parley", ClientSecret: "pw"}
}

func TestOAuth(t *testing.T) {
	r, l := newRig(t), newLoginServer(t)
	var revoked atomic.Value
	revoked.Store("")
	customer := webhooktest.New(t, webhooktest.WithScript(func(_ int, p *webhooktest.Received) webhooktest.Reply {
		if token := p.Header.Get("Authorization"); token == "" || token == revoked.Load() {
			return webhooktest.Reply{Status: http.StatusUnauthorized}
		}
		return webhooktest.Reply{}
	}))
	r.endpoint("a", customer.URL(), func(e *chat.Endpoint) { e.Auth = l.auth() })
	var all sync.WaitGroup
	for i := range 20 {
		task := r.task(r.message(fmt.Sprint("c", i), 1), "a", 1)
		all.Go(func() {
			if got := r.h.Handle(t.Context(), task).String(); got != "done" {
				t.Error(got)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, l.given.Load(), "all share one token")

	// Revoked: one attempt fails, the next has a new token.
	revoked.Store("Bearer t1")
	require.Equal(t, "retry after 0s: HTTP 401 Unauthorized", r.attempt("c1", 1))
	require.Equal(t, "done", r.attempt("c1", 2))
	require.EqualValues(t, 2, l.given.Load())

	// Another setting leaves the token alone; another client does not.
	r.endpoint("a", "", func(e *chat.Endpoint) { e.MaxInFlight = 7 })
	require.Equal(t, "done", r.attempt("c1", 3))
	require.EqualValues(t, 2, l.given.Load())
	l.refuses.Store(true)
	r.endpoint("a", "", func(e *chat.Endpoint) { e.Auth = l.auth(); e.Auth.Scopes = []string{"hooks"} })
	posts := len(customer.All())
	require.Equal(t, "retry after 0s: auth: the token server answered 401 Unauthorized (invalid_client)", r.attempt("c1", 4))
	require.Len(t, customer.All(), posts, "nothing is posted without a token")
}

func TestClientCertificate(t *testing.T) {
	r := newRig(t)
	servers, clients := webhooktest.NewAuthority(t), webhooktest.NewAuthority(t)
	customer := webhooktest.New(t, webhooktest.WithTLSConfig(servers.ServerConfig(clients)))
	cert, key := clients.Issue("parley")
	r.endpoint("a", customer.URL())
	require.Contains(t, r.attempt("c1", 1), "retry after 0s: tls: ")
	r.endpoint("a", "", func(e *chat.Endpoint) { e.TLS = &chat.TLS{CA: servers.PEM()} })
	// The server judges when the client is done, so its alert may be lost.
	require.Regexp(t, "^retry after 0s: (tls|reset): ", r.attempt("c1", 2))
	r.endpoint("a", "", func(e *chat.Endpoint) {
		e.TLS = &chat.TLS{CA: servers.PEM(), ClientCert: cert, ClientKey: chat.Secret(key)}
	})
	require.Equal(t, "done", r.attempt("c1", 3))
	require.Equal(t, "done", r.attempt("c1", 4))
	got := customer.All()
	require.Len(t, got, 2)
	require.Equal(t, got[0].Remote, got[1].Remote, "the connection is used again")

	// The certificate goes no further than its endpoint.
	r.endpoint("b", customer.URL(), func(e *chat.Endpoint) { e.TLS = &chat.TLS{CA: servers.PEM()} })
	require.Regexp(t, "^retry after 0s: (tls|reset): ", r.h.Handle(t.Context(), r.task(r.message("c1", 2), "b", 1)).String())
	require.Len(t, customer.All(), 2)
}

// TestConnectionsGoWithTheirEndpoint: what an endpoint's own connections hold is
// dropped when its settings change or it is removed, without another message.
func TestConnectionsGoWithTheirEndpoint(t *testing.T) {
	r := newRig(t)
	authority := webhooktest.NewAuthority(t)
	closed := make(chan struct{}, 10)
	customer := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	customer.TLS = authority.ServerConfig(nil)
	customer.Config.ConnState = connectionsClosed(closed)
	customer.StartTLS()
	t.Cleanup(customer.Close)
	own := func(e *chat.Endpoint) { e.TLS = &chat.TLS{CA: authority.PEM()} }
	r.endpoint("a", customer.URL, own)
	stop := r.start()
	delivered := 0
	deliver := func() {
		delivered++
		r.publish("c1", r.message("c1", uint64(delivered)))
		r.journal.await(t, chat.OutcomeDelivered, delivered)
		require.Empty(t, closed)
	}
	wait := func() {
		select {
		case <-closed:
		case <-time.After(10 * time.Second): // less than an unused one is kept anyway
			require.Fail(t, "the connection is still there")
		}
	}
	deliver()
	r.endpoint("a", "", func(e *chat.Endpoint) { e.TLS = &chat.TLS{CA: authority.PEM() + webhooktest.NewAuthority(t).PEM()} })
	wait()
	deliver()
	_, err := r.registry.DeleteEndpoint(t.Context(), "a", registry.Present)
	require.NoError(t, err)
	wait()
	r.endpoint("b", customer.URL, own)
	deliver()
	stop()
	wait()
}

func connectionsClosed(closed chan<- struct{}) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
}
