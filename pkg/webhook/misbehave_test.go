package webhook_test

import (
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// The ways to reach an endpoint. What is held to be no HTTP differs by them.
const (
	overHTTP1 = "HTTP/1.1"
	overTLS   = "HTTP/1.1 with TLS"
	overHTTP2 = "HTTP/2"
)

// misbehaving starts an endpoint that answers by one step, with a client that
// reaches it.
func misbehaving(t *testing.T, over string, reply webhooktest.Reply, change func(*webhook.Options)) (*webhooktest.Receiver, *webhook.Client) {
	t.Helper()
	options := []webhooktest.Option{webhooktest.WithSteps(webhooktest.Step{Reply: reply, Times: webhooktest.Forever})}
	switch over {
	case overTLS:
		options = append(options, webhooktest.WithTLS(), webhooktest.WithHTTP1())
	case overHTTP2:
		options = append(options, webhooktest.WithTLS())
	}
	r := webhooktest.New(t, options...)
	return r, newClient(t, func(o *webhook.Options) {
		if over != overHTTP1 {
			trust(t, r.Server())(o)
		}
		if change != nil {
			change(o)
		}
	})
}

func TestDoIsBoundedWhateverTheEndpointDoes(t *testing.T) {
	const (
		closed = "reset: the endpoint closed the connection before its answer was complete"
		reset  = "reset: the endpoint reset the connection before its answer was complete"
		stream = "reset: the endpoint reset the HTTP/2 stream before its answer was complete: INTERNAL_ERROR"
		large  = "protocol: the answer's header fields are larger than 64 KiB"
		large2 = "protocol: the answer is not HTTP/2, or its header fields are larger than 64 KiB: connection error: PROTOCOL_ERROR"
		late   = "timeout: no complete answer within 250ms"
	)
	for _, c := range []struct {
		name    string
		reply   webhooktest.Reply
		status  int
		excerpt int               // its bytes; -1 where as much is kept as had come
		says    string            // the attempt's reason
		over    map[string]string // where it differs
	}{
		{name: "hangs", reply: webhooktest.Reply{Fault: webhooktest.Hang}, says: late},
		{name: "slow header fields", reply: webhooktest.Reply{Delay: time.Hour}, says: late},
		{name: "trickles", reply: webhooktest.Reply{Trickle: time.Millisecond}, status: 200, excerpt: -1, says: late},
		{name: "trickles, and fails", reply: webhooktest.Reply{Status: 500, Trickle: time.Millisecond}, status: 500, excerpt: -1, says: late},
		{name: "never ends", reply: webhooktest.Reply{Fault: webhooktest.EndlessBody}, status: 200, excerpt: webhook.MaxExcerpt},
		{name: "huge", reply: webhooktest.Reply{BodyBytes: 1 << 30}, status: 200, excerpt: webhook.MaxExcerpt},
		{
			name: "endless header fields", reply: webhooktest.Reply{Fault: webhooktest.EndlessHeader}, says: large,
			over: map[string]string{overHTTP2: large2},
		},
		{
			name: "huge header fields", reply: webhooktest.Reply{HeaderBytes: 1 << 20}, says: large,
			over: map[string]string{overHTTP2: large2},
		},
		{
			name: "not HTTP", reply: webhooktest.Reply{Fault: webhooktest.NotHTTP},
			says: `protocol: the answer is not HTTP: malformed HTTP status code "mail.example.com"`,
			over: map[string]string{overHTTP2: "protocol: the answer is not HTTP: http2: frame too large"},
		},
		{name: "closes", reply: webhooktest.Reply{Fault: webhooktest.Close}, says: closed},
		{name: "closes within the header fields", reply: webhooktest.Reply{Fault: webhooktest.CloseInHeader}, says: closed},
		{name: "closes within the body", reply: webhooktest.Reply{Fault: webhooktest.CloseInBody}, status: 200, excerpt: -1, says: closed},
		{name: "closes within a 503", reply: webhooktest.Reply{Status: 503, Fault: webhooktest.CloseInBody}, status: 503, excerpt: -1, says: closed},
		{name: "resets", reply: webhooktest.Reply{Fault: webhooktest.Reset}, says: reset, over: map[string]string{overHTTP2: stream}},
		{
			name: "resets within the body", reply: webhooktest.Reply{Fault: webhooktest.ResetInBody}, status: 200, excerpt: -1,
			says: reset, over: map[string]string{overHTTP2: stream},
		},
		{name: "answers and dies", reply: webhooktest.Reply{Status: 201, Body: "ok", Fault: webhooktest.Die}, status: 201, excerpt: 2},
	} {
		for _, over := range []string{overHTTP1, overTLS, overHTTP2} {
			t.Run(c.name+"/"+over, func(t *testing.T) {
				r, client := misbehaving(t, over, c.reply, nil)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				// Long where nothing takes time, so that only what must runs into it.
				timeout := time.Minute
				want := c.says
				if text, ok := c.over[over]; ok {
					want = text
				}
				if want == late {
					timeout = 250 * time.Millisecond
				}
				result := client.Do(t.Context(), webhook.Request{URL: r.ParsedURL(), Body: []byte(`{}`), MessageID: "m", Attempt: 1, Timeout: timeout})
				runtime.ReadMemStats(&after)

				require.Equal(t, want, result.Attempt().Error)
				require.Equal(t, c.status, result.Status)
				require.Equal(t, c.status != 0, result.Err == nil, "a status stands")
				require.LessOrEqual(t, len(result.Excerpt), webhook.MaxExcerpt)
				if c.excerpt >= 0 {
					require.Len(t, result.Excerpt, c.excerpt)
				}
				require.Less(t, result.Duration, timeout+10*time.Second)
				require.Len(t, r.All(), 1, "one POST, whatever comes back")
				if c.reply.HeaderBytes == 0 && (c.reply.Fault != webhooktest.EndlessHeader || over != overHTTP2) { // which the receiver makes in memory
					require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20), "both sides together, in bytes")
				}
			})
		}
	}
}

