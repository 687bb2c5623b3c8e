package webhook_test

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// loopback is a guard for receivers of tests.
func loopback() *webhook.Guard {
	return &webhook.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, AnyPort: true}
}

func newClient(t *testing.T, change func(*webhook.Options)) *webhook.Client {
	t.Helper()
	o := webhook.Options{Version: "1.2.3", Guard: loopback()}
	if change != nil {
		change(&o)
	}
	c, err := webhook.NewClient(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func trust(t *testing.T, server *httptest.Server) func(*webhook.Options) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return func(o *webhook.Options) { o.RootCAs = pool }
}

func parsed(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := loopback().ParseURL(raw)
	require.NoError(t, err)
	return u
}

func TestDoSendsTheContractsFields(t *testing.T) {
	secret := webhook.NewSecret()
	keys, err := webhook.ParseSecrets([]chat.Secret{secret, webhook.NewSecret()})
	require.NoError(t, err)
	r := webhooktest.New(t, webhooktest.WithSecrets(secret))
	c := newClient(t, nil)
	body := webhook.RenderBody("conv", "token", []byte(`{"text":"hi"}`), 7, nil)

	full := webhook.Request{
		URL: r.ParsedURL(), Body: body, MessageID: "msg_1", Keys: keys, Attempt: 3,
		Replay: "rpl_1", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	result := c.Do(t.Context(), full)
	require.NoError(t, result.Err)
	require.Equal(t, http.StatusOK, result.Status)
	require.Positive(t, result.Duration)
	bare := full
	bare.Keys, bare.Replay, bare.Traceparent = nil, "", ""
	require.NoError(t, errors.Join(c.Do(t.Context(), bare).Err))

	got, err := r.Wait(t.Context(), 2)
	require.NoError(t, err)
	first := got[0]
	require.NoError(t, first.SignatureErr)
	require.NoError(t, first.BodyErr)
	require.Equal(t, body, first.Raw)
	require.Equal(t, []any{"POST", "/webhook", "conv", uint64(7)}, []any{first.Method, first.Path, first.Body.SenderID, first.Body.MessageCounter})
	stamp := first.Header.Get(webhook.HeaderTimestamp)
	require.Equal(t, http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {"Parley/1.2.3"}, "Content-Length": {strconv.Itoa(len(body))},
		"Webhook-Id": {"msg_1"}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {first.Header.Get(webhook.HeaderSignature)},
		"Parley-Attempt": {"3"}, "Parley-Replay": {"rpl_1"}, "Traceparent": {full.Traceparent},
	}, first.Header)
	require.Equal(t, strconv.FormatInt(result.At.Unix(), 10), stamp)
	require.Len(t, strings.Fields(first.Header.Get(webhook.HeaderSignature)), 2)
	require.ElementsMatch(t, []string{"Content-Type", "User-Agent", "Content-Length", "Webhook-Id", "Webhook-Timestamp", "Parley-Attempt"},
		slices.Collect(maps.Keys(got[1].Header)))
	require.ErrorIs(t, got[1].SignatureErr, webhook.ErrSignature)
	require.Equal(t, first.Remote, got[1].Remote, "the connection is used again")
}

func TestDoReadsAnswers(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	for _, c := range []struct {
		name    string
		reply   webhooktest.Reply
		excerpt string
		reused  bool
	}{
		{"no body", webhooktest.Reply{Status: 204}, "", true},
		{"small body", webhooktest.Reply{Status: 201, Body: "ok"}, "ok", true},
		{"body over the excerpt", webhooktest.Reply{Status: 500, Body: big[:20<<10]}, big[:webhook.MaxExcerpt], true},
		{"body over the cap", webhooktest.Reply{Status: 200, Body: big}, big[:webhook.MaxExcerpt], false},
		{"retry later", webhooktest.Reply{Status: 503, Header: http.Header{"Retry-After": {"120"}}}, "", true},
		{"gone", webhooktest.Reply{Status: 410, Body: "bye"}, "bye", true},
		{"redirect", webhooktest.Reply{Status: 307, Header: http.Header{"Location": {"/elsewhere"}}}, "", true},
		{"unusual status", webhooktest.Reply{Status: 599}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply { return c.reply }))
			client := newClient(t, nil)
			request := webhook.Request{URL: r.ParsedURL(), Body: []byte(`{}`), MessageID: "m", Attempt: 1}
			result := client.Do(t.Context(), request)
			require.NoError(t, result.Err)
			require.NoError(t, result.BodyErr)
			require.Equal(t, c.reply.Status, result.Status)
			require.Equal(t, c.excerpt, string(result.Excerpt))
			require.Equal(t, c.reply.Header.Get("Retry-After"), result.RetryAfter)

			require.NoError(t, client.Do(t.Context(), request).Err)
			all := r.All()
			require.Len(t, all, 2, "one POST for each Do: nothing is followed or repeated")
			require.Equal(t, c.reused, all[0].Remote == all[1].Remote)
		})
	}
}

