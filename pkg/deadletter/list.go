package deadletter

import (
	"context"
	"fmt"
	"slices"

	"github.com/parleyhq/parley/pkg/topology"
)

// Page is a part of a list.
type Page struct {
	// Before is the Next of the page before this one; 0 begins at the newest.
	Before uint64
	// Limit is the most letters that the page has; 0 means 50, and at most
	// 1,000 is taken.
	Limit int
}

func (p Page) limit() int {
	if p.Limit <= 0 {
		return 50
	}
	return min(p.Limit, 1000)
}

// Listing is a page of letters.
type Listing struct {
	Letters []Letter // newest first
	// Next is Before of the next page; 0 where this is the last. Where a filter
	// of reason or status matches rarely, a page has less than its limit, or
	// nothing, and still a Next: so many letters were looked at.
	Next uint64
	// Undecodable counts letters in the page's range that can't be read, and so
	// are left out.
	Undecodable int
}

// List returns a page of the letters that a filter lets through, newest first.
// Letters that come or go between two pages move nothing else.
func (s *Store) List(ctx context.Context, f Filter, p Page) (Listing, error) {
	subject, err := f.subject()
	if err != nil {
		return Listing{}, err
	}
	r, err := s.spanOf(ctx, f)
	if err != nil {
		return Listing{}, fmt.Errorf("listing dead letters: %w", err)
	}
	if p.Before > 0 {
		r.end = min(r.end, p.Before)
	}
	q := &search{store: s, filter: f, subject: subject, most: p.limit() + 1}
	low, err := q.run(ctx, r)
	if err != nil {
		return Listing{}, fmt.Errorf("listing dead letters: %w", err)
	}
	var out Listing
	found := q.newest()
	if len(found) > p.limit() {
		found = found[:p.limit()]
		out.Next = found[len(found)-1].Seq
	} else if low > r.first {
		out.Next = low
	}
	for _, l := range found {
		if l.Undecodable != nil {
			out.Undecodable++
		}
	}
	out.Letters = slices.DeleteFunc(found, func(l Letter) bool { return l.Undecodable != nil })
	return out, nil
}

// Count returns how many letters a filter lets through. Without reason and
// status, the broker counts, those too that can't be decoded; with them all
// letters that match the rest are read.
func (s *Store) Count(ctx context.Context, f Filter) (uint64, error) {
	subject, err := f.subject()
	if err != nil {
		return 0, err
	}
	n, err := s.count(ctx, f, subject)
	if err != nil {
		return 0, fmt.Errorf("counting dead letters: %w", err)
	}
	return n, nil
}

func (s *Store) count(ctx context.Context, f Filter, subject string) (uint64, error) {
	if f.ofContent() {
		return s.countByReading(ctx, f)
	}
	r, err := s.spanOf(ctx, f)
	switch {
	case err != nil || r.empty():
		return 0, err
	case subject == "" && r.whole:
		return r.end - r.first, nil
	case f.After.IsZero() && f.Before.IsZero():
		n, ok, err := s.countFrom(ctx, subject, r, 0)
		if err != nil || ok {
			return n, err
		}
		return s.countByReading(ctx, f)
	}
	// The broker counts from a letter on to the last. What comes meanwhile is
	// behind the span, and must not be taken off what was counted before.
	for range countTries {
		n, ok, err := s.countBetween(ctx, subject, r)
		if err != nil || ok {
			return n, err
		}
	}
	return s.countByReading(ctx, f)
}

// countTries bounds how often a count that was disturbed is made again.
const countTries = 3

func (s *Store) countBetween(ctx context.Context, subject string, r span) (n uint64, ok bool, err error) {
	var counts [3]uint64
	for i, from := range []uint64{r.end, r.first, r.end} {
		if counts[i], ok, err = s.countFrom(ctx, subject, r, from); err != nil || !ok {
			return 0, false, err
		}
	}
	return counts[1] - min(counts[0], counts[1]), counts[0] == counts[2], nil
}

// leaderTries bounds how often a reader is made until it is at the leader: of
// three replicas, each third one is.
const leaderTries = 12

// countFrom counts from a sequence on. It is not ok where the leader could not
// be made to count.
func (s *Store) countFrom(ctx context.Context, subject string, r span, from uint64) (n uint64, ok bool, err error) {
	for range leaderTries {
		n, server, err := s.conn.CountFrom(ctx, topology.StreamDead, subject, from)
		if err != nil || r.leader == "" || server == r.leader {
			return n, err == nil, err
		}
	}
	return 0, false, nil
}

func (s *Store) countByReading(ctx context.Context, f Filter) (n uint64, err error) {
	err = s.Scan(ctx, f, 0, 0, func(l Letter) error {
		if l.Undecodable == nil || !f.ofContent() {
			n++
		}
		return nil
	})
	return n, err
}
