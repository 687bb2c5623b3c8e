package webhook

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// piped makes the client dial pipes whose other ends answer every POST, and
// returns what was dialled.
func piped(c *Client) *[]string {
	var dialled []string
	c.transport.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) {
		dialled = append(dialled, addr)
		near, far := net.Pipe()
		go func() {
			answering(ok, false)(far, 0)
			_ = far.Close()
		}()
		return near, nil
	}
	return &dialled
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := plainClient(t, func(o *Options) { o.IdleTimeout = 30 * time.Second })
		dialled := piped(c)
		post := func(host string) {
			t.Helper()
			require.Equal(t, 200, c.Do(t.Context(), small(&url.URL{Scheme: "http", Host: host})).Status)
		}
		after := func(d time.Duration, idle int) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			c.idle.mu.Lock()
			defer c.idle.mu.Unlock()
			require.Equal(t, idle, c.idle.count)
			require.Equal(t, idle > 0, c.idle.armed)
		}
		post("a")
		after(20*time.Second, 1)
		post("b")
		after(9*time.Second, 2)
		post("b") // used again: its time begins again
		require.Len(t, *dialled, 2)
		after(2*time.Second, 1)
		after(27*time.Second, 1)
		after(2*time.Second, 0)
		post("b")
		require.Equal(t, []string{"a:80", "b:80", "b:80"}, *dialled)
		after(29*time.Second, 1)
		after(2*time.Second, 0)
	})
}

func TestCloseDropsWhatIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := plainClient(t, nil)
		dialled := piped(c)
		r := small(&url.URL{Scheme: "http", Host: "a"})
		require.Equal(t, 200, c.Do(t.Context(), r).Status)
		c.Close()
		require.Zero(t, c.idle.count)

		// An attempt that is under way goes on, and leaves nothing behind.
		conn := newPlainConn(newScripted(""), "a:80")
		c.idle.put(conn)
		require.Zero(t, c.idle.count)
		require.True(t, conn.Conn.(*scripted).closed)

		// A closed client can be used on, as one of net/http can.
		require.Equal(t, 200, c.Do(t.Context(), r).Status)
		require.Equal(t, 1, c.idle.count)
		require.Len(t, *dialled, 2)
		c.Close()
	})
}

// An endpoint that answers first and reads on soon keeps its connection, which
// has no deadline left over.
func TestLateRestOfARequest(t *testing.T) {
	for _, c := range []struct {
		late  time.Duration
		dials int
	}{{0, 1}, {lateWrite - time.Millisecond, 1}, {lateWrite + time.Millisecond, 2}} {
		t.Run(c.late.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := small(&url.URL{Scheme: "http", Host: "a"})
				r.Body = make([]byte, 100_000)
				client := plainClient(t, nil)
				dials := 0
				client.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
					dials++
					near, far := net.Pipe()
					go func() {
						defer func() { _ = far.Close() }()
						first := make([]byte, firstWrite)
						for {
							if _, err := io.ReadFull(far, first); err != nil {
								return
							}
							_, _ = io.WriteString(far, ok)
							<-time.After(c.late)
							head := bytes.Index(first, []byte("\r\n\r\n")) + 4
							if _, err := io.CopyN(io.Discard, far, int64(len(r.Body)-(firstWrite-head))); err != nil {
								return
							}
						}
					}()
					return near, nil
				}
				for range 2 {
					require.Equal(t, 200, client.Do(t.Context(), r).Status)
					<-time.After(time.Second)
				}
				require.Equal(t, c.dials, dials)
				client.Close()
			})
		})
	}
}

func TestAnAnswerThatClosesEndsTheRestOfItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := plainClient(t, nil)
		near, far := net.Pipe()
		client.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return near, nil }
		go func() {
			_, _ = io.ReadFull(far, make([]byte, firstWrite))
			_, _ = io.WriteString(far, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		}()
		r := small(&url.URL{Scheme: "http", Host: "a"})
		r.Body = make([]byte, 100_000)
		require.Equal(t, 413, client.Do(t.Context(), r).Status)
		_, err := far.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "the rest must not be sent any more")
	})
}

// brokenPipe takes a request's first part, fails its rest, and has an answer
// long before.
type brokenPipe struct {
	*scripted
}

func (b brokenPipe) Write(p []byte) (int, error) {
	if b.writes > 0 {
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	}
	return b.scripted.Write(p)
}

func (b brokenPipe) Read(p []byte) (int, error) {
	<-time.After(time.Second) // until who writes the rest has left
	return b.scripted.Read(p)
}

func TestAnAnswerIsReadThoughTheRestFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := plainClient(t, nil)
		conn := brokenPipe{newScripted(ok)}
		client.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
		r := small(&url.URL{Scheme: "http", Host: "a"})
		r.Body = make([]byte, 100_000)
		result := client.Do(t.Context(), r)
		require.NoError(t, result.Err)
		require.Equal(t, 200, result.Status)
		require.True(t, conn.closed)
		require.Zero(t, client.idle.count)
	})
}

// The pool does what a list of all, oldest first, would do.
func TestIdlePoolBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most, mostPerAddr := rapid.IntRange(1, 6).Draw(t, "most"), rapid.IntRange(1, 5).Draw(t, "mostPerAddr")
		p := &idlePool{timeout: time.Hour, most: most, mostPerAddr: mostPerAddr, newest: map[string]*plainConn{}}
		defer p.close()
		var model, all []*plainConn
		addr := rapid.SampledFrom([]string{"a", "b", "c"})
		of := func(a string) (n int) {
			for _, conn := range model {
				if conn.addr == a {
					n++
				}
			}
			return n
		}
		put := func(a string) {
			conn := newPlainConn(newScripted(""), a)
			all = append(all, conn)
			p.put(conn)
			if of(a) < mostPerAddr {
				model = append(model, conn)
			}
			if len(model) > most {
				model = model[1:]
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				for _, a := range rapid.SliceOfN(addr, 1, 6).Draw(t, "addrs") {
					put(a)
				}
			},
			"take": func(t *rapid.T) {
				a := addr.Draw(t, "addr")
				conn, fresh := p.pop(a)
				at := len(model) - 1
				for at >= 0 && model[at].addr != a {
					at--
				}
				if at < 0 {
					require.Nil(t, conn)
					return
				}
				require.Same(t, model[at], conn)
				require.True(t, fresh)
				model = slices.Delete(model, at, at+1)
				_ = conn.Close()
			},
			"close": func(*rapid.T) {
				p.close()
				p.closed = false
				model = nil
			},
			"age": func(t *rapid.T) {
				n := rapid.IntRange(0, len(model)).Draw(t, "how many")
				for _, conn := range model[:n] {
					conn.since = time.Now().Add(-2 * time.Hour)
				}
				if n > 0 && n == len(model) && rapid.Bool().Draw(t, "the timer is late") {
					_, fresh := p.pop(model[n-1].addr)
					require.False(t, fresh)
					_ = model[n-1].Close()
				}
				p.expire()
				model = slices.Clone(model[n:])
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(model), p.count)
				kept := []*plainConn{}
				for conn := p.oldest; conn != nil; conn = conn.younger {
					kept = append(kept, conn)
				}
				require.Len(t, kept, len(model))
				for i, conn := range kept {
					require.Same(t, model[i], conn)
				}
				for _, conn := range all {
					require.Equal(t, !slices.Contains(model, conn), conn.Conn.(*scripted).closed)
				}
				for a, conn := range p.newest {
					require.Equal(t, of(a), conn.depth)
				}
			},
		})
	})
}
