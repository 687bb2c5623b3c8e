package webhook

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

// manyEndpoints are as many as a worker is to bear, in less than so much memory.
const (
	manyEndpoints = 50_000
	manyMiB       = 1024
)

// alive is what the process has in use, after a collection.
func alive() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc+m.StackInuse) / (1 << 20)
}

// reportAlive reports what was added, and fails where that is too much.
func reportAlive(b *testing.B, before float64) {
	b.Helper()
	added := alive() - before
	b.ReportMetric(added, "MiB")
	require.Less(b, added, float64(manyMiB))
}

// BenchmarkManyEndpoints has 50,000 endpoints, each at a host of its own, and
// each was sent to: MiB is what they keep alive, with the other ends of their
// connections.
func BenchmarkManyEndpoints(b *testing.B) {
	u := endpoint(b)
	for b.Loop() {
		before := alive()
		c := loopbackClient(b)
		c.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, u.Host)
		}
		targets := make([]*Target, manyEndpoints)
		for i := range targets {
			var err error
			url := "http://h" + strconv.Itoa(i) + "/webhook"
			targets[i], err = NewTarget(url, &chat.Sending{Secrets: []chat.Secret{NewSecret()}}, &Guard{}, nil)
			require.NoError(b, err)
			require.Equal(b, 200, send(b, c, targets[i]).Status)
		}
		require.Equal(b, c.idle.most, c.idle.count)
		reportAlive(b, before)
		runtime.KeepAlive(targets)
		c.Close()
	}
}

// BenchmarkManyProfiles is the same with TLS settings of each endpoint's own.
// Most handshakes are left out: they take time and leave what their transport
// has before.
func BenchmarkManyProfiles(b *testing.B) {
	addr, ca, _ := tlsServer(b)
	errLeftOut := errors.New("left out")
	for b.Loop() {
		before := alive()
		c := loopbackClient(b)
		targets := make([]*Target, manyEndpoints)
		for i := range targets {
			connects := i%20 == 0
			c.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				if !connects {
					return nil, errLeftOut
				}
				return new(net.Dialer).DialContext(ctx, network, addr)
			}
			targets[i] = ownTLS(b, ca)
			if got := send(b, c, targets[i]); connects {
				require.Equal(b, 200, got.Status, "%v", got.Err)
			}
		}
		require.LessOrEqual(b, opened(c), c.profiles.most)
		reportAlive(b, before)
		runtime.KeepAlive(targets)
		c.profiles.most = 0
		c.profiles.shrink()
	}
}

func send(tb testing.TB, c *Client, to *Target) Result {
	tb.Helper()
	r := to.Request()
	r.Body, r.MessageID, r.Attempt, r.Timeout = []byte(`{}`), "m", 1, time.Minute
	return c.Do(tb.Context(), r)
}

// opened is how many connections of profiles are open.
func opened(c *Client) int {
	c.profiles.mu.Lock()
	defer c.profiles.mu.Unlock()
	return c.profiles.open
}

// ownTLS is a target with an authority of its own.
func ownTLS(tb testing.TB, ca string) *Target {
	tb.Helper()
	t, err := NewTarget("https://example.com/webhook", &chat.Sending{TLS: &chat.TLS{CA: ca}}, &Guard{}, nil)
	require.NoError(tb, err)
	return t
}

// tlsServer answers every POST to example.com, at an address on loopback, by a
// certificate that ca vouches for, and counts the connections that are open.
func tlsServer(tb testing.TB) (addr, ca string, open *atomic.Int32) {
	tb.Helper()
	open = new(atomic.Int32)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state { //nolint:exhaustive // the others are in between
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.EnableHTTP2 = true
	s.StartTLS()
	tb.Cleanup(s.Close)
	ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return s.Listener.Addr().String(), ca, open
}

// TestConnectionsOfProfilesAreBounded: though each has a transport of its own.
func TestConnectionsOfProfilesAreBounded(t *testing.T) {
	addr, ca, open := tlsServer(t)
	const most, many = 5, 30
	c := plainClient(t, func(o *Options) { o.MaxIdle = most })
	dials := 0
	c.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	targets := make([]*Target, many)
	for i := range targets {
		targets[i] = ownTLS(t, ca)
		require.Equal(t, 200, send(t, c, targets[i]).Status)
		require.LessOrEqual(t, opened(c), most)
		require.LessOrEqual(t, len(c.profiles.used), most+1, "nor is a profile kept for ever")
	}
	require.Equal(t, many, dials)
	isOpen := func(n int32) {
		t.Helper()
		require.Eventually(t, func() bool { return open.Load() == n }, 10*time.Second, time.Millisecond)
	}
	isOpen(most)

	require.Equal(t, 200, send(t, c, targets[many-most]).Status)
	require.Equal(t, many, dials, "what was used last is kept")
	require.Equal(t, 200, send(t, c, targets[0]).Status, "who has none gets one again")
	require.Equal(t, many+1, dials)
	isOpen(most)
	require.Equal(t, 200, send(t, c, targets[many-most]).Status)
	require.Equal(t, many+1, dials, "it was not the one used longest ago")

	require.Eventually(t, func() bool {
		for _, to := range targets {
			to.Close() // one whose answer has just been read may be in use a moment longer
		}
		return opened(c) == 0 && open.Load() == 0
	}, 10*time.Second, time.Millisecond)
}
