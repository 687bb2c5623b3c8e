package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
)

// Filter chooses entries; an empty field lets every value through.
type Filter struct {
	Kind   string
	Object string
	By     string    // the name or the id of a token
	Since  time.Time // at or after it
	Until  time.Time // before it
}

// Page is a part of a list.
type Page struct {
	// Before is the Next of the page before this one; 0 begins at the newest.
	Before uint64
	// Limit is the most entries that the page has; 0 means 50, and at most
	// 1,000 is taken.
	Limit int
}

// Listing is a page of entries.
type Listing struct {
	Entries []Entry // newest first
	Next    uint64  // Before of the next page; 0 where this is the last
	// Undecodable counts entries in the page's range that can't be read, such as
	// those of a later version, and so are left out.
	Undecodable int
}

// maxLook is how many entries List looks at for one page.
const maxLook = 10_000

// List returns a page of the entries that a filter lets through, newest first.
// It looks at 10,000 entries at most, so a page of a filter that lets few
// through may have fewer than it could, or none, and a Next: then the list goes
// on there. Entries that come between two pages move nothing.
func (l *Log) List(ctx context.Context, f Filter, p Page) (Listing, error) {
	out, err := l.list(ctx, f, p)
	if err != nil {
		return Listing{}, fmt.Errorf("listing audit entries: %w", err)
	}
	return out, nil
}

func (l *Log) list(ctx context.Context, f Filter, p Page) (out Listing, err error) {
	if f.Kind != "" && !slices.Contains(Kinds(), f.Kind) {
		return out, fmt.Errorf("%q is no kind", f.Kind)
	}
	first, end, err := l.bounds(ctx, f, p)
	if err != nil {
		return out, err
	}
	most := p.limit() + 1 // one more tells whether there is a next page
	found, rest, err := l.newest(ctx, f, first, end, most)
	if err != nil {
		return out, err
	}
	out.Next = rest
	if len(found) >= most {
		found = found[1:]
		out.Next = found[0].Seq
	}
	for _, e := range slices.Backward(found) {
		if e.unread {
			out.Undecodable++
			continue
		}
		out.Entries = append(out.Entries, e.Entry)
	}
	return out, nil
}

// bounds returns the range [first, end) of sequences that a page is in.
func (l *Log) bounds(ctx context.Context, f Filter, p Page) (first, end uint64, err error) {
	span, err := l.conn.SpanOf(ctx, topology.StreamAudit)
	if err != nil {
		return 0, 0, err
	}
	first, end = span.First, span.Last+1
	if p.Before > 0 {
		end = min(end, p.Before)
	}
	if !f.Until.IsZero() {
		until, err := l.conn.SeqAt(ctx, topology.StreamAudit, f.Until)
		if err != nil {
			return 0, 0, err
		}
		end = min(end, until)
	}
	if !f.Since.IsZero() {
		since, err := l.conn.SeqAt(ctx, topology.StreamAudit, f.Since)
		if err != nil {
			return 0, 0, err
		}
		first = max(first, since)
	}
	return first, end, nil
}

// seen is an entry that passed the filter, or one that can't be read.
type seen struct {
	Entry
	unread bool
}

// newest returns the last most entries in [first, end) that pass the filter,
// oldest first, and where the rest ends that it did not look at; 0 where there
// is none. A stream is read forwards only, so this reads windows that reach back
// further and further.
func (l *Log) newest(ctx context.Context, f Filter, first, end uint64, most int) (found []seen, rest uint64, err error) {
	left := uint64(maxLook)
	for width := uint64(most); end > first && left > 0 && len(found) < most; width *= 4 {
		n := min(width, left, end-first)
		window, err := l.window(ctx, f, end-n, end, most)
		if err != nil {
			return nil, 0, err
		}
		found = append(window, found...)
		end, left = end-n, left-n
	}
	if end > first {
		rest = end
	}
	return found[max(0, len(found)-most):], rest, nil
}

// window returns the last most entries in [begin, end) that pass the filter,
// oldest first.
func (l *Log) window(ctx context.Context, f Filter, begin, end uint64, most int) (found []seen, err error) {
	err = l.conn.Scan(ctx, topology.StreamAudit, topology.AuditFilter(f.Kind), begin, func(m broker.Stored) bool {
		if m.Seq >= end {
			return false
		}
		e, err := decode(m.Data)
		if err == nil && !f.passes(&e) {
			return true
		}
		e.Seq, e.At = m.Seq, m.Time.UTC()
		found = append(found, seen{Entry: e, unread: err != nil})
		if len(found) >= 2*most {
			found = found[:copy(found, found[len(found)-most:])]
		}
		return true
	})
	return found[max(0, len(found)-most):], err
}

// passes judges what the subject and the range don't say.
func (f *Filter) passes(e *Entry) bool {
	return (f.Object == "" || f.Object == e.Object) && (f.By == "" || f.By == e.By || f.By == e.TokenID)
}

func (p Page) limit() int {
	if p.Limit <= 0 {
		return 50
	}
	return min(p.Limit, 1000)
}
