package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Errors of Publish; the error returned wraps one of them.
var (
	// ErrConflict means that another message is the subject's last.
	ErrConflict = errors.New("the subject's last message is not the expected one")
	// ErrFull means that the stream or the store is at its limit.
	ErrFull = errors.New("the broker's store is full")
	// ErrUnavailable means that the broker did not confirm in time: the
	// message may or may not be stored.
	ErrUnavailable = errors.New("the broker does not answer")
)

// Conn is a connection with JetStream. It reconnects without limit.
type Conn struct {
	NATS *nats.Conn
	JS   jetstream.JetStream

	publisher *publisher
	batches   *batches
	disk      *disk // nil where the server answers for itself

	streams sync.Map // handles by name, of those that were read from
}

// Connect dials a server outside; urls may list several, separated by commas.
// They may hold passwords, which no error shows.
func Connect(urls, name string, log *zap.Logger) (*Conn, error) {
	return Access{}.Connect(urls, name, log)
}

// IsAway reports whether a connection failed because no server was there, so
// that one may be later.
func IsAway(err error) bool {
	_, network := errors.AsType[*net.OpError](err)
	_, name := errors.AsType[*net.DNSError](err)
	return network || name || errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout)
}

// CheckURLs reports a list of URLs that Connect can't read.
func CheckURLs(urls string) error {
	_, err := hostsOf(urls)
	return err
}

// hostsOf returns the hosts of a list of URLs.
func hostsOf(urls string) (string, error) {
	var hosts []string
	for s := range strings.SplitSeq(urls, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(s)
		if err != nil || u.Host == "" { // the error would show the URL
			return "", errors.New("the NATS URL can't be read: write it like nats://host:4222, and what is special in a password as in %40")
		}
		if !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return "", fmt.Errorf("the NATS URL of %s has the scheme %q: write it like nats://host:4222, or tls://host:4222", u.Host, u.Scheme)
		}
		hosts = append(hosts, u.Host)
	}
	if len(hosts) == 0 {
		return "", errors.New("there is no NATS URL: write it like nats://host:4222")
	}
	return strings.Join(hosts, ","), nil
}

func dial(urls, name string, log *zap.Logger, d *disk, opts ...nats.Option) (*Conn, error) {
	p := &publisher{}
	opts = append([]nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectBufSize(-1), // a publish that can't be sent now fails now
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			p.disconnected()
			if err != nil { // else it was closed here
				log.Warn("broker connection lost", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("broker connection is back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("broker error", zap.Error(err))
		}),
	}, opts...)
	nc, err := nats.Connect(urls, opts...)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	js, err := jetstream.New(nc)
	if err == nil {
		err = p.start(nc)
	}
	b := &batches{}
	if err == nil {
		err = b.start(nc)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("opening JetStream: %w", err)
	}
	return &Conn{NATS: nc, JS: js, publisher: p, batches: b, disk: d}, nil
}

// Close drops the connection; what is unconfirmed fails.
func (c *Conn) Close() {
	c.publisher.close()
	c.NATS.Close()
}

// Ready reports why publishing can't work now; nil when it can.
func (c *Conn) Ready() error {
	if s := c.NATS.Status(); s != nats.CONNECTED {
		return fmt.Errorf("%w: the connection is %s", ErrUnavailable, s)
	}
	if c.disk != nil {
		return c.disk.failure()
	}
	return nil
}

// Message is what Publish stores.
type Message struct {
	Subject string
	Data    []byte            // not to be changed afterwards
	Headers map[string]string // may be nil
	// ID makes the server drop a repeat within the duplicate window; costly,
	// so only for publishes that have a name of their own.
	ID string
	// ExpectLast, when set, is the sequence that must be the subject's last
	// (0: the subject must be empty).
	ExpectLast *uint64
	// Rollup replaces all earlier messages of the subject.
	Rollup bool
	// Later doesn't wait until the message is on disk. What may only happen once
	// it is there follows [Conn.Sync] or goes through [Conn.AfterSync].
	Later bool
}

