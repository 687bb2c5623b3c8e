package deadletter

import (
	"context"
	"fmt"
	"slices"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Filter chooses dead letters; an empty field lets every value through.
type Filter struct {
	Stage       chat.Stage
	ChannelID   string
	Destination string // endpoint or bot
}

// Page is a part of a list.
type Page struct {
	// Before is the Next of the page before this one; 0 begins at the newest.
	Before uint64
	// Limit is the most letters that the page has; 0 means 50, and at most
	// 1,000 is taken.
	Limit int
}

// Listing is a page of letters.
type Listing struct {
	Letters []Letter // newest first
	Next    uint64   // Before of the next page; 0 where this is the last
	// Undecodable counts letters in the page's range that can't be read, and so
	// are left out.
	Undecodable int
}

// Count returns how many letters a filter lets through.
func (s *Store) Count(ctx context.Context, f Filter) (uint64, error) {
	filter, err := f.subject()
	if err != nil {
		return 0, err
	}
	n, err := s.conn.Count(ctx, topology.StreamDead, filter)
	if err != nil {
		return 0, fmt.Errorf("counting dead letters: %w", err)
	}
	return n, nil
}

// List returns a page of the letters that a filter lets through, newest first.
// Letters that come or go between two pages move nothing else.
func (s *Store) List(ctx context.Context, f Filter, p Page) (Listing, error) {
	filter, err := f.subject()
	if err != nil {
		return Listing{}, err
	}
	stored, err := s.newest(ctx, filter, p.Before, p.limit()+1)
	if err != nil {
		return Listing{}, fmt.Errorf("listing dead letters: %w", err)
	}
	var out Listing
	if len(stored) > p.limit() {
		stored = stored[1:]
		out.Next = stored[0].Seq
	}
	for _, m := range slices.Backward(stored) {
		d, err := wire.DecodeDeadLetter(m.Data)
		if err != nil {
			out.Undecodable++
			continue
		}
		out.Letters = append(out.Letters, Letter{Seq: m.Seq, StoredAt: m.Time, DeadLetter: *d})
	}
	return out, nil
}

// newest returns the last most messages before a sequence (0: of all), oldest
// first. A stream is read forwards only, so this reads windows that reach back
// further and further.
func (s *Store) newest(ctx context.Context, filter string, before uint64, most int) ([]broker.Stored, error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	first, end := max(info.State.FirstSeq, 1), info.State.LastSeq+1
	if before > 0 {
		end = min(end, before)
	}
	var found []broker.Stored
	for width := uint64(most); end > first && len(found) < most; width *= 4 {
		begin := max(end-min(width, end), first)
		var window []broker.Stored
		err := s.conn.Scan(ctx, topology.StreamDead, filter, begin, func(m broker.Stored) bool {
			if m.Seq >= end {
				return false
			}
			window = append(window, m)
			if len(window) >= 2*most {
				window = window[:copy(window, window[len(window)-most:])]
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		found = append(window, found...)
		end = begin
	}
	return found[max(0, len(found)-most):], nil
}

// subject refuses what would be taken for a wildcard.
func (f Filter) subject() (string, error) {
	for _, part := range []string{string(f.Stage), f.ChannelID, f.Destination} {
		if !isToken(part) {
			return "", fmt.Errorf("filtering dead letters: %q is no id", part)
		}
	}
	return topology.DeadFilter(f.Stage, f.ChannelID, f.Destination), nil
}

func (p Page) limit() int {
	if p.Limit <= 0 {
		return 50
	}
	return min(p.Limit, 1000)
}
