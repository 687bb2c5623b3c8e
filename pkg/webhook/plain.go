package webhook

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// firstWrite is how much of a request is written on the caller's goroutine:
	// what any socket takes at once, so that the caller is free to read.
	firstWrite = 16 << 10
	// lateWrite is how long the rest of a request may take once its answer was
	// read, for the connection to be kept.
	lateWrite = 50 * time.Millisecond
)

var errHeaderTooLarge = errors.New("the answer's header fields are too large")

// plain reports whether a request can be written as it stands. What net/http
// would convert or refuse (a name that is not ASCII, a line break in a field)
// is left to it.
func plain(u *url.URL, fields *[fieldCount]string, own http.Header) bool {
	if u.Scheme != "http" || u.Opaque != "" || u.Host == "" || strings.HasSuffix(u.Host, ":") ||
		strings.ContainsFunc(u.Host, notInHostPort) || !printable(u.RequestURI()) {
		return false
	}
	for _, value := range fields {
		if !sendable(value) {
			return false
		}
	}
	for name, values := range own {
		if len(values) != 1 || !sendable(values[0]) || name == "" || strings.ContainsFunc(name, notInFieldName) || slices.Contains(fieldNames[:], name) {
			return false
		}
	}
	return true
}

func notInFieldName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
}

func sendable(value string) bool {
	return printable(value) && strings.Trim(value, " ") == value
}

func notInHostPort(r rune) bool {
	return notInName(r) && (r < 'A' || r > 'Z') && r != ':' && r != '[' && r != ']'
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// appendHead appends what net/http would send before the body.
func appendHead(b []byte, r *Request, fields *[fieldCount]string) []byte {
	b = append(b, "POST "...)
	b = append(b, r.URL.RequestURI()...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.URL.Host...)
	b = append(b, "\r\nUser-Agent: "...)
	b = append(b, fields[0]...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.Body)), 10)
	for i := 1; i < fieldCount; i++ {
		if fields[i] != "" {
			b = append(b, "\r\n"...)
			b = append(b, fieldNames[i]...)
			b = append(b, ": "...)
			b = append(b, fields[i]...)
		}
	}
	for name, values := range r.Header { // one each
		b = append(b, "\r\n"...)
		b = append(b, name...)
		b = append(b, ": "...)
		b = append(b, values[0]...)
	}
	return append(b, "\r\n\r\n"...)
}

// postPlain is post for http URLs, without net/http's hand-overs between
// goroutines: this one writes the request and reads the answer. It begins again
// on another connection only if a kept one took not one byte.
func (c *Client) postPlain(ctx context.Context, r *Request, fields *[fieldCount]string, result *Result) {
	buf := c.requests.Get().(*[]byte)
	defer c.requests.Put(buf)
	first := appendHead((*buf)[:0], r, fields)
	n := min(len(r.Body), max(0, firstWrite-len(first)))
	first, rest := append(first, r.Body[:n]...), r.Body[n:]
	*buf = first

	addr := r.URL.Host
	if r.URL.Port() == "" {
		addr += ":80"
	}
	for ctx.Err() == nil {
		conn := c.idle.take(addr)
		kept := conn != nil
		if !kept {
			dialled, err := c.transport.DialContext(ctx, "tcp", addr)
			if err != nil {
				result.Err = err
				return
			}
			conn = newPlainConn(dialled, addr)
		}
		sent, err := c.exchange(ctx, conn, first, rest, result)
		if err == nil || sent || !kept {
			result.Err = err
			return
		}
	}
	result.Err = context.Cause(ctx)
}

// exchange sends one request and reads its answer. ctx alone bounds it: when it
// ends, what waits on the connection returns. sent is false only if nothing of
// the request has left.
func (c *Client) exchange(ctx context.Context, conn *plainConn, first, rest []byte, result *Result) (sent bool, err error) {
	stop := context.AfterFunc(ctx, conn.interrupt)
	keep := false
	conn.users.Store(1)
	defer func() {
		keep = stop() && keep // a ctx that has ended sets a deadline in the past
		switch {
		case !keep:
			_ = conn.Close()
		case len(rest) > 0:
			conn.late = true
			_ = conn.SetWriteDeadline(time.Now().Add(lateWrite))
		}
		c.leave(conn, keep)
	}()
	if n, err := conn.Write(first); err != nil {
		return n > 0, err
	}
	if len(rest) > 0 {
		conn.users.Add(1)
		// Not here: the endpoint may answer instead of reading on. Nor does a
		// failure close the connection, from which its answer can still be read.
		go func() {
			_, err := conn.Write(rest)
			c.leave(conn, err == nil)
		}()
	}
	keep, err = c.readAnswer(conn, result)
	return true, err
}

