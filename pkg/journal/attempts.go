package journal

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
)

// Page is a part of a list that begins at the newest.
type Page struct {
	Since, Until time.Time // when entries were stored; zero: no bound
	Before       uint64    // the Next of the page before this one; 0 begins at the newest
	Limit        int       // the most entries that the page has; 0 means 50, and at most 1,000 is taken
}

// Listing is a page of entries. It may be short, or empty, and have a next page
// all the same: what is looked at for one page is bounded.
type Listing struct {
	Entries []Entry   // newest first
	Next    uint64    // Before of the next page; 0 where this is the last
	Reached time.Time // the page has looked back so far; zero where it looked at nothing
	// Unreadable counts entries that can't be read, and so are left out.
	Unreadable int
}

// lookedAt is about how many entries are looked at for a page.
const lookedAt = 20_000

// Attempts returns a page of the deliveries that a filter lets through, newest
// first: attempts, and what ended without one. The error wraps
// broker.ErrUnavailable.
//
// Nothing is sorted by endpoint, so the journal is read backwards for it. A
// stream is read forwards only: this reads windows of it that reach back further
// and further. How many sequences a window has follows from how dense the
// entries are that the broker can tell apart.
func (r *Reader) Attempts(ctx context.Context, f Filter, p Page) (Listing, error) {
	f.Deliveries = true
	out, err := r.newest(ctx, &f, p)
	if err != nil {
		return Listing{}, fmt.Errorf("reading attempts in the journal: %w", err)
	}
	return out, nil
}

func (r *Reader) newest(ctx context.Context, f *Filter, p Page) (out Listing, err error) {
	span, err := r.span(ctx, p.Since, p.Until)
	if err != nil {
		return out, err
	}
	if p.Before > 0 {
		span.Last = min(span.Last, p.Before-1)
	}
	if span.First > span.Last {
		return out, nil
	}
	spread, err := r.spread(ctx, f, span)
	if err != nil || spread == 0 {
		return out, err
	}
	limit := p.limit()
	for looked, width := 0, uint64(2*limit); span.First <= span.Last && len(out.Entries) < limit && looked < lookedAt; width *= 4 {
		width = min(width, uint64(lookedAt-looked))
		window := span
		if room := span.Last - span.First; width*spread <= room {
			window.First = span.Last - width*spread + 1
		}
		n, err := r.window(ctx, f, window, limit, &out)
		if err != nil {
			return out, err
		}
		looked += max(n, int(width))
		span.Last = window.First - 1
	}
	switch {
	case len(out.Entries) > limit:
		out.Entries = out.Entries[:limit]
		last := out.Entries[limit-1]
		out.Next, out.Reached = last.Seq, last.StoredAt
	case span.First <= span.Last:
		out.Next = span.Last + 1
	}
	return out, nil
}

// Turns returns a page of the turns that a filter lets through, newest first, as
// Attempts does of deliveries.
func (r *Reader) Turns(ctx context.Context, f Filter, p Page) (Listing, error) {
	f.Turns = true
	out, err := r.newest(ctx, &f, p)
	if err != nil {
		return Listing{}, fmt.Errorf("reading turns in the journal: %w", err)
	}
	return out, nil
}

// spread is how many sequences of the stream there are to each entry that the
// broker can tell apart from others; 0 where there is no such entry.
func (r *Reader) spread(ctx context.Context, f *Filter, span broker.Span) (uint64, error) {
	if f.ChannelID == "" && f.Key == nil {
		return 1, nil
	}
	n, err := r.conn.Count(ctx, topology.StreamJournal, f.subject())
	if err != nil || n == 0 {
		return 0, err
	}
	return max(1, (span.Last-span.First+1)/n), nil
}

// window puts the newest entries of a window behind those that were found, and
// returns how many it looked at. More than limit+1 are not kept.
func (r *Reader) window(ctx context.Context, f *Filter, w broker.Span, limit int, out *Listing) (looked int, err error) {
	var found []Entry
	var first time.Time
	err = r.conn.Scan(ctx, topology.StreamJournal, f.subject(), w.First, func(m broker.Stored) bool {
		if m.Seq > w.Last {
			return false
		}
		if looked++; looked == 1 {
			first = m.Time
		}
		e, ok := f.entryOf(&m)
		switch {
		case !ok:
		case e.Unreadable != nil:
			out.Unreadable++
		default:
			if found = append(found, e); len(found) > 2*limit {
				found = found[:copy(found, found[len(found)-limit-1:])]
			}
		}
		return true
	})
	if err != nil {
		return looked, err
	}
	for _, e := range slices.Backward(found) {
		out.Entries = append(out.Entries, e)
	}
	if !first.IsZero() {
		out.Reached = first
	}
	return looked, nil
}

func (p Page) limit() int { return min(cmp.Or(max(p.Limit, 0), 50), 1000) }
