package webhooktest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer carries one reply out.
type answer struct {
	w       http.ResponseWriter
	ctl     *http.ResponseController
	left    context.Context //nolint:containedctx // the request's: it ends when the client leaves
	gate    *gate
	conn    net.Conn // the connection underneath
	http2   bool
	closing <-chan struct{}
}

const (
	greeting   = "220 mail.example.com ESMTP ready\r\n"
	halfHeader = "HTTP/1.1 200 OK\r\nContent-Type: text"
	halfBody   = "half of an answer"
	// h2Endless is what stands for header fields without end over HTTP/2.
	h2Endless = 16 << 20
)

// send answers. What misbehaves owns its connection, which is then closed when
// the receiver is.
func (a *answer) send(r *Reply) {
	if r.Until != nil {
		select {
		case <-r.Until:
		case <-a.left.Done():
		case <-a.closing:
		}
	}
	a.pause(r.Delay)
	switch r.Fault {
	case Hang, HoldHandshake:
		a.pause(math.MaxInt64)
	case Reset:
		a.reset()
	case Close:
		a.raw("")
	case CloseInHeader:
		a.raw(halfHeader)
	case NotHTTP:
		a.raw(greeting)
	case EndlessHeader:
		a.endlessHeader()
	default:
		a.header(r)
		a.body(r)
	}
}

// pause waits, and gives the answer up if the client leaves or the receiver
// closes first.
func (a *answer) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.left.Done():
		panic(http.ErrAbortHandler) // to return would be a 200
	case <-a.closing:
		panic(http.ErrAbortHandler)
	}
}

func (a *answer) header(r *Reply) {
	h := a.w.Header()
	maps.Copy(h, r.Header)
	if r.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(r.RetryAfter.Seconds())), 10))
	}
	if r.RetryAt != 0 {
		h.Set("Retry-After", time.Now().Add(r.RetryAt).UTC().Format(http.TimeFormat))
	}
	if r.Redirect != "" {
		h.Set("Location", r.Redirect)
	}
	const field = 8 << 10
	for i, rest := 1, r.HeaderBytes; rest > 0; i, rest = i+1, rest-field {
		h.Set("X-Filler-"+strconv.Itoa(i), strings.Repeat("x", min(rest, field)))
	}
}

func (a *answer) body(r *Reply) {
	body, size := content(r)
	fault := r.Fault
	switch fault {
	case CloseInBody, ResetInBody:
		if size == 0 {
			body, size = strings.NewReader(halfBody), int64(len(halfBody))
		}
		a.w.Header().Set("Content-Length", strconv.FormatInt(2*size, 10))
	case Die:
		a.gate.refuse()
		tcpOf(a.conn).(*tracked).last.Store(&last{r.Down, a.http2})
	}
	if r.Trickle > 0 || fault == EndlessBody {
		defer a.gate.own(a.conn)()
	}
	a.w.WriteHeader(r.status())
	switch {
	case r.Trickle > 0:
		if size == 0 {
			body = endless{}
		}
		a.trickle(body, r.Trickle)
	case fault == EndlessBody:
		_, _ = io.Copy(a.w, endless{}) // ends when the client leaves
	default:
		_, _ = io.Copy(a.w, body) // a client that left needs no answer
	}
	switch fault {
	case CloseInBody:
		_ = a.ctl.Flush()
		a.raw("")
	case ResetInBody:
		_ = a.ctl.Flush()
		a.reset()
	}
}

// content returns a reply's body with its size.
func content(r *Reply) (io.Reader, int64) {
	if r.BodyBytes > 0 {
		return io.LimitReader(endless{}, int64(r.BodyBytes)), int64(r.BodyBytes)
	}
	return strings.NewReader(r.Body), int64(len(r.Body))
}

// endless reads as the letter x without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func (a *answer) trickle(body io.Reader, each time.Duration) {
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(body, one); err != nil {
			return
		}
		if a.ctl.Flush() != nil {
			return
		}
		a.pause(each)
		if _, err := a.w.Write(one); err != nil {
			return
		}
	}
}

// raw writes what is no answer and closes the connection.
func (a *answer) raw(text string) {
	conn := a.takeOver()
	defer a.gate.own(conn)()
	if text != "" && (!a.http2 || text != halfHeader) { // which has no meaning in HTTP/2
		_, _ = io.WriteString(conn, text) // a client that left needs no answer
	}
	if t, ok := tcpOf(conn).(*tracked); ok && a.http2 {
		_ = t.CloseWrite() // a full close would be a reset, if frames are unread
		a.pause(math.MaxInt64)
	}
	_ = conn.Close()
}

func (a *answer) endlessHeader() {
	if a.http2 {
		a.header(&Reply{HeaderBytes: h2Endless})
		a.w.WriteHeader(http.StatusOK)
		return
	}
	conn := a.takeOver()
	defer a.gate.own(conn)()
	defer conn.Close()
	_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
	for field := []byte("X-Filler: " + strings.Repeat("x", 8<<10) + "\r\n"); err == nil; {
		_, err = conn.Write(field)
	}
}

// reset ends an HTTP/1.1 connection with RST, and an HTTP/2 stream with
// RST_STREAM.
func (a *answer) reset() {
	if a.http2 {
		panic(http.ErrAbortHandler)
	}
	conn := tcpOf(a.takeOver())
	if t, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0) // so that Close resets
	}
	_ = conn.Close()
}

// takeOver takes the connection from the server; over HTTP/2 the server keeps
// it and is written past.
func (a *answer) takeOver() net.Conn {
	if a.http2 {
		return a.conn
	}
	conn, _, err := a.ctl.Hijack()
	if err != nil {
		panic(fmt.Sprintf("webhooktest: %v", err)) // net/http's HTTP/1.1 always can, once
	}
	return conn
}

func tcpOf(conn net.Conn) net.Conn {
	if t, ok := conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return conn
}
