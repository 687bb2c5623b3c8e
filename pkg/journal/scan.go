package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
)

// Scan reads so much of the journal before it visits that: its reader may take
// its time, for which the broker would not wait.
const (
	scanEntries = 5000
	scanBytes   = 8 << 20
)

// Scan visits the entries that a filter lets through and that were stored since
// a time and before until (zero: no bound), from a sequence on (0: from the
// first), oldest first, as many as there are when it begins. Entries that can't
// be read are among them. An error of visit ends it and is returned; another one
// wraps broker.ErrUnavailable.
func (r *Reader) Scan(ctx context.Context, f Filter, since, until time.Time, from uint64, visit func(Entry) error) error {
	span, err := r.span(ctx, since, until)
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	for next := max(from, span.First); next <= span.Last; {
		var entries []Entry
		entries, next, err = r.some(ctx, &f, broker.Span{First: next, Last: span.Last})
		if err != nil {
			return fmt.Errorf("reading the journal: %w", err)
		}
		for _, e := range entries {
			if err := visit(e); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// span is what the journal holds now of a time.
func (r *Reader) span(ctx context.Context, since, until time.Time) (span broker.Span, err error) {
	if span, err = r.conn.SpanOf(ctx, topology.StreamJournal); err != nil {
		return span, err
	}
	if !until.IsZero() && span.First <= span.Last {
		seq, err := r.conn.SeqAt(ctx, topology.StreamJournal, until)
		if err != nil {
			return span, err
		}
		span.Last = min(span.Last, seq-1)
	}
	if !since.IsZero() && span.First <= span.Last {
		seq, err := r.conn.SeqAt(ctx, topology.StreamJournal, since)
		if err != nil {
			return span, err
		}
		span.First = max(span.First, seq)
	}
	return span, nil
}

// some returns the first entries of a span, and where what is behind them
// begins.
func (r *Reader) some(ctx context.Context, f *Filter, span broker.Span) (entries []Entry, next uint64, err error) {
	seen, size, next := 0, 0, span.Last+1
	err = r.conn.Scan(ctx, topology.StreamJournal, f.subject(), span.First, func(m broker.Stored) bool {
		if m.Seq > span.Last {
			return false
		}
		if e, ok := f.entryOf(&m); ok {
			entries = append(entries, e)
			size += len(m.Data)
		}
		if seen++; len(entries) >= scanEntries || size >= scanBytes || seen >= lookedAtOnce {
			next = m.Seq + 1
			return false
		}
		return true
	})
	return entries, next, err
}

// lookedAtOnce is how many entries are looked at before those are visited that
// matched.
const lookedAtOnce = 100_000
