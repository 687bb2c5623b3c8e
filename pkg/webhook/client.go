package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// DefaultTimeout bounds an attempt whose request names no time-out.
const DefaultTimeout = 15 * time.Second

// MaxExcerpt is how many bytes of an answer's body a [Result] keeps.
const MaxExcerpt = 4 << 10

const maxResponseHeader = 64 << 10

// Options configure a [Client]; the zero value of each field means its default.
type Options struct {
	// Version stands in the user-agent behind "Parley/"; default "dev".
	Version string
	// Guard says what may be dialled; default the zero Guard: public addresses.
	Guard *Guard
	// MaxBody is how many bytes of an answer's body are read at most, so that
	// its connection can be used again; default 64 KiB.
	MaxBody int64
	// ConnectTimeout bounds resolving and connecting; default 5 s.
	ConnectTimeout time.Duration
	// TLSTimeout bounds the TLS handshake; default 5 s.
	TLSTimeout time.Duration
	// IdleTimeout is how long an unused connection is kept; default 30 s.
	IdleTimeout time.Duration
	// MaxIdle and MaxIdlePerHost are how many unused connections are kept, in
	// all and for one host and port; default 1,024 and 128. They hold for http,
	// for https, and for endpoints with TLS settings of their own, each. Of the last
	// those in use count too.
	MaxIdle, MaxIdlePerHost int
	// RootCAs are the authorities that endpoints' certificates are checked
	// against; default the system's.
	RootCAs *x509.CertPool
}

// Validate returns an error that names the first option out of its range.
func (o *Options) Validate() error {
	switch {
	case strings.ContainsFunc(o.Version, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("webhook: the version must be printable ASCII without spaces")
	case o.MaxBody < 0:
		return errors.New("webhook: the most bytes read of an answer must not be negative")
	case o.ConnectTimeout < 0, o.TLSTimeout < 0, o.IdleTimeout < 0:
		return errors.New("webhook: a time-out must not be negative")
	case o.MaxIdle < 0, o.MaxIdlePerHost < 0:
		return errors.New("webhook: a number of idle connections must not be negative")
	}
	return nil
}

func (o *Options) setDefaults() {
	o.Version = cmp.Or(o.Version, "dev")
	o.Guard = cmp.Or(o.Guard, &Guard{})
	o.MaxBody = cmp.Or(o.MaxBody, 64<<10)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 5*time.Second)
	o.TLSTimeout = cmp.Or(o.TLSTimeout, 5*time.Second)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 30*time.Second)
	o.MaxIdle = cmp.Or(o.MaxIdle, 1024)
	o.MaxIdlePerHost = cmp.Or(o.MaxIdlePerHost, 128)
}

// Client makes attempts. It is safe for many goroutines.
//
// A POST to an http URL is written and read on the caller's goroutine, over
// connections that the client keeps itself; it is sent again only if a kept
// connection took not one byte of it. https is net/http's.
//
// net/http may send a request a second time by itself when a kept connection
// turns out to be dead. It does so for a POST in these cases, and the client
// leaves only those where the endpoint cannot have seen the first:
//
//   - The request has an Idempotency-Key or X-Idempotency-Key field: it is
//     taken for idempotent and repeated even if it was sent in full. The
//     client sends neither.
//   - HTTP/1.1, and not one byte was written: repeated on another connection if the
//     body can be had again (GetBody). This is wanted: otherwise an endpoint that closes
//     unused connections would cost attempts.
//   - HTTP/2, and the endpoint refused the stream, went away, or reset the
//     stream with PROTOCOL_ERROR: repeated if the body can be had again. The
//     last of these says nothing about what the endpoint did, so once the
//     header fields were written GetBody refuses, and the attempt has failed.
type Client struct {
	transport *http.Transport // https; dials for both
	idle      idlePool        // http
	profiles  kept            // https by endpoints with TLS settings of their own
	userAgent string
	maxBody   int64
	excerpts  sync.Pool // of *[MaxExcerpt]byte
	requests  sync.Pool // of *[]byte
}

// NewClient makes a client. It starts nothing; Close drops its connections.
func NewClient(o Options) (*Client, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	dialer := &net.Dialer{
		Timeout:        o.ConnectTimeout,
		KeepAlive:      15 * time.Second,
		ControlContext: o.Guard.Control,
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &Client{
		userAgent: "Parley/" + o.Version,
		maxBody:   o.MaxBody,
		excerpts:  sync.Pool{New: func() any { return new([MaxExcerpt]byte) }},
		requests:  sync.Pool{New: func() any { b := make([]byte, 0, firstWrite); return &b }},
		idle: idlePool{
			timeout: o.IdleTimeout, most: o.MaxIdle, mostPerAddr: o.MaxIdlePerHost, newest: map[string]*plainConn{},
		},
		profiles: kept{most: o.MaxIdle},
		transport: &http.Transport{
			Proxy:                  nil, // a proxy would dial where the guard cannot see
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs, ClientSessionCache: tls.NewLRUClientSessionCache(256)},
			TLSHandshakeTimeout:    o.TLSTimeout,
			IdleConnTimeout:        o.IdleTimeout,
			MaxIdleConns:           o.MaxIdle,
			MaxIdleConnsPerHost:    o.MaxIdlePerHost,
			MaxResponseHeaderBytes: maxResponseHeader,
			DisableCompression:     true, // no accept-encoding, and nothing to inflate
			Protocols:              protocols,
			// A connection whose other side is gone would else swallow every
			// request until the kernel gives it up. What a stream may send unread is
			// kept in memory: the default is 4 MiB.
			HTTP2: &http.HTTP2Config{
				SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second, WriteByteTimeout: 10 * time.Second,
				MaxReceiveBufferPerStream: 64 << 10,
			},
		},
	}, nil
}