func TestDoWhenTheHandshakeIsHeld(t *testing.T) {
	for _, over := range []string{overTLS, overHTTP2} {
		r, client := misbehaving(t, over, webhooktest.Reply{Fault: webhooktest.HoldHandshake}, func(o *webhook.Options) { o.TLSTimeout = 50 * time.Millisecond })
		result := client.Do(t.Context(), webhook.Request{URL: r.ParsedURL(), MessageID: "m", Attempt: 1, Timeout: time.Minute})
		require.EqualError(t, result.Err, "timeout: the endpoint took the connection and did not finish: net/http: TLS handshake timeout", over)
		require.Empty(t, r.All(), "no request ever came")
	}
	r, client := misbehaving(t, overHTTP1, webhooktest.Reply{Fault: webhooktest.HoldHandshake}, nil)
	result := client.Do(t.Context(), webhook.Request{URL: r.ParsedURL(), MessageID: "m", Attempt: 1, Timeout: 50 * time.Millisecond})
	require.EqualError(t, result.Err, "timeout: no complete answer within 50ms")
}

// An endpoint that confirms and dies is refused from then on, until it is back.
func TestDoToAnEndpointThatDied(t *testing.T) {
	r := webhooktest.New(t, webhooktest.WithSteps(webhooktest.Step{Reply: webhooktest.Reply{Fault: webhooktest.Die}}))
	client := newClient(t, nil)
	request := webhook.Request{URL: r.ParsedURL(), Body: []byte(`{}`), MessageID: "m", Attempt: 1}
	require.NoError(t, client.Do(t.Context(), request).Err)
	client.Close() // the kept connection, which may not have been seen to end
	result := client.Do(t.Context(), request)
	require.Equal(t, webhook.KindRefused, webhook.KindOf(result.Err), "%v", result.Err)
	require.Len(t, r.All(), 1)
}

