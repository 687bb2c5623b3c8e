package e2e

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proxy passes TCP connections on to a server, and its answers on after a
// delay.
type Proxy struct {
	target   string
	listener net.Listener
	delay    atomic.Int64    // nanoseconds
	ctx      context.Context //nolint:containedctx // ends with the test
	open     sync.WaitGroup
}

// StartProxy starts a proxy at a free port. It ends with the test.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{target: target, listener: listener, ctx: ctx}
	p.open.Go(p.accept)
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		p.open.Wait()
	})
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetDelay delays what the server says from now on.
func (p *Proxy) SetDelay(d time.Duration) { p.delay.Store(int64(d)) }

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.open.Go(func() { p.pass(client) })
	}
}

// pass carries one connection until either side, or the test, ends it.
func (p *Proxy) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := (&net.Dialer{Timeout: time.Second}).DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	stop := context.AfterFunc(p.ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	var asking sync.WaitGroup
	asking.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	_, _ = io.Copy(&delayed{client, p}, server)
	_ = client.Close()
	asking.Wait()
}

type delayed struct {
	net.Conn
	proxy *Proxy
}

func (d *delayed) Write(data []byte) (int, error) {
	if delay := d.proxy.delay.Load(); delay > 0 {
		timer := time.NewTimer(time.Duration(delay))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-d.proxy.ctx.Done():
			return 0, d.proxy.ctx.Err()
		}
	}
	return d.Conn.Write(data)
}