func TestDoSaysWhatBroke(t *testing.T) {
	never := make(chan struct{})
	silent := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		return webhooktest.Reply{Until: never}
	}))
	resets := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		return webhooktest.Reply{Fault: webhooktest.Reset}
	}))
	plain, secure := webhooktest.New(t), webhooktest.New(t, webhooktest.WithTLS())
	tooMuch := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		return webhooktest.Reply{Header: http.Header{"X-Big": {strings.Repeat("x", 128<<10)}}}
	}))
	withPath := func(s string) string { return s + "/secret-path" }
	for _, c := range []struct {
		name, url string
		change    func(*webhook.Options)
		timeout   time.Duration
		kind      webhook.Kind
		says      string
	}{
		{name: "no answer", url: silent.URL(), timeout: 50 * time.Millisecond, kind: webhook.KindTimeout, says: "no complete answer within 50ms"},
		{name: "nobody listens", url: closedPort(t), kind: webhook.KindRefused, says: "refused"},
		{name: "reset", url: resets.URL(), kind: webhook.KindReset, says: "reset"},
		{name: "closed", url: hangsUp(t, ""), kind: webhook.KindReset, says: "closed the connection"},
		{name: "not HTTP", url: hangsUp(t, "220 mail ready\r\n"), kind: webhook.KindProtocol, says: "malformed"},
		{name: "unknown authority", url: secure.URL(), kind: webhook.KindTLS, says: "unknown authority"},
		{name: "no TLS", url: strings.Replace(plain.URL(), "http:", "https:", 1), kind: webhook.KindTLS, says: "does not speak TLS"},
		{
			name: "no TLS handshake", url: "https://" + accepts(t), kind: webhook.KindTimeout, says: "TLS handshake timeout",
			change: func(o *webhook.Options) { o.TLSTimeout = 50 * time.Millisecond },
		},
		{
			name: "loopback by address", url: plain.URL(), kind: webhook.KindGuard, says: "loopback",
			change: func(o *webhook.Options) { o.Guard = &webhook.Guard{AnyPort: true} },
		},
		{
			name: "loopback by name", url: "http://localhost:8080", kind: webhook.KindGuard, says: "loopback",
			change: func(o *webhook.Options) { o.Guard = nil },
		},
		{
			name: "port", url: plain.URL(), kind: webhook.KindGuard, says: "port",
			change: func(o *webhook.Options) { o.Guard = &webhook.Guard{Allow: loopback().Allow} },
		},
		{name: "header fields without end", url: tooMuch.URL(), kind: webhook.KindProtocol, says: "header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			result := newClient(t, c.change).Do(t.Context(), webhook.Request{
				URL: parsed(t, withPath(c.url)), Body: []byte(`{}`), MessageID: "m", Attempt: 1, Timeout: c.timeout,
			})
			require.Equal(t, c.kind, webhook.KindOf(result.Err), "%v", result.Err)
			require.ErrorContains(t, result.Err, c.says)
			require.NotContains(t, result.Err.Error(), "secret-path")
			require.Zero(t, result.Status)
			require.Equal(t, result.Err.Error(), result.Attempt().Error)
		})
	}
}

func TestDoInterrupted(t *testing.T) {
	r := webhooktest.New(t, webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		return webhooktest.Reply{Until: make(chan struct{})}
	}))
	c := newClient(t, nil)
	handOver := errors.New("the partition is handed over")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan webhook.Result, 1)
	go func() {
		done <- c.Do(ctx, webhook.Request{URL: r.ParsedURL(), Body: []byte(`{}`), MessageID: "m", Attempt: 1})
	}()
	_, err := r.Wait(t.Context(), 1)
	require.NoError(t, err)
	cancel(handOver)
	result := <-done
	require.Equal(t, webhook.KindInterrupted, webhook.KindOf(result.Err))
	require.ErrorIs(t, result.Err, handOver)
}