// readAnswer reads the final answer, and reports whether the connection has
// nothing more to say and is meant to stay.
func (c *Client) readAnswer(conn *plainConn, result *Result) (keep bool, err error) {
	conn.left = maxResponseHeader // for the interim answers too
	resp := &http.Response{StatusCode: http.StatusContinue}
	for resp.StatusCode >= 100 && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
		resp, err = http.ReadResponse(conn.in, nil) //nolint:bodyclose // Close would read a body to its end, whatever its length
		if err != nil {
			return false, err
		}
	}
	result.Status = resp.StatusCode
	result.RetryAfter = resp.Header.Get("Retry-After")
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return false, nil
	}
	conn.left = math.MaxInt // readBody has a bound of its own
	body := bodyEnd{Reader: resp.Body}
	result.Excerpt, result.BodyErr = c.readBody(&body)
	return body.seen && conn.in.Buffered() == 0 && !resp.Close && resp.Proto == "HTTP/1.1", nil
}

// leave is called by each of a connection's users when it is done with it. The
// last one gives it back, if all of them want to keep it.
func (c *Client) leave(conn *plainConn, keep bool) {
	if !keep {
		conn.broken.Store(true)
	}
	if conn.users.Add(-1) > 0 {
		return
	}
	if conn.broken.Load() {
		_ = conn.Close()
		return
	}
	if conn.late {
		conn.late = false
		_ = conn.SetWriteDeadline(time.Time{})
	}
	c.idle.put(conn)
}

// bodyEnd knows whether a body was read to its end.
type bodyEnd struct {
	io.Reader
	seen bool
}

func (b *bodyEnd) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.seen = b.seen || errors.Is(err, io.EOF)
	return n, err
}

// plainConn is a connection to the endpoint of an http URL.
type plainConn struct {
	net.Conn
	addr      string
	in        *bufio.Reader
	left      int // bytes that may still be read, until the header fields' end
	interrupt func()

	users  atomic.Int32 // the exchange, and who writes the rest of its request
	broken atomic.Bool
	late   bool // has a deadline for writing

	socket syscall.RawConn // nil if the system shows none
	peek   func(fd uintptr) bool
	silent bool

	idleConn // idlePool's
}

func newPlainConn(conn net.Conn, addr string) *plainConn {
	c := &plainConn{Conn: conn, addr: addr}
	c.in = bufio.NewReader(c)
	c.interrupt = func() { _ = conn.SetDeadline(time.Unix(1, 0)) }
	if sc, ok := conn.(syscall.Conn); ok && canPeek {
		if raw, err := sc.SyscallConn(); err == nil {
			c.socket = raw
			c.peek = func(fd uintptr) bool {
				c.silent = silent(fd)
				return true // never wait
			}
		}
	}
	return c
}

// Read is what in reads from.
func (p *plainConn) Read(b []byte) (int, error) {
	if p.left <= 0 {
		return 0, errHeaderTooLarge
	}
	n, err := p.Conn.Read(b[:min(len(b), p.left)])
	p.left -= n
	return n, err
}

// usable reports whether an unused connection is still open and has said
// nothing since its last answer. Where the socket can't be looked at, it waits
// a millisecond.
func (p *plainConn) usable() bool {
	if p.socket != nil {
		p.silent = false
		err := p.socket.Read(p.peek)
		return err == nil && p.silent
	}
	var b [1]byte
	_ = p.SetReadDeadline(time.Now().Add(time.Millisecond))
	n, err := p.Conn.Read(b[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && p.SetReadDeadline(time.Time{}) == nil
}