// Publish stores a message and returns its sequence. It is safe for concurrent
// use: concurrent publishes share the connection, overlap, and share the syncs
// of a server in this process that syncs always.
func (c *Conn) Publish(ctx context.Context, m Message) (uint64, error) {
	seq, stream, err := c.publisher.publish(ctx, m.encode())
	if err != nil {
		return 0, publishError(m.Subject, err)
	}
	if c.disk == nil {
		return seq, nil
	}
	c.disk.stored(stream)
	if m.Later {
		return seq, nil
	}
	if err := c.disk.await(ctx, stream); err != nil {
		return 0, publishError(m.Subject, err)
	}
	return seq, nil
}

// PublishAll stores messages of one stream in their order, with one answer, and
// returns the last one's sequence. The server stores what comes over one
// connection in its order, so the last one's answer stands for all of them; where
// the connection was made anew meanwhile it does not, and that is an error.
//
// A message that the stream refuses while it takes the last is not told of, nor
// is one that a cluster loses with a leader: whoever writes a stream alone sees
// both, in a sequence that has not grown by as many as were sent. An error says
// nothing of which are stored.
func (c *Conn) PublishAll(ctx context.Context, ms ...Message) (uint64, error) {
	row := c.row()
	last := len(ms) - 1
	for i := range ms[:last] {
		if err := row.send(&ms[i]); err != nil {
			return 0, err
		}
	}
	return row.end(ctx, ms[last])
}

// row is messages that one connection takes, one behind the other.
type row struct {
	conn *Conn
	made uint64 // how often the connection had been made anew
}

func (c *Conn) row() row { return row{c, c.NATS.Stats().Reconnects} }

func (r row) send(m *Message) error {
	if err := r.conn.NATS.PublishMsg(m.encode()); err != nil {
		return publishError(m.Subject, err)
	}
	return nil
}

func (r row) end(ctx context.Context, m Message) (uint64, error) {
	seq, err := r.conn.Publish(ctx, m)
	if err == nil && r.conn.NATS.Stats().Reconnects != r.made {
		return 0, publishError(m.Subject, errDisconnected)
	}
	return seq, err
}

// Sync returns when what was published before the call is on disk, where the
// server is in this process and syncs always; else at once, since the server
// answers for that itself.
func (c *Conn) Sync(ctx context.Context) error {
	if c.disk == nil {
		return nil
	}
	if err := c.disk.awaitAll(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// SyncStream is Sync for one stream, whatever has written to it.
func (c *Conn) SyncStream(ctx context.Context, stream string) error {
	if c.disk == nil {
		return nil
	}
	c.disk.stored(stream)
	return c.disk.await(ctx, stream)
}

// AfterSync calls f when Sync would return: at once, or from another goroutine;
// never, where the disk fails. f must not block.
func (c *Conn) AfterSync(f func()) {
	if c.disk == nil {
		f()
		return
	}
	c.disk.after(f)
}

// encode makes the message as it is sent.
func (m *Message) encode() *nats.Msg {
	msg := &nats.Msg{Subject: m.Subject, Data: m.Data}
	for k, v := range m.Headers {
		setHeader(msg, k, v)
	}
	if m.ID != "" {
		setHeader(msg, jetstream.MsgIDHeader, m.ID)
	}
	if m.ExpectLast != nil {
		setHeader(msg, jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(*m.ExpectLast, 10))
	}
	if m.Rollup {
		setHeader(msg, jetstream.MsgRollup, jetstream.MsgRollupSubject)
	}
	return msg
}

func setHeader(msg *nats.Msg, key, value string) {
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	msg.Header[key] = []string{value}
}

// JetStream's error codes that Publish tells apart.
const (
	codeWrongLastSequence      = 10071
	codeStreamStoreFailed      = 10077 // "maximum bytes exceeded" and its like
	codeInsufficientResources  = 10023
	codeConcurrentConditionals = 10164 // on replicated streams: try again
)

func publishError(subject string, err error) error {
	return fmt.Errorf("publishing to %s: %w: %w", subject, KindOf(err), err)
}

// KindOf says which of the errors of Publish a refusal by JetStream amounts to;
// ErrUnavailable where it says nothing of what is stored.
func KindOf(err error) error {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch int(api.ErrorCode) {
		case codeWrongLastSequence:
			return ErrConflict
		case codeStreamStoreFailed, codeInsufficientResources:
			return ErrFull
		case codeConcurrentConditionals:
		}
	}
	return ErrUnavailable
}
