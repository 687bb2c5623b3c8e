package webhook

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rawServer is an endpoint that serves each of its connections as it likes.
type rawServer struct {
	url   *url.URL
	conns atomic.Int32 // that were opened
}

// serveRaw runs serve for each connection and closes the connection when it
// returns. All have returned when the test ends; a connection that is still
// open then is closed.
func serveRaw(t testing.TB, serve func(conn net.Conn, n int32)) *rawServer {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &rawServer{}
	s.url, err = url.Parse("http://" + listener.Addr().String() + "/webhook")
	require.NoError(t, err)
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			n := s.conns.Add(1)
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn, n)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return s
}

// answering answers each request of a connection with the same bytes.
func answering(reply string, thenClose bool) func(net.Conn, int32) {
	return func(conn net.Conn, _ int32) {
		in := bufio.NewReader(conn)
		for readRequest(in) == nil {
			if _, err := io.WriteString(conn, reply); err != nil || thenClose {
				return
			}
		}
	}
}

func readRequest(in *bufio.Reader) error {
	req, err := http.ReadRequest(in)
	if err == nil {
		_, err = io.Copy(io.Discard, req.Body)
	}
	return err
}

func plainClient(t testing.TB, change func(*Options)) *Client {
	t.Helper()
	o := Options{Version: "1.2.3", Guard: &Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AnyPort: true}}
	if change != nil {
		change(&o)
	}
	c, err := NewClient(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func small(u *url.URL) Request {
	return Request{URL: u, Body: []byte(`{"a":1}`), MessageID: "m", Attempt: 1, Timeout: 10 * time.Second}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// answers are what an endpoint may say, and what becomes of it.
var answers = []struct {
	name    string
	reply   string
	hangsUp bool
	status  int
	excerpt string
	kind    Kind // of Err
	broken  Kind // of BodyErr
	kept    bool
}{
	{name: "complete", reply: ok, status: 200, excerpt: "ok", kept: true},
	{name: "chunks and a trailer", reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX: y\r\n\r\n", status: 200, excerpt: "ok", kept: true},
	{name: "no content", reply: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, kept: true},
	{name: "empty", reply: "HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n", status: 500, kept: true},
	{name: "interim answers", reply: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok, status: 200, excerpt: "ok", kept: true},
	{name: "interim answers without end", reply: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 2000), kind: KindProtocol},
	{name: "an interim answer alone", reply: "HTTP/1.1 100 Continue\r\n\r\n", hangsUp: true, kind: KindReset},
	{name: "another protocol", reply: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", status: 101},
	{name: "to be closed", reply: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", status: 200, excerpt: "ok"},
	{name: "HTTP/1.0", reply: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", status: 200, excerpt: "ok"},
	{name: "HTTP/1.0 to be kept", reply: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", status: 200, excerpt: "ok"},
	{name: "until the end", reply: "HTTP/1.1 200 OK\r\n\r\nok", hangsUp: true, status: 200, excerpt: "ok"},
	{name: "two answers", reply: ok + ok, status: 200, excerpt: "ok"},
	{name: "bytes left over", reply: ok + "\r\n", status: 200, excerpt: "ok"},
	{name: "a body that must not be", reply: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", status: 204},
	{name: "a body over the bound", reply: "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("x", 70000), status: 200, excerpt: strings.Repeat("x", MaxExcerpt)},
	{name: "a body of the bound", reply: "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + strings.Repeat("x", 65536), status: 200, excerpt: strings.Repeat("x", MaxExcerpt), kept: true},
	{name: "half a body", reply: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", hangsUp: true, status: 200, excerpt: "ok", broken: KindReset},
	{name: "half of the chunks", reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", hangsUp: true, status: 200, excerpt: "ok", broken: KindReset},
	{name: "no chunks", reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n", status: 200, broken: KindProtocol},
	{name: "nothing", hangsUp: true, kind: KindReset},
	{name: "half a line", reply: "HTTP/1.1 20", hangsUp: true, kind: KindProtocol},
	{name: "half of the header fields", reply: "HTTP/1.1 200 OK\r\nA: b\r\n", hangsUp: true, kind: KindReset},
	{name: "half a header field", reply: "HTTP/1.1 200 OK\r\nContent-Le", hangsUp: true, kind: KindProtocol},
	{name: "not HTTP", reply: "220 mail ready\r\n", kind: KindProtocol},
	{name: "not HTTP, nor a line", reply: strings.Repeat("\x16\x03\x01", 40_000), kind: KindProtocol},
	{name: "a header field without end", reply: "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 80_000), kind: KindProtocol},
	{name: "header fields without end", reply: "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 20_000), kind: KindProtocol},
	{name: "large header fields", reply: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: " + strings.Repeat("x", 60_000) + "\r\n\r\nok", status: 200, excerpt: "ok", kept: true},
	{name: "not a header field", reply: "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", kind: KindProtocol},
	{name: "two lengths", reply: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", kind: KindProtocol},
	{name: "a negative length", reply: "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", kind: KindProtocol},
	{name: "an unknown coding", reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", kind: KindProtocol},
}

func TestPlainReadsAnswers(t *testing.T) {
	for _, a := range answers {
		t.Run(a.name, func(t *testing.T) {
			s := serveRaw(t, answering(a.reply, a.hangsUp))
			c := plainClient(t, nil)
			result := c.Do(t.Context(), small(s.url))
			require.Equal(t, a.kind, KindOf(result.Err), "%v", result.Err)
			require.Equal(t, a.broken, KindOf(result.BodyErr), "%v", result.BodyErr)
			require.Equal(t, a.status, result.Status)
			require.Equal(t, a.excerpt, string(result.Excerpt))
			require.EqualValues(t, 1, s.conns.Load())
			c.Do(t.Context(), small(s.url))
			require.Equal(t, a.kept, s.conns.Load() == 1)
		})
	}
}

func TestPlainBoundsATrickle(t *testing.T) {
	for name, c := range map[string]struct {
		begin, rest string
		status      int
	}{
		"silence":       {"", "", 0},
		"status":        {"", "HTTP/1.1 200 O", 0},
		"header fields": {"HTTP/1.1 200 OK\r\n", "A: b\r\n", 0},
		"interim":       {"", "HTTP/1.1 102 Processing\r\n\r\n", 0},
		"body":          {"HTTP/1.1 200 OK\r\n\r\n", "x", 200},
		"chunks":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveRaw(t, func(conn net.Conn, _ int32) {
				_, _ = io.WriteString(conn, c.begin)
				if c.rest == "" {
					_, _ = io.Copy(io.Discard, conn)
					return
				}
				for i := 0; ; i++ {
					if _, err := conn.Write([]byte{c.rest[i%len(c.rest)]}); err != nil {
						return
					}
					timer := time.NewTimer(2 * time.Millisecond)
					<-timer.C
				}
			})
			r := small(s.url)
			r.Timeout = 60 * time.Millisecond
			result := plainClient(t, nil).Do(t.Context(), r)
			require.Equal(t, c.status, result.Status)
			err := result.Err
			if c.status != 0 {
				require.NoError(t, err)
				err = result.BodyErr
			}
			require.Equal(t, KindTimeout, KindOf(err), "%v", err)
			require.ErrorContains(t, err, "no complete answer within 60ms")
		})
	}
}

func TestPlainSendsWhatNetHTTPSends(t *testing.T) {
	full := Request{
		Body: []byte(`{"a":1}`), MessageID: "msg_1", Keys: []*Key{key(t, vectorSecret), key(t, vectorSecret)}, Attempt: 3,
		Replay: "rpl_1", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	bare := Request{MessageID: "m"}
	long := full
	long.Body = bytes.Repeat([]byte("x"), 100_000)
	own := full
	own.Header, own.Auth = http.Header{"X-Shop": {"a b"}}, &Auth{fixed: "Bearer t"}
	for _, raw := range []string{
		"http://example.com", "http://EXAMPLE.com:80/", "http://example.com:8080/a%20b/ä?x=%0d%0a&y=1 2#f",
		"http://example.com?", "http://user:secret@example.com/hook", "http://192.0.2.1/a//b", "http://[2001:db8::1]/", "http://[2001:db8::1]:8080//x",
	} {
		for name, r := range map[string]Request{"full": full, "bare": bare, "long": long, "own": own} {
			t.Run(name+" "+raw, func(t *testing.T) {
				var err error
				r.URL, err = url.Parse(raw)
				require.NoError(t, err)
				c := plainClient(t, nil)
				var addrs []string
				var sent [2]*scripted
				c.transport.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) {
					conn := newScripted(ok)
					conn.enough = func(b []byte) bool { return bytes.HasSuffix(b, append([]byte("\r\n\r\n"), r.Body...)) }
					sent[len(addrs)] = conn
					addrs = append(addrs, addr)
					return conn, nil
				}
				at := time.Unix(1_800_000_000, 0)
				authorization, err := r.authorization(t.Context(), c)
				require.NoError(t, err)
				fields := c.fields(&r, at, authorization)
				require.True(t, plain(r.URL, &fields, r.Header))
				result := Result{At: at}
				c.post(t.Context(), &r, &result)
				require.NoError(t, result.Err)
				resp, err := c.transport.RoundTrip(newRequest(t.Context(), &r, fields))
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())

				require.Len(t, addrs, 2)
				require.Equal(t, addrs[1], addrs[0])
				require.True(t, bytes.Equal(sent[1].sent, sent[0].sent), "%.500s\n%.500s", sent[1].sent, sent[0].sent)
				require.NotContains(t, string(sent[0].sent), "secret")
				if name != "long" {
					require.Equal(t, 1, sent[0].writes, "head and body leave in one piece")
				}
			})
		}
	}
}

func TestPlainRefusesWhatNetHTTPRefuses(t *testing.T) {
	var received atomic.Int64
	s := serveRaw(t, func(conn net.Conn, _ int32) {
		n, _ := io.Copy(io.Discard, conn)
		received.Add(n)
	})
	c := plainClient(t, nil)
	for _, evil := range []string{"a\r\nX-Injected: 1", "a\nb", "a\rb", "a\x00b", "a\x7fb", "\r\n\r\nPOST / HTTP/1.1"} {
		for name, set := range map[string]func(*Request){
			"id":          func(r *Request) { r.MessageID = evil },
			"traceparent": func(r *Request) { r.Traceparent = evil },
			"replay":      func(r *Request) { r.Replay = evil },
			"query":       func(r *Request) { u := *r.URL; u.RawQuery = evil; r.URL = &u },
			"host":        func(r *Request) { u := *r.URL; u.Host += evil; r.URL = &u },
		} {
			r := small(s.url)
			r.Timeout = time.Second
			set(&r)
			result := c.Do(t.Context(), r)
			require.Error(t, result.Err, "%s %q", name, evil)
			require.NotEqual(t, KindTimeout, KindOf(result.Err), "%s %q", name, evil)
		}
	}
	require.Zero(t, received.Load())

	for _, raw := range []string{"https://example.com", "http:opaque", "http:///x", "http://example.com:/", "http://exämple.com", "http://[fe80::1%25eth0]/", "http://a_b!c/"} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		require.False(t, plain(u, &[fieldCount]string{}, nil), raw)
	}
	u, err := url.Parse("http://example.com")
	require.NoError(t, err)
	for _, value := range []string{" a", "a ", "ä", "a\tb"} {
		require.False(t, plain(u, &[fieldCount]string{4: value}, nil), value)
		require.False(t, plain(u, &[fieldCount]string{}, http.Header{"X-A": {value}}), value)
	}
	require.True(t, plain(u, &[fieldCount]string{}, http.Header{"X-A": {"b"}}))
	for _, own := range []http.Header{{"X A": {"b"}}, {"": {"b"}}, {"X-A": {"b", "c"}}, {"X-A": {}}, {HeaderID: {"b"}}} {
		require.False(t, plain(u, &[fieldCount]string{}, own), own)
	}
}

func TestPlainReusesConnections(t *testing.T) {
	for name, parallel := range map[string]int{"one at a time": 1, "64 at a time": 64} {
		t.Run(name, func(t *testing.T) {
			s := serveRaw(t, func(conn net.Conn, _ int32) { answer(conn) })
			c := plainClient(t, nil)
			var posts, failed atomic.Int32
			var posting sync.WaitGroup
			for range parallel {
				posting.Go(func() {
					for posts.Add(1) <= 10_000 {
						if c.Do(t.Context(), small(s.url)).Status != 200 {
							failed.Add(1)
						}
					}
				})
			}
			posting.Wait()
			require.Zero(t, failed.Load())
			require.LessOrEqual(t, s.conns.Load(), int32(parallel))
		})
	}
}

// hidden hides a connection's socket.
type hidden struct{ net.Conn }

// An endpoint that closes unused connections costs no attempt, whether or not
// the socket can be looked at.
func TestPlainSeesThatAKeptConnectionIsDead(t *testing.T) {
	for name, lastWords := range map[string]string{
		"closed":                      "",
		"closed with a word":          "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n",
		"still open, but not in step": "HTTP/1.1 200 OK\r\n\r\n",
	} {
		for _, hide := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				said := make(chan struct{})
				release := make(chan struct{})
				s := serveRaw(t, func(conn net.Conn, _ int32) {
					if readRequest(bufio.NewReader(conn)) != nil {
						return
					}
					_, _ = io.WriteString(conn, ok)
					<-release // the client has its answer
					_, _ = io.WriteString(conn, lastWords)
					if strings.HasPrefix(name, "closed") {
						_ = conn.Close()
					}
					said <- struct{}{}
					_, _ = conn.Read(make([]byte, 1))
				})
				c := plainClient(t, nil)
				if dial := c.transport.DialContext; hide {
					c.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
						conn, err := dial(ctx, network, addr)
						return hidden{conn}, err
					}
				}
				for i := range int32(5) {
					result := c.Do(t.Context(), small(s.url))
					require.NoError(t, result.Err)
					require.Equal(t, 200, result.Status)
					require.Equal(t, i+1, s.conns.Load())
					require.Equal(t, 1, c.idle.count, "kept, as far as the client knows")
					release <- struct{}{}
					<-said
				}
			})
		}
	}
}

// failing fails a connection's next write behind its first n bytes.
type failing struct {
	net.Conn
	on *atomic.Bool
	n  int
}

func (f failing) Write(p []byte) (int, error) {
	if !f.on.Load() {
		return f.Conn.Write(p)
	}
	n, _ := f.Conn.Write(p[:f.n])
	return n, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
}

func TestPlainRepeatsOnlyWhatWasNotSent(t *testing.T) {
	for _, c := range []struct {
		name  string
		n     int
		kept  bool
		conns int32
		kind  Kind
	}{
		{"nothing sent on a kept connection", 0, true, 2, ""},
		{"a byte sent on a kept connection", 1, true, 1, KindReset},
		{"nothing sent on a new connection", 0, false, 1, KindReset},
		{"a byte sent on a new connection", 1, false, 1, KindReset},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serveRaw(t, answering(ok, false))
			client := plainClient(t, nil)
			dial := client.transport.DialContext
			var on atomic.Bool
			var dials int32
			client.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				if dials++; dials > 1 {
					return conn, err
				}
				return failing{conn, &on, c.n}, err
			}
			if c.kept {
				require.NoError(t, client.Do(t.Context(), small(s.url)).Err)
			}
			on.Store(true)
			result := client.Do(t.Context(), small(s.url))
			require.Equal(t, c.kind, KindOf(result.Err), "%v", result.Err)
			require.Equal(t, c.conns, dials)
		})
	}
}

func TestPlainSendsLargeBodies(t *testing.T) {
	got := make(chan []byte, 2)
	s := serveRaw(t, func(conn net.Conn, _ int32) {
		in := bufio.NewReader(conn)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			got <- body
			_, _ = io.WriteString(conn, ok)
		}
	})
	c := plainClient(t, nil)
	r := small(s.url)
	for _, size := range []int{firstWrite - 200, firstWrite, firstWrite + 1, 8 << 20, 7} {
		r.Body = bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		require.NoError(t, c.Do(t.Context(), r).Err)
		require.True(t, bytes.Equal(r.Body, <-got))
		require.Eventually(t, func() bool {
			c.idle.mu.Lock()
			defer c.idle.mu.Unlock()
			return c.idle.count == 1
		}, 5*time.Second, time.Millisecond, "who writes the rest may be the last to leave")
	}
	require.EqualValues(t, 1, s.conns.Load())
}

func TestPlainEarlyAnswers(t *testing.T) {
	const early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
	for name, hangsUp := range map[string]bool{"and reads no more": false, "and closes": true} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			s := serveRaw(t, func(conn net.Conn, n int32) {
				if n > 1 {
					answering(ok, false)(conn, n)
					return
				}
				_, _ = io.ReadFull(conn, make([]byte, 1000))
				_, _ = io.WriteString(conn, early)
				if !hangsUp {
					<-release
				}
			})
			t.Cleanup(func() { close(release) })
			c := plainClient(t, nil)
			r := small(s.url)
			r.Body = make([]byte, 32<<20)
			result := c.Do(t.Context(), r)
			require.NoError(t, result.Err)
			require.Equal(t, 413, result.Status)
			require.Equal(t, "no", string(result.Excerpt))
			require.Less(t, result.Duration, r.Timeout)
			require.Equal(t, 200, c.Do(t.Context(), small(s.url)).Status)
			require.EqualValues(t, 2, s.conns.Load(), "a request that was not sent in full ends its connection")
		})
	}
}

func TestPlainBoundsWriting(t *testing.T) {
	release := make(chan struct{})
	s := serveRaw(t, func(net.Conn, int32) { <-release })
	t.Cleanup(func() { close(release) })
	r := small(s.url)
	r.Body, r.Timeout = make([]byte, 32<<20), 50*time.Millisecond
	result := plainClient(t, nil).Do(t.Context(), r)
	require.Equal(t, KindTimeout, KindOf(result.Err), "%v", result.Err)
}

// Whenever a caller gives up, the next request finds a connection that works.
func TestPlainInterrupted(t *testing.T) {
	s := serveRaw(t, answering(ok, false))
	c := plainClient(t, nil)
	gone := errors.New("gone")
	interrupted := 0
	for i := range 300 {
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(time.Duration(i)*time.Microsecond, func() { cancel(gone) })
		if result := c.Do(ctx, small(s.url)); result.Err != nil {
			interrupted++
			require.Equal(t, KindInterrupted, KindOf(result.Err))
			require.ErrorIs(t, result.Err, gone)
		}
		result := c.Do(t.Context(), small(s.url))
		require.NoError(t, result.Err)
		require.NoError(t, result.BodyErr)
		timer.Stop()
		cancel(nil)
	}
	require.Positive(t, interrupted)

	ctx, cancel := context.WithCancelCause(t.Context())
	c.Close()
	dial, dials := c.transport.DialContext, 0
	c.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials++
		conn, err := dial(ctx, network, addr)
		return cancelling{conn, func() { cancel(gone) }}, err
	}
	result := c.Do(ctx, small(s.url))
	require.Equal(t, 200, result.Status, "%v", result.Err)
	require.Zero(t, c.idle.count, "the end of its context came with the answer")
	require.ErrorIs(t, c.Do(ctx, small(s.url)).Err, gone)
	require.Equal(t, 1, dials, "nothing is begun any more")
}

// cancelling ends its request's context as soon as the answer is there.
type cancelling struct {
	net.Conn
	cancel func()
}

func (c cancelling) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.cancel()
	return n, err
}

