package webhook

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// keepAliveThenHangUp answers the first request of each connection, reads the
// second in full, counts it and closes the connection without an answer.
func keepAliveThenHangUp(t *testing.T, unanswered *atomic.Int32) *url.URL {
	t.Helper()
	seen := map[string]bool{} // by connection; requests of this test come one at a time
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if !seen[r.RemoteAddr] {
			seen[r.RemoteAddr] = true
			return
		}
		unanswered.Add(1)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	return u
}

func loopbackClient(t testing.TB) *Client {
	t.Helper()
	c, err := NewClient(Options{Guard: &Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AnyPort: true}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestDoNeverRepeatsWhatWasSent(t *testing.T) {
	var unanswered atomic.Int32
	u := keepAliveThenHangUp(t, &unanswered)
	c := loopbackClient(t)
	request := Request{URL: u, Body: []byte(`{"a":1}`), MessageID: "m", Attempt: 1}
	require.NoError(t, c.Do(t.Context(), request).Err)
	result := c.Do(t.Context(), request)
	require.Equal(t, KindReset, KindOf(result.Err), "%v", result.Err)
	require.EqualValues(t, 1, unanswered.Load(), "the POST must not be sent again")

	// The same server sees net/http repeat a POST that has an Idempotency-Key:
	// the repeat arrives on a fresh connection and is answered.
	c.Close()
	send := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.String(), strings.NewReader(`{"a":1}`))
		require.NoError(t, err)
		req.Header.Set("Idempotency-Key", "k")
		resp, err := c.transport.RoundTrip(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	require.NoError(t, send())
	require.NoError(t, send(), "net/http repeats this one: the assertion above can fail")
	require.EqualValues(t, 2, unanswered.Load())
}

// deadConn is a connection whose writes fail, once it was told so, before a byte
// has left.
type deadConn struct {
	net.Conn
	dead *atomic.Bool
}

func (d deadConn) Write(p []byte) (int, error) {
	if d.dead.Load() {
		return 0, syscall.EPIPE
	}
	return d.Conn.Write(p)
}

func TestDoUsesAnotherConnectionWhenNothingWasSent(t *testing.T) {
	var received atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == `{"a":1}` {
			received.Add(1)
		}
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	c := loopbackClient(t)
	dial := c.transport.DialContext
	var dead []*atomic.Bool
	c.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		dead = append(dead, new(atomic.Bool))
		return deadConn{conn, dead[len(dead)-1]}, err
	}
	request := Request{URL: u, Body: []byte(`{"a":1}`), MessageID: "m", Attempt: 1}
	require.NoError(t, c.Do(t.Context(), request).Err)
	require.Len(t, dead, 1)
	dead[0].Store(true)
	result := c.Do(t.Context(), request)
	require.NoError(t, result.Err, "a connection that died unused costs no attempt")
	require.Len(t, dead, 2)
	require.EqualValues(t, 2, received.Load())
}

// HTTP/2 frames (RFC 9113, sections 4.1 and 6).
const (
	h2Data, h2Headers, h2RSTStream, h2Settings = 0x0, 0x1, 0x3, 0x4
	h2FlagEndStream, h2FlagAck                 = 0x1, 0x1
	h2ProtocolError                            = 0x1
)

// resetStreams serves one HTTP/2 connection at a time: it reads each request in
// full, counts it and resets its stream with PROTOCOL_ERROR.
func resetStreams(listener net.Listener, received *atomic.Int32) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if err := resetStreamsOf(conn, received); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
}

func resetStreamsOf(conn net.Conn, received *atomic.Int32) error {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	if _, err := r.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		return err
	}
	write := func(kind, flags byte, stream uint32, payload []byte) error {
		frame := []byte{0, 0, byte(len(payload)), kind, flags}
		frame = binary.BigEndian.AppendUint32(frame, stream)
		_, err := conn.Write(append(frame, payload...))
		return err
	}
	if err := write(h2Settings, 0, 0, nil); err != nil {
		return err
	}
	for {
		var head [9]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		kind, flags := head[3], head[4]
		if _, err := r.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2])); err != nil {
			return err
		}
		var err error
		switch {
		case kind == h2Settings && flags&h2FlagAck == 0:
			err = write(h2Settings, h2FlagAck, 0, nil)
		case (kind == h2Data || kind == h2Headers) && flags&h2FlagEndStream != 0:
			received.Add(1)
			err = write(h2RSTStream, 0, binary.BigEndian.Uint32(head[5:]), binary.BigEndian.AppendUint32(nil, h2ProtocolError))
		}
		if err != nil {
			return err
		}
	}
}

func TestDoNeverRepeatsAnHTTP2StreamThatWasReset(t *testing.T) {
	// httptest lends its certificate only.
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	tcp, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listener := tls.NewListener(tcp, &tls.Config{Certificates: server.TLS.Certificates, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	var received atomic.Int32
	served := make(chan error, 1)
	go func() { served <- resetStreams(listener, &received) }()
	t.Cleanup(func() {
		_ = listener.Close()
		require.ErrorIs(t, <-served, net.ErrClosed)
	})

	c := loopbackClient(t)
	c.transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	c.transport.TLSClientConfig.RootCAs.AddCert(server.Certificate())
	t.Cleanup(c.Close)
	u, err := url.Parse("https://" + listener.Addr().String())
	require.NoError(t, err)
	result := c.Do(t.Context(), Request{URL: u, Body: []byte(`{"a":1}`), MessageID: "m", Attempt: 1})
	require.Equal(t, KindReset, KindOf(result.Err), "%v", result.Err)
	require.EqualValues(t, 1, received.Load(), "the POST must not be sent again")
}

func TestTheClientUsesNoProxy(t *testing.T) {
	require.Nil(t, loopbackClient(t).transport.Proxy)
}

func TestDescribeNames(t *testing.T) {
	f := describe(t.Context(), t.Context(), &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x.example", Server: "10.0.0.2:53", IsNotFound: true}})
	require.EqualError(t, f, "dns: x.example has no address: no such host")
	f = describe(t.Context(), t.Context(), &net.OpError{Op: "dial", Err: &net.DNSError{Err: "i/o timeout", Name: "x.example", IsTimeout: true}})
	require.Equal(t, KindTimeout, KindOf(f))
	f = describe(t.Context(), t.Context(), &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH})
	require.Equal(t, KindNetwork, KindOf(f))
	f = describe(t.Context(), t.Context(), errors.New("http: server closed idle connection"))
	require.Equal(t, KindReset, KindOf(f))
	require.Empty(t, KindOf(errors.New("another")))
}
