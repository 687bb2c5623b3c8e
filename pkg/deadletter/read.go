package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
)

// span is the part of the stream with the sequences [first, end).
type span struct {
	first, end uint64
	// leader is the server that leads a stream that has replicas; empty where it
	// has none, and so every reader sees the latest letters.
	leader string
	whole  bool // no letter within the stream was removed
}

func (r span) empty() bool { return r.first >= r.end }

// info asks the stream's leader.
func (s *Store) info(ctx context.Context, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	info, err := s.stream.Info(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	return info, nil
}

// spanOf is where the letters of a filter's times are.
func (s *Store) spanOf(ctx context.Context, f Filter) (span, error) {
	info, err := s.info(ctx)
	if err != nil {
		return span{}, err
	}
	r := spanIn(info)
	if !f.After.IsZero() {
		seq, err := s.conn.SeqAt(ctx, topology.StreamDead, f.After)
		if err != nil {
			return span{}, err
		}
		r.first = max(r.first, seq)
	}
	if !f.Before.IsZero() {
		seq, err := s.conn.SeqAt(ctx, topology.StreamDead, f.Before)
		if err != nil {
			return span{}, err
		}
		r.end = min(r.end, seq)
	}
	return r, nil
}

func spanIn(info *jetstream.StreamInfo) span {
	r := span{first: max(info.State.FirstSeq, 1), end: info.State.LastSeq + 1}
	r.whole = r.end-r.first == info.State.Msgs
	if info.Config.Replicas > 1 && info.Cluster != nil {
		r.leader = info.Cluster.Leader
	}
	return r
}

// read visits what is stored in a span and matches a subject (empty: any),
// oldest first; visit returns false to end it. It reads through a consumer,
// which may be at a replica: so the leader says whether something is left.
func (s *Store) read(ctx context.Context, subject string, r span, visit func(broker.Stored) bool) error {
	for next := r.first; next < r.end; {
		ended := false
		see := func(m broker.Stored) {
			ended = m.Seq >= r.end || !visit(m) || m.Seq+1 == r.end
			next = m.Seq + 1
		}
		if err := s.conn.Scan(ctx, topology.StreamDead, subject, next, func(m broker.Stored) bool {
			see(m)
			return !ended
		}); err != nil {
			return err
		}
		if ended || r.leader == "" {
			return nil
		}
		msg, err := s.stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(cmp.Or(subject, ">")))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
		}
		if see(storedOf(msg)); ended {
			return nil
		}
	}
	return nil
}

func storedOf(m *jetstream.RawStreamMsg) broker.Stored {
	return broker.Stored{Seq: m.Sequence, Subject: m.Subject, Time: m.Time, Data: m.Data}
}