// scripted is a connection in memory: it says answer once enough was written,
// and then its end.
type scripted struct {
	mu     sync.Mutex
	change sync.Cond
	enough func(sent []byte) bool
	sent   []byte
	writes int
	answer []byte
	closed bool
}

func newScripted(answer string) *scripted {
	s := &scripted{answer: []byte(answer), enough: func(sent []byte) bool { return len(sent) > 0 }}
	s.change.L = &s.mu
	return s
}

func (s *scripted) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, p...)
	s.writes++
	s.change.Broadcast()
	return len(p), nil
}

func (s *scripted) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.enough(s.sent) && !s.closed {
		s.change.Wait()
	}
	if s.closed {
		return 0, net.ErrClosed
	}
	if len(s.answer) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.answer)
	s.answer = s.answer[n:]
	return n, nil
}

func (s *scripted) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.change.Broadcast()
	return nil
}

func (s *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// Whatever comes back is taken as net/http takes it, and a connection is kept
// only if the answer that ended there was whole.
func FuzzPlainAnswer(f *testing.F) {
	for _, a := range answers {
		f.Add([]byte(a.reply))
	}
	own, err := url.Parse("http://example.com/")
	require.NoError(f, err)
	netHTTP, err := url.Parse("http://example.com:/") // its colon leaves it to net/http
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, reply []byte) {
		do := func(u *url.URL) (Result, *Client, *scripted) {
			conn := newScripted(string(reply))
			c := plainClient(t, nil)
			c.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
			return c.Do(t.Context(), small(u)), c, conn
		}
		got, c, conn := do(own)
		want, _, _ := do(netHTTP)
		require.Equal(t, want.Status, got.Status)
		require.Equal(t, want.RetryAfter, got.RetryAfter)
		require.Equal(t, string(want.Excerpt), string(got.Excerpt))
		require.Equal(t, KindOf(want.Err), KindOf(got.Err), "net/http: %v\nown: %v", want.Err, got.Err)
		require.Equal(t, KindOf(want.BodyErr), KindOf(got.BodyErr), "net/http: %v\nown: %v", want.BodyErr, got.BodyErr)

		require.Equal(t, conn.closed, c.idle.count == 0)
		if !conn.closed {
			read := reply[:len(reply)-len(conn.answer)]
			again := bufio.NewReader(bytes.NewReader(append(bytes.Clone(read), "next"...)))
			status := 100
			for status >= 100 && status < 200 {
				resp, err := http.ReadResponse(again, nil)
				require.NoError(t, err)
				_, err = io.Copy(io.Discard, resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				status = resp.StatusCode
			}
			rest, err := io.ReadAll(again)
			require.NoError(t, err)
			require.Equal(t, "next", string(rest))
		}
	})
}
