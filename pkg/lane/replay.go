package lane

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/tracing"
)

// Replay is what a message says that an operator has sent again. The lane's mark
// doesn't tell of it, since it was settled before. A mark of its own does, for each
// lane and replay: so a copy that was stored twice is handled once, and a second
// replay is handled too.
type Replay struct {
	ID string
	// To is the one group that it is for, whoever else the message was for.
	To string
	// Place is its place among the replay's messages of a lane, which are stored in
	// this order. The zero place has none, and is handled as often as it is stored.
	Place chat.Ordinal
}

// Headers returns how a stored message says that it is a replay.
func (r *Replay) Headers() map[string]string {
	h := map[string]string{topology.HeaderReplay: r.ID}
	if r.To != "" {
		h[topology.HeaderReplayTo] = r.To
	}
	if !r.Place.IsZero() {
		h[topology.HeaderReplayPlace] = fmt.Sprintf("%d.%d.%d", r.Place.Epoch, r.Place.Counter, r.Place.InputAt)
	}
	return h
}

// replayOf reads what Headers wrote; nil: the message is none.
func replayOf(h interface{ Get(key string) string }) *Replay {
	id := h.Get(topology.HeaderReplay)
	if id == "" {
		return nil
	}
	r := &Replay{ID: id, To: h.Get(topology.HeaderReplayTo)}
	if _, err := fmt.Sscanf(h.Get(topology.HeaderReplayPlace), "%d.%d.%d", &r.Place.Epoch, &r.Place.Counter, &r.Place.InputAt); err != nil {
		r.Place = chat.Ordinal{} // handled once too often rather than never
	}
	return r
}

// traceparentOf reads the trace context of a stored message; empty: it has none
// that is valid.
func traceparentOf(h interface{ Get(key string) string }) string {
	t, _ := tracing.Parse(h.Get(topology.HeaderTraceparent))
	return t
}

// ReplayID returns the replay that a message came from, empty where it is none.
func (m *Message) ReplayID() string {
	if m.Replay == nil {
		return ""
	}
	return m.Replay.ID
}

// replaying is what a lane knows of the replay that it met last.
type replaying struct {
	id     string
	mark   chat.Ordinal
	marked bool
}

// markOf names the mark of a lane and a replay.
func (s *shard) markOf(l *lane, r *Replay) string {
	return "replay." + r.ID + "." + string(s.engine.Stage) + "." + l.name
}

// replayed reports whether a copy of a replay was settled before.
func (s *shard) replayed(ctx context.Context, l *lane, r *Replay) bool {
	if s.engine.Replays == nil || r.Place.IsZero() {
		return false
	}
	if l.replay.id != r.ID {
		mark, ok, err := s.engine.Replays.Load(ctx, s.markOf(l, r))
		if err != nil {
			s.deaf("the ledger did not answer", err)
			return false
		}
		l.replay = replaying{id: r.ID, mark: mark, marked: ok}
	}
	return l.replay.marked && l.replay.mark.Covers(r.Place)
}

// settleReplay marks a replay. Where the ledger doesn't take that, its removal is
// what keeps it from being handled again.
func (s *shard) settleReplay(ctx context.Context, l *lane, r *Replay) {
	if s.engine.Replays == nil || r.Place.IsZero() {
		return
	}
	if err := s.engine.Replays.Settle(ctx, s.markOf(l, r), r.Place); err != nil {
		s.deaf("the ledger did not take a mark", err)
	}
	l.replay = replaying{id: r.ID, mark: r.Place, marked: true}
}

// deaf notes that the ledger was of no use.
func (s *shard) deaf(what string, err error) {
	s.engine.metrics.ledger.Inc()
	s.log.Debug(what, zap.Error(err))
}
