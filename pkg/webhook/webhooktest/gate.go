package webhooktest

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// gate is the listener under a receiver. It knows every connection, so that it
// can hold some back, end all, and listen again.
type gate struct {
	// holds reports whether the connection that was just taken is held.
	holds func() bool
	addr  string
	done  chan struct{}
	work  sync.WaitGroup // what is held, and what waits to listen again

	mu    sync.Mutex
	inner net.Listener // nil while dead
	back  chan struct{}
	// returns is whether comeBack is under way.
	returns bool
	conns   map[*tracked]struct{}
	owned   map[net.Conn]int // by how many; closed by cut
	ended   bool             // cut was called
}

func listen(addr string) (*gate, error) {
	inner, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &gate{
		addr: inner.Addr().String(), inner: inner, done: make(chan struct{}),
		conns: map[*tracked]struct{}{}, owned: map[net.Conn]int{},
	}, nil
}

// tracked is a connection that leaves the gate's list when it is closed.
type tracked struct {
	*net.TCPConn
	gate *gate
	last atomic.Pointer[last]
	out  atomic.Pointer[last] // last, once it is only the bytes that are not out
}

// last says what follows the last answer of a connection.
type last struct {
	down  time.Duration
	http2 bool
}

func (t *tracked) Write(p []byte) (int, error) {
	n, err := t.TCPConn.Write(p)
	if l := t.out.Swap(nil); l != nil {
		t.gate.die(l.down)
	}
	return n, err
}

func (t *tracked) Close() error {
	t.gate.mu.Lock()
	delete(t.gate.conns, t)
	t.gate.mu.Unlock()
	return t.TCPConn.Close()
}

// Accept implements net.Listener. It outlasts the listener underneath.
func (g *gate) Accept() (net.Conn, error) {
	for {
		g.mu.Lock()
		inner, back := g.inner, g.back
		g.mu.Unlock()
		if inner == nil {
			select {
			case <-back:
				continue
			case <-g.done:
				return nil, net.ErrClosed
			}
		}
		conn, err := inner.Accept()
		if err != nil {
			g.mu.Lock()
			died := g.inner != inner
			g.mu.Unlock()
			if died {
				continue
			}
			return nil, err
		}
		t := &tracked{TCPConn: conn.(*net.TCPConn), gate: g} // it listens on TCP
		g.mu.Lock()
		died := g.inner != inner
		if !died {
			g.conns[t] = struct{}{}
		}
		g.mu.Unlock()
		if died {
			_ = t.TCPConn.Close()
			continue
		}
		if g.holds == nil || !g.holds() {
			return t, nil
		}
		g.work.Go(func() {
			defer g.own(t)()
			_, _ = io.Copy(io.Discard, t) // until the client leaves, or cut
			_ = t.Close()
		})
	}
}

// Addr implements net.Listener.
func (g *gate) Addr() net.Addr {
	addr, err := net.ResolveTCPAddr("tcp", g.addr)
	if err != nil {
		return &net.TCPAddr{}
	}
	return addr
}

// Close implements net.Listener.
func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.done:
		return nil
	default:
	}
	close(g.done)
	if g.inner == nil {
		return nil
	}
	return g.inner.Close()
}

// own has cut close a connection, until release is called.
func (g *gate) own(conn net.Conn) (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		_ = tcpOf(conn).(*tracked).TCPConn.Close()
		return func() {}
	}
	g.owned[conn]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.owned[conn]--; g.owned[conn] == 0 {
			delete(g.owned, conn)
		}
	}
}

// cut closes the connections that are owned, now and later.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	for conn := range g.owned {
		_ = tcpOf(conn).(*tracked).TCPConn.Close()
	}
}

// refuse takes no new connections any more. Those who get the last answer find
// it so.
func (g *gate) refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inner == nil || g.ended {
		return
	}
	_ = g.inner.Close()
	g.inner, g.back = nil, make(chan struct{})
}

// die closes every connection, after refuse; after down it listens again, unless
// that is 0.
func (g *gate) die(down time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inner != nil || g.ended {
		return
	}
	for t := range g.conns {
		_ = t.TCPConn.Close()
	}
	clear(g.conns)
	if down > 0 && !g.returns {
		g.returns = true
		g.work.Go(func() { g.comeBack(down) })
	}
}

// state is the server's ConnState. A connection is idle when its answer is out;
// over HTTP/2, just before its last frame is written.
func (g *gate) state(conn net.Conn, s http.ConnState) {
	t, ok := tcpOf(conn).(*tracked)
	if !ok || s != http.StateIdle && s != http.StateClosed {
		return
	}
	switch l := t.last.Swap(nil); {
	case l == nil:
	case l.http2 && s == http.StateIdle:
		t.out.Store(l)
	default:
		g.die(l.down)
	}
}

// comeBack listens again after a time, and again a little later where the port
// was taken meanwhile.
func (g *gate) comeBack(after time.Duration) {
	for timer := time.NewTimer(after); ; timer.Reset(100 * time.Millisecond) {
		select {
		case <-timer.C:
		case <-g.done:
			return
		}
		inner, err := new(net.ListenConfig).Listen(context.Background(), "tcp", g.addr)
		if err != nil {
			continue
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		select {
		case <-g.done:
			_ = inner.Close()
		default:
			g.inner, g.returns = inner, false
			close(g.back)
		}
		return
	}
}
