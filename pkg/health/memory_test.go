package health

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/parleyhq/parley/pkg/broker"
)

// memory is a Store for tests, which can be away, or not answer.
type memory struct {
	mu      sync.Mutex
	last    map[string]Entry
	log     []Entry
	changed chan struct{} // closed and replaced with every change
	away    bool
	mute    bool // it takes questions and doesn't answer
	puts    int
	asked   int
}

func newMemory() *memory {
	return &memory{last: map[string]Entry{}, changed: make(chan struct{})}
}

var errAway = errors.Join(broker.ErrUnavailable, errors.New("away"))

func (m *memory) set(away, mute bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away, m.mute = away, mute
	m.signal()
}

// counts returns how often it was asked, and how often something was stored.
func (m *memory) counts() (asked, puts int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked, m.puts
}

// force stores a record without a word to those who watch.
func (m *memory) force(e Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last[e.Key] = e
	m.log = append(m.log, e)
}

func (m *memory) signal() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// answers returns with the lock held, or an error.
func (m *memory) answers(ctx context.Context) error {
	m.mu.Lock()
	m.asked++
	switch {
	case m.mute:
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		return errAway
	case m.away || ctx.Err() != nil:
		m.mu.Unlock()
		return errAway
	}
	return nil
}

func (m *memory) Put(ctx context.Context, key string, r Record, expected uint64) (uint64, error) {
	if err := m.answers(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	if m.last[key].Revision != expected {
		return 0, broker.ErrConflict
	}
	e := Entry{Key: key, Record: r, Revision: uint64(len(m.log) + 1)}
	m.log = append(m.log, e)
	m.last[key] = e
	m.puts++
	m.signal()
	return e.Revision, nil
}

func (m *memory) Get(ctx context.Context, key string) (Entry, error) {
	if err := m.answers(ctx); err != nil {
		return Entry{}, err
	}
	defer m.mu.Unlock()
	e := m.last[key]
	e.Key = key
	return e, nil
}

func (m *memory) Watch(ctx context.Context, apply func(Entry), alive func()) error {
	if err := m.answers(ctx); err != nil {
		return err
	}
	at := len(m.log)
	var now []Entry
	for _, e := range m.last {
		now = append(now, e)
	}
	m.mu.Unlock()
	for _, e := range now {
		apply(e)
	}
	alive()
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		m.mu.Lock()
		away, mute, changed := m.away, m.mute, m.changed
		news := m.log[at:len(m.log):len(m.log)]
		at = len(m.log)
		m.mu.Unlock()
		if away {
			return errAway
		}
		for _, e := range news {
			apply(e)
		}
		select {
		case <-changed:
		case <-tick.C:
			if !mute {
				alive()
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
