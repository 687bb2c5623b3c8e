package ledger

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/parleyhq/parley/pkg/chat"
)

// Store is what a Bucket keeps its marks in: a key-value bucket on disk, which
// forgets keys by itself. Puts to different keys overlap.
type Store interface {
	Get(ctx context.Context, key string) (value []byte, ok bool, err error)
	Put(ctx context.Context, key string, value []byte) error
}

// remembered is how many lanes' marks a Bucket keeps in memory: some 20 MB.
const remembered = 65536

// Bucket is the ledger of a single process: it trusts its memory of what it
// read and wrote last, so that a Settle is one write.
type Bucket struct {
	store  Store
	most   int
	mu     sync.Mutex
	lanes  map[string]*list.Element // of *laneMark
	recent *list.List               // the latest used first
}

// laneMark is a lane's mark in memory, locked while the store is asked.
type laneMark struct {
	lane  string
	users int // under Bucket.mu; while there are any it is not dropped

	mu    sync.Mutex
	known bool // else the store has to be asked
	ok    bool
	mark  chat.Ordinal
}

// NewBucket makes a ledger on a store that no other process writes to.
func NewBucket(store Store) *Bucket { return newBucket(store, remembered) }

func newBucket(store Store, most int) *Bucket {
	return &Bucket{store: store, most: most, lanes: map[string]*list.Element{}, recent: list.New()}
}

// Load returns the lane's mark.
func (b *Bucket) Load(ctx context.Context, lane string) (mark chat.Ordinal, ok bool, err error) {
	m := b.acquire(lane)
	defer b.release(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := b.learn(ctx, m); err != nil {
		return mark, false, laneError("reading", lane, err)
	}
	return m.mark, m.ok, nil
}

// Settle moves the lane's mark forward.
func (b *Bucket) Settle(ctx context.Context, lane string, mark chat.Ordinal) error {
	m := b.acquire(lane)
	defer b.release(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	return laneError("settling", lane, b.settle(ctx, m, mark))
}

// Ping reads a key that no lane has.
func (b *Bucket) Ping(ctx context.Context) error {
	if _, _, err := b.store.Get(ctx, "ping"); err != nil {
		return fmt.Errorf("the ledger's bucket: %w", err)
	}
	return nil
}

func (b *Bucket) settle(ctx context.Context, m *laneMark, mark chat.Ordinal) error {
	if _, err := encodeMark(mark); err != nil {
		return err
	}
	// A mark that can't be read is replaced.
	if err := b.learn(ctx, m); err != nil && !isNoMark(err) {
		return err
	}
	if m.ok {
		if m.mark.Covers(mark) {
			return nil
		}
		mark = Advance(m.mark, mark)
	}
	value, err := encodeMark(mark)
	if err != nil {
		return err
	}
	if err := b.store.Put(ctx, m.lane, value); err != nil {
		m.known = false // it may be stored, or may not
		return err
	}
	m.known, m.ok, m.mark = true, true, mark
	return nil
}

// learn asks the store for a mark that is not in memory.
func (b *Bucket) learn(ctx context.Context, m *laneMark) error {
	if m.known {
		return nil
	}
	m.ok, m.mark = false, chat.Ordinal{}
	value, ok, err := b.store.Get(ctx, m.lane)
	if err != nil {
		return err
	}
	if ok {
		if m.mark, err = decodeMark(string(value)); err != nil {
			return err
		}
	}
	m.known, m.ok = true, ok
	return nil
}

func (b *Bucket) acquire(lane string) *laneMark {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.lanes[lane]
	if ok {
		b.recent.MoveToFront(e)
	} else {
		e = b.recent.PushFront(&laneMark{lane: lane})
		b.lanes[lane] = e
	}
	m := e.Value.(*laneMark)
	m.users++
	return m
}

// release also drops what was not used for longest. What is in use stays, so
// that a lane never has two marks in memory.
func (b *Bucket) release(m *laneMark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.users--
	for b.recent.Len() > b.most {
		e := b.recent.Back()
		last := e.Value.(*laneMark)
		if last.users > 0 {
			return
		}
		b.recent.Remove(e)
		delete(b.lanes, last.lane)
	}
}
