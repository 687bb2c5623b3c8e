package broker

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Feed is what a connection stores in a stream, for a reader in this process: it
// saves the way back from the server. It holds the oldest that were not taken,
// within bounds, and may miss some; these stand in the stream as all do.
type Feed struct {
	stream string
	more   chan struct{}

	mu     sync.Mutex
	held   []Fed // by sequence
	bytes  int
	missed bool // something was stored, or may have been, that is not held
}

// Fed is a message that was stored.
type Fed struct {
	Seq    uint64
	Time   time.Time // when the server had it, or a moment later
	Data   []byte
	Header nats.Header
}

// Bounds of what a feed holds.
const (
	feedMessages = 2048
	feedBytes    = 2 << 20
)

// Follow begins a feed of what is published to the stream from now on. It
// replaces the one before.
func (c *Conn) Follow(stream string) *Feed {
	f := &Feed{stream: stream, more: make(chan struct{}, 1)}
	c.publisher.follow(f)
	return f
}

// Unfollow ends a feed.
func (c *Conn) Unfollow(f *Feed) { c.publisher.unfollow(f) }

// Take removes and returns what follows on a sequence without a gap, beginning
// with it; what stands before it is dropped. Where there is nothing, behind says
// that the stream may have something at or after it: the reader has to look
// there until it finds no more.
func (f *Feed) Take(from uint64) (run []Fed, behind bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(f.held) && f.held[n].Seq < from {
		n++
	}
	f.drop(n)
	n = 0
	for n < len(f.held) && f.held[n].Seq == from+uint64(n) {
		n++
	}
	if n == 0 {
		behind = f.missed || len(f.held) > 0
		f.missed = false
		return nil, behind
	}
	run = f.held[:n:n]
	f.drop(n)
	return run, false
}

// drop forgets the first n; the mutex is held.
func (f *Feed) drop(n int) {
	for i := range n {
		f.bytes -= len(f.held[i].Data)
	}
	if f.held = f.held[n:]; len(f.held) == 0 {
		f.held = nil
	}
}

// More returns a channel that says when Take may return something else.
func (f *Feed) More() <-chan struct{} { return f.more }

// add takes a message that was stored.
func (f *Feed) add(seq uint64, msg *nats.Msg) {
	f.mu.Lock()
	last := len(f.held) - 1
	if len(f.held) >= feedMessages || f.bytes+len(msg.Data) > feedBytes || last >= 0 && f.held[last].Seq >= seq {
		f.missed = true
	} else {
		f.held = append(f.held, Fed{Seq: seq, Time: time.Now(), Data: msg.Data, Header: msg.Header})
		f.bytes += len(msg.Data)
	}
	f.mu.Unlock()
	wake(f.more)
}

// miss notes that something may have been stored.
func (f *Feed) miss() {
	f.mu.Lock()
	f.missed = true
	f.mu.Unlock()
	wake(f.more)
}