func TestDoBadRequests(t *testing.T) {
	r := webhooktest.New(t)
	c := newClient(t, nil)
	require.Equal(t, webhook.KindRequest, webhook.KindOf(c.Do(t.Context(), webhook.Request{}).Err))
	result := c.Do(t.Context(), webhook.Request{URL: r.ParsedURL(), MessageID: "a\r\nX-Injected: 1"})
	require.Equal(t, webhook.KindRequest, webhook.KindOf(result.Err), "%v", result.Err)
	require.Empty(t, r.All())
}

func TestDoKeepsTheStatusOfAnAnswerThatBreaksOff(t *testing.T) {
	for name, rest := range map[string]string{
		"closed":  "Content-Length: 10\r\n\r\nhalf",
		"garbage": "Transfer-Encoding: chunked\r\n\r\nnot a chunk\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			result := newClient(t, nil).Do(t.Context(), webhook.Request{
				URL: parsed(t, hangsUp(t, "HTTP/1.1 200 OK\r\n"+rest)), Body: []byte(`{}`), MessageID: "m", Attempt: 1,
			})
			require.NoError(t, result.Err)
			require.Equal(t, 200, result.Status)
			require.Error(t, result.BodyErr)
			require.NotEmpty(t, result.Attempt().Error)
		})
	}
}

func TestDoBoundsABodyThatNeverEnds(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("first"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	result := newClient(t, nil).Do(t.Context(), webhook.Request{
		URL: parsed(t, server.URL), MessageID: "m", Attempt: 1, Timeout: 100 * time.Millisecond,
	})
	require.NoError(t, result.Err)
	require.Equal(t, 200, result.Status)
	require.Equal(t, "first", string(result.Excerpt))
	require.Equal(t, webhook.KindTimeout, webhook.KindOf(result.BodyErr))
}

func TestDoDoesNotWaitOnSwitchingProtocols(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
		_ = buf.Flush()
		<-release // the connection stays open and silent
		_ = conn.Close()
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	result := newClient(t, nil).Do(t.Context(), webhook.Request{URL: parsed(t, server.URL), MessageID: "m", Attempt: 1})
	require.NoError(t, result.Err)
	require.Equal(t, 101, result.Status)
}

func TestDoSpeaksHTTP2(t *testing.T) {
	r := webhooktest.New(t, webhooktest.WithTLS(), webhooktest.WithScript(func(n int, _ *webhooktest.Received) webhooktest.Reply {
		if n == 3 {
			return webhooktest.Reply{Fault: webhooktest.Reset}
		}
		return webhooktest.Reply{}
	}))
	c := newClient(t, trust(t, r.Server()))
	request := webhook.Request{URL: r.ParsedURL(), Body: []byte(`{}`), MessageID: "m", Attempt: 1}
	for range 2 {
		require.NoError(t, c.Do(t.Context(), request).Err)
	}
	require.Equal(t, webhook.KindReset, webhook.KindOf(c.Do(t.Context(), request).Err))
	all := r.All()
	require.Len(t, all, 3)
	for _, m := range all {
		require.Equal(t, "HTTP/2.0", m.Proto)
		require.Equal(t, all[0].Remote, m.Remote)
	}
}

func TestOptionsValidate(t *testing.T) {
	for _, o := range []webhook.Options{
		{Version: "1 2"},
		{Version: "1\r\n"},
		{MaxBody: -1},
		{ConnectTimeout: -1},
		{TLSTimeout: -1},
		{IdleTimeout: -1},
		{MaxIdle: -1},
		{MaxIdlePerHost: -1},
	} {
		_, err := webhook.NewClient(o)
		require.ErrorContains(t, err, "must", "%+v", o)
	}
}

// closedPort returns the URL of a port where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String()
}

// accepts returns the address of a listener that takes connections and says
// nothing.
func accepts(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// hangsUp returns the URL of a server that reads one request, writes answer
// and closes the connection.
func hangsUp(t *testing.T, answer string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = conn.Write([]byte(answer))
			_ = conn.Close()
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