// Close drops the connections that are not in use. Attempts under way go on.
func (c *Client) Close() {
	c.idle.close()
	c.transport.CloseIdleConnections()
}

// Request is one attempt at one message.
type Request struct {
	// URL comes from [Guard.ParseURL]; it is only read.
	URL *url.URL
	// Body must not be changed afterwards, not even when Do has returned: an
	// endpoint may answer before it has read all, and the rest is still sent.
	Body        []byte
	MessageID   string
	Keys        []*Key // signs with each; empty: no webhook-signature
	Attempt     int    // from 1
	Event       string // what it is; empty where it is a bot's message
	Replay      string // the replay's id; empty when it is none
	Traceparent string // W3C Trace Context; empty when there is none
	// Header are further fields; those that the client sets itself win. It is
	// only read.
	Header  http.Header
	Auth    *Auth    // nil: no Authorization field but that of Header
	Profile *Profile // nil: the client's own TLS settings
	// Timeout bounds the attempt from the dialling to the answer's last byte;
	// 0 means DefaultTimeout.
	Timeout time.Duration
	// MaxAnswer is how many bytes an answer's body may have whose whole is
	// wanted in Result.Body; 0: only its beginning is.
	MaxAnswer int64
}

// Result is what became of an attempt.
type Result struct {
	At       time.Time
	Duration time.Duration
	// Status is the answer's HTTP status; 0 if there was no answer.
	Status int
	// RetryAfter is the answer's Retry-After field as it came.
	RetryAfter string
	// Excerpt is the beginning of the answer's body, at most MaxExcerpt bytes.
	Excerpt []byte
	// Body is the answer's whole body if Request.MaxAnswer asked for it and
	// BodyErr is nil.
	Body []byte
	// Err is why there was no answer, a *Failure; nil if Status is set.
	Err error
	// BodyErr is why the body of an answer that has its Status broke off, a
	// *Failure. It is worth a note and changes nothing.
	BodyErr error
}

// Attempt returns the result as the journal and dead letters keep it.
func (r *Result) Attempt() chat.Attempt {
	a := chat.Attempt{At: r.At, Duration: r.Duration, Status: r.Status, Excerpt: r.Excerpt}
	if err := cmp.Or(r.Err, r.BodyErr); err != nil {
		a.Error = err.Error()
	}
	return a
}

// FailureKind is what failed where a status of success is missing, as a word from
// a fixed list: the status, else the Kind of Err.
func (r *Result) FailureKind() string {
	switch {
	case r.Status >= 200 && r.Status <= 299:
		return ""
	case r.Status != 0:
		return strconv.Itoa(r.Status)
	}
	return string(cmp.Or(KindOf(r.Err), KindNetwork))
}

// Do makes one attempt and always returns a result. When ctx ends first, the
// result's Err is of KindInterrupted and wraps the cause of ctx.
func (c *Client) Do(ctx context.Context, r Request) Result {
	timeout := cmp.Or(r.Timeout, DefaultTimeout)
	limited, cancel := context.WithTimeoutCause(ctx, timeout, &attemptTimeout{timeout})
	defer cancel()

	result := Result{At: time.Now()}
	c.post(limited, &r, &result)
	result.Duration = time.Since(result.At)
	result.Err = describe(ctx, limited, result.Err)
	result.BodyErr = describe(ctx, limited, result.BodyErr)
	return result
}

// post sends the request and fills the result with what comes back; its errors
// are still those of net and net/http.
func (c *Client) post(ctx context.Context, r *Request, result *Result) {
	if r.URL == nil {
		result.Err = &Failure{KindRequest, errors.New("the request has no URL")}
		return
	}
	authorization, err := r.authorization(ctx, c)
	if err != nil {
		result.Err = err
		return
	}
	fields := c.fields(r, result.At, authorization)
	if plain(r.URL, &fields, r.Header) {
		c.postPlain(ctx, r, &fields, result)
		r.Auth.answered(authorization, result.Status)
		return
	}
	resp, err := c.transportOf(r).RoundTrip(newRequest(ctx, r, fields)) // not http.Client: no redirects, no cookies
	if err != nil {
		result.Err = err
		return
	}
	result.Status = resp.StatusCode
	result.RetryAfter = resp.Header.Get("Retry-After")
	r.Auth.answered(authorization, resp.StatusCode)
	// The body of a 101 is the bare connection, which no context bounds.
	if resp.StatusCode != http.StatusSwitchingProtocols {
		c.readWanted(resp.Body, r.MaxAnswer, result)
	}
	if err := resp.Body.Close(); err != nil && result.BodyErr == nil {
		result.BodyErr = err
	}
}

