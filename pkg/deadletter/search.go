package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
)

const (
	// near is how far a search goes back, from the newest on, before the broker
	// is asked where the letters are.
	near = 4096
	// widest is the most of the stream that is read in one go: what is found in
	// it and is too much is thrown away.
	widest = 1 << 16
	// few letters are read one by one, by their subjects, by so many readers.
	few     = 1000
	readers = 32
	// maxLooked is how many letters a search looks into for what is in them
	// alone.
	maxLooked = 20_000
)

// search looks for the newest letters of a span that a filter lets through.
//
// A stream is read forwards only, so a search reads windows that reach back
// further and further. A reader with a filter makes the broker look through all
// subjects, of which each letter has its own: so near windows are read without
// one. What is rare, as a conversation's letters are, is read by its subjects.
type search struct {
	store   *Store
	filter  Filter
	subject string
	most    int

	mu     sync.Mutex
	found  []Letter
	looked uint64
}

// run returns the sequence down to which it has looked.
func (q *search) run(ctx context.Context, r span) (low uint64, err error) {
	if r.empty() {
		return r.first, nil
	}
	first := uint64(q.most)
	if q.filter.ofContent() {
		first *= 4
	}
	if q.subject == "" {
		return q.windows(ctx, "", r, first)
	}
	if q.filter.ConversationID == "" {
		close := r
		close.first = max(r.first, r.end-min(r.end, near))
		low, err = q.windows(ctx, "", close, 4*first)
		if err != nil || q.enough() || low == r.first {
			return low, err
		}
		r.end = low
	}
	return q.further(ctx, r)
}

// further looks for what is too rare, or too far back, to be met by reading all.
func (q *search) further(ctx context.Context, r span) (low uint64, err error) {
	n, err := q.store.conn.Count(ctx, topology.StreamDead, q.subject)
	if err != nil {
		return 0, err
	}
	if n <= few {
		return r.first, q.named(ctx, r)
	}
	last, err := q.store.stream.GetLastMsgForSubject(ctx, q.subject)
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	if err != nil || last.Sequence < r.first {
		return r.first, nil
	}
	r.end = min(r.end, last.Sequence+1)
	return q.windows(ctx, q.subject, r, near)
}

// windows reads back from a span's end, with the broker choosing by a subject
// (empty: it does not), until there is enough.
func (q *search) windows(ctx context.Context, subject string, r span, width uint64) (low uint64, err error) {
	for low = r.end; low > r.first && !q.enough(); width = min(4*width, widest) {
		window := r
		window.end = low
		if q.filter.ofContent() {
			width = min(width, maxLooked-q.looked)
		}
		window.first = max(r.first, low-min(width, low))
		if err := q.store.read(ctx, subject, window, q.look); err != nil {
			return 0, err
		}
		low = window.first
	}
	return low, nil
}

// named reads all letters of the subject that are in a span.
func (q *search) named(ctx context.Context, r span) error {
	info, err := q.store.info(ctx, jetstream.WithSubjectFilter(q.subject))
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for subject := range info.State.Subjects {
		g.Go(func() error {
			msg, err := q.store.stream.GetLastMsgForSubject(ctx, subject)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
			}
			if msg.Sequence >= r.first && msg.Sequence < r.end {
				q.look(storedOf(msg))
			}
			return nil
		})
	}
	return g.Wait()
}

// look takes a letter that matches; it always wants more, since what is newest
// comes last.
func (q *search) look(m broker.Stored) bool {
	if q.subject != "" && !matchesSubject(q.subject, m.Subject) {
		return true
	}
	l := letterOf(m)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.looked++
	if l.Undecodable != nil || q.filter.Matches(&l) {
		q.found = append(q.found, l)
		if len(q.found) >= 2*q.most {
			q.newest()
		}
	}
	return true
}

func (q *search) enough() bool {
	return len(q.found) >= q.most || q.filter.ofContent() && q.looked >= maxLooked
}

// newest returns the newest of what was found, newest first, and forgets what is
// too much.
func (q *search) newest() []Letter {
	slices.SortFunc(q.found, func(a, b Letter) int { return cmp.Compare(b.Seq, a.Seq) })
	if len(q.found) > q.most {
		clear(q.found[q.most:])
		q.found = q.found[:q.most]
	}
	return q.found
}
