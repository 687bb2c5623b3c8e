package deadletter

import (
	"context"
	"fmt"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Last returns the sequence of the last letter that was stored; 0 where there
// never was one. The error wraps broker.ErrUnavailable.
func (s *Store) Last(ctx context.Context) (uint64, error) {
	info, err := s.info(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the last dead letter's place: %w", err)
	}
	return info.State.LastSeq, nil
}

// Scan visits the letters that a filter lets through and whose sequence is in
// [from, upTo], oldest first, one after another; upTo 0 means up to the last
// letter that is there when it begins. It keeps no more than a few hundred in
// memory. A letter that can't be decoded is visited too, whatever reason and
// status the filter has, with Undecodable set: so it can be counted. An error of
// visit ends the scan and is returned as it is; others wrap
// broker.ErrUnavailable, unless the filter can't be used.
func (s *Store) Scan(ctx context.Context, f Filter, from, upTo uint64, visit func(Letter) error) error {
	subject, err := f.subject()
	if err != nil {
		return err
	}
	r, err := s.spanOf(ctx, f)
	if err != nil {
		return fmt.Errorf("reading dead letters: %w", err)
	}
	if upTo > 0 {
		r.end = min(r.end, upTo+1)
	}
	r.first = max(r.first, from)
	var refused error
	err = s.read(ctx, subject, r, func(m broker.Stored) bool {
		l := letterOf(m)
		if l.Undecodable == nil && !f.Matches(&l) {
			return true
		}
		refused = visit(l)
		return refused == nil
	})
	if refused != nil {
		return refused
	}
	if err != nil {
		return fmt.Errorf("reading dead letters: %w", err)
	}
	return nil
}

func letterOf(m broker.Stored) Letter {
	l := Letter{Seq: m.Seq, StoredAt: m.Time}
	d, err := wire.DecodeDeadLetter(m.Data)
	if err == nil {
		l.DeadLetter = *d
		return l
	}
	l.Undecodable = err
	if stage, channel, destination, key, id, err := topology.ParseDeadSubject(m.Subject); err == nil {
		l.Stage, l.ChannelID, l.Destination, l.key, l.MessageID = stage, channel, destination, key, id
	}
	return l
}