// outgoing is what a request of net/http is made of, in one piece.
type outgoing struct {
	body   bytes.Reader
	fields [fieldCount]string
	sent   h2Sent
}

func newRequest(ctx context.Context, r *Request, fields [fieldCount]string) *http.Request {
	out := &outgoing{fields: fields}
	onceOnly := r.URL.Scheme == "https"
	if onceOnly {
		ctx = out.sent.watch(ctx)
	}
	// Not http.NewRequest, which parses a URL.
	req := (&http.Request{
		Method: http.MethodPost, URL: r.URL, Host: r.URL.Host, Header: out.header(r.Header), Body: http.NoBody,
	}).WithContext(ctx)
	if body := r.Body; len(body) > 0 {
		out.body.Reset(body)
		req.ContentLength = int64(len(body))
		req.Body = io.NopCloser(&out.body) // a type of its own would make net/http send header fields and body apart
		req.GetBody = func() (io.ReadCloser, error) {
			if onceOnly && out.sent.load() {
				return nil, errStreamReset
			}
			return io.NopCloser(bytes.NewReader(body)), nil
		}
	}
	return req
}

const fieldCount = 10

// fieldNames are the fields of DESIGN's contract in the order that net/http
// sends them in.
var fieldNames = [fieldCount]string{
	"User-Agent", "Authorization", "Content-Type", HeaderAttempt, HeaderEvent, HeaderReplay,
	"Traceparent", HeaderID, HeaderSignature, HeaderTimestamp,
}

// fields returns the values of fieldNames; an empty one is not sent.
func (c *Client) fields(r *Request, at time.Time, authorization string) [fieldCount]string {
	return [fieldCount]string{
		c.userAgent, authorization, "application/json", strconv.Itoa(r.Attempt), r.Event, r.Replay,
		r.Traceparent, r.MessageID, Sign(r.Keys, r.MessageID, at, r.Body), strconv.FormatInt(at.Unix(), 10),
	}
}

// header returns the fields with the endpoint's own; their values share one
// array.
func (o *outgoing) header(own http.Header) http.Header {
	h := make(http.Header, fieldCount+len(own))
	maps.Copy(h, own)
	for i, name := range fieldNames {
		if o.fields[i] != "" {
			h[name] = o.fields[i : i+1 : i+1]
		}
	}
	return h
}

// readWanted reads the body: the whole of one that is wanted, else its beginning.
func (c *Client) readWanted(body io.Reader, limit int64, result *Result) {
	if limit == 0 {
		result.Excerpt, result.BodyErr = c.readBody(body)
		return
	}
	whole, err := io.ReadAll(io.LimitReader(body, limit+1))
	if n := min(len(whole), MaxExcerpt); n > 0 {
		result.Excerpt = bytes.Clone(whole[:n]) // kept for long, unlike the whole
	}
	switch {
	case err != nil:
		result.BodyErr = err
	case int64(len(whole)) > limit:
		result.BodyErr = &Failure{KindProtocol, fmt.Errorf("the answer has more than %d bytes", limit)}
	default:
		result.Body = whole
	}
}

// readBody reads at most maxBody bytes and returns the first of them.
func (c *Client) readBody(body io.Reader) (excerpt []byte, err error) {
	buf := c.excerpts.Get().(*[MaxExcerpt]byte)
	defer c.excerpts.Put(buf)
	limit := min(int64(len(buf)), c.maxBody)
	n := 0
	for int64(n) < limit && err == nil {
		var m int
		m, err = body.Read(buf[n:limit])
		n += m
	}
	if n > 0 {
		excerpt = bytes.Clone(buf[:n])
	}
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(body, c.maxBody-limit))
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return excerpt, err
}

// Parley's own header fields.
const (
	HeaderAttempt = "Parley-Attempt" // the attempt's number, from 1
	HeaderReplay  = "Parley-Replay"  // the replay's id, on replays only
	HeaderEvent   = "Parley-Event"   // on what is no bot message: what it is
)

var errStreamReset = errors.New("the endpoint ended the HTTP/2 stream without an answer")

// h2Sent knows whether a request's header fields were written to an HTTP/2
// connection.
type h2Sent struct{ http2, wrote atomic.Bool }

func (s *h2Sent) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			conn, ok := info.Conn.(*tls.Conn)
			s.http2.Store(ok && conn.ConnectionState().NegotiatedProtocol == "h2")
		},
		WroteHeaders: func() { s.wrote.Store(true) },
	})
}

func (s *h2Sent) load() bool { return s.http2.Load() && s.wrote.Load() }

// attemptTimeout is the cause of an attempt that took too long.
type attemptTimeout struct{ after time.Duration }

func (t *attemptTimeout) Error() string {
	return fmt.Sprintf("no complete answer within %s", t.after)
}