func TestDoFollowsNoRedirect(t *testing.T) {
	elsewhere := webhooktest.New(t)
	for _, over := range []string{overHTTP1, overTLS, overHTTP2} {
		for status := 300; status <= 399; status++ {
			target := elsewhere.URL()
			if status%2 == 1 {
				target = "http://169.254.169.254/latest/meta-data/"
			}
			if status != 301 && status != 302 && status != 303 && status != 307 && status != 308 && over != overHTTP1 {
				continue // the others once, for time's sake
			}
			r, client := misbehaving(t, over, webhooktest.Reply{Status: status, Redirect: target}, nil)
			result := client.Do(t.Context(), webhook.Request{URL: r.ParsedURL(), Body: []byte(`{}`), MessageID: "m", Attempt: 1})
			require.NoError(t, result.Err)
			require.Equal(t, status, result.Status)
			require.Len(t, r.All(), 1)
		}
	}
	require.Empty(t, elsewhere.All())
}

// What an endpoint sends in place of an answer is quoted, but not at any length.
func TestDoKeepsReasonsShort(t *testing.T) {
	for name, line := range map[string]string{
		"a line without end":      strings.Repeat("x", 60<<10) + "\r\n",
		"a status line too long":  "HTTP/1.1 2" + strings.Repeat("é\x00", 20<<10) + " OK\r\n\r\n",
		"a header field of words": "HTTP/1.1 200 OK\r\n" + strings.Repeat("\x1b[31m ", 5<<10) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			result := newClient(t, nil).Do(t.Context(), webhook.Request{URL: parsed(t, hangsUp(t, line)), MessageID: "m", Attempt: 1})
			require.Equal(t, webhook.KindProtocol, webhook.KindOf(result.Err), "%v", result.Err)
			reason := result.Attempt().Error
			require.Less(t, len(reason), 320)
			require.NotContains(t, reason, "\x1b")
			require.NotContains(t, reason, "\x00")
		})
	}
}

// deliveriesInFlight are under way at once in the tests of connections.
const deliveriesInFlight = 64

// deliver makes n attempts, with deliveriesInFlight at once, and requires that
// each is confirmed.
func deliver(t *testing.T, c *webhook.Client, request webhook.Request, n int) {
	t.Helper()
	todo := make(chan struct{}, n)
	for range n {
		todo <- struct{}{}
	}
	close(todo)
	failed := make(chan webhook.Result, deliveriesInFlight)
	for range deliveriesInFlight {
		go func() {
			var last webhook.Result
			for range todo {
				if result := c.Do(t.Context(), request); result.Status != http.StatusOK {
					last = result
				}
			}
			failed <- last
		}()
	}
	for range deliveriesInFlight {
		last := <-failed
		require.NoError(t, last.Err)
		require.Zero(t, last.Status)
	}
}

func remotes(r *webhooktest.Receiver) map[string]int {
	by := map[string]int{}
	for _, m := range r.All() {
		by[m.Remote]++
	}
	return by
}

// counted is a listener that counts connections, used or not.
type counted struct {
	net.Listener
	conns chan struct{}
}

func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.conns <- struct{}{}
	}
	return conn, err
}

func TestDoKeepsToAsManyConnectionsAsDeliveriesInFlight(t *testing.T) {
	const n = 10_000
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	conns := make(chan struct{}, n)
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(counted{listener, conns}) }()
	t.Cleanup(func() {
		_ = server.Close()
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	c := newClient(t, nil)
	deliver(t, c, webhook.Request{URL: parsed(t, "http://"+listener.Addr().String()), Body: []byte(`{}`), MessageID: "m", Attempt: 1}, n)
	require.LessOrEqual(t, len(conns), deliveriesInFlight, "net/http dials for whoever waits, also when another connection comes free first")
}

func TestDoSharesOneConnectionOverHTTP2(t *testing.T) {
	r := webhooktest.New(t, webhooktest.WithTLS())
	c := newClient(t, trust(t, r.Server()))
	request := webhook.Request{URL: r.ParsedURL(), Body: []byte(`{}`), MessageID: "m", Attempt: 1}
	require.NoError(t, c.Do(t.Context(), request).Err)
	deliver(t, c, request, 2000)
	require.Len(t, remotes(r), 1)
	for _, m := range r.All() {
		require.Equal(t, "HTTP/2.0", m.Proto)
	}
}
