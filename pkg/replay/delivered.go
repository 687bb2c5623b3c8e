package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/wire"
)

// maxDelivered bounds what one job sends again, about 200 bytes of memory each
// while they are looked for.
const maxDelivered = 1_000_000

// ahead is how much earlier than its id says a turn may have been recorded: the
// clocks of two machines.
const ahead = time.Minute

// holdings are what the journal holds of what a job asks for: each delivery is an
// entry of its own, and what was delivered stands in that of its turn.
type holdings struct {
	entries []entry
	bare    uint64 // their turns were recorded without what was said
	lost    uint64 // their turns are not there
}

func (h *holdings) missing() uint64 { return h.bare + h.lost }

// look looks for what was delivered. The error says why all of it can't be sent
// again, or wraps broker.ErrUnavailable.
func look(ctx context.Context, j Journal, d *Delivered) (*holdings, error) {
	wanted, earliest, err := confirmed(ctx, j, d)
	if err != nil {
		return nil, err
	}
	begins, err := j.Begins(ctx)
	if err != nil {
		return nil, err
	}
	if d.Since.Before(begins) && !d.Partial {
		return nil, fmt.Errorf("the journal begins at %s: what was delivered before is forgotten; ask for a later time, or for what there is (partial)", begins.UTC().Format(time.RFC3339))
	}
	if len(wanted) == 0 {
		return nil, errors.New("the journal has no delivery to this endpoint in that time: nothing was delivered, or the journal was off or recorded failures only (--journal)")
	}
	h := &holdings{}
	lanes := map[string]int32{}
	err = j.Scan(ctx, d.filter(journal.Filter{Turns: true}), earliest.Add(-ahead), d.Until, 0, func(e journal.Entry) error {
		if e.Turn == nil { // what can't be read
			return nil
		}
		for i := range e.Turn.Output {
			m := &e.Turn.Output[i]
			if !wanted[m.ID] {
				continue
			}
			delete(wanted, m.ID)
			if e.Turn.NoBodies {
				h.bare++
				continue
			}
			name := m.ChannelID + " " + m.ConversationID
			id, ok := lanes[name]
			if !ok {
				id = int32(len(lanes)) //nolint:gosec // at most maxDelivered
				lanes[name] = id
			}
			h.entries = append(h.entries, entry{place: m.Ordinal, seq: e.Seq, lane: id, index: int32(i)}) //nolint:gosec // a few a turn
		}
		return nil
	})
	h.lost = uint64(len(wanted))
	return h, err
}

// confirmed returns the ids of what the endpoint has confirmed, and when the first
// of them was accepted at the earliest. Operational events are left out: they are of
// their time.
func confirmed(ctx context.Context, j Journal, d *Delivered) (ids map[string]bool, earliest time.Time, err error) {
	ids, earliest = map[string]bool{}, d.Since
	filter := d.filter(journal.Filter{Deliveries: true, EndpointID: d.EndpointID, Outcome: chat.OutcomeDelivered})
	err = j.Scan(ctx, filter, d.Since, d.Until, 0, func(e journal.Entry) error {
		if e.Delivery == nil || e.Delivery.Ordinal.IsZero() {
			return nil
		}
		if len(ids) == maxDelivered {
			return fmt.Errorf("more than %d messages were delivered in that time: ask for less of it at once", maxDelivered)
		}
		ids[e.Delivery.MessageID] = true
		if at, _, err := chat.ParseMessageID(e.Delivery.MessageID); err == nil && !at.IsZero() && at.Before(earliest) {
			earliest = at
		}
		return nil
	})
	return ids, earliest, err
}

func (d *Delivered) filter(f journal.Filter) journal.Filter {
	f.ChannelID = d.ChannelID
	if d.ConversationID != "" {
		f.Key = new(chat.KeyOf(d.ChannelID, d.ConversationID))
	}
	return f
}

// complete is why a job is not done, where the journal doesn't hold all of it.
func (h *holdings) complete(d *Delivered) error {
	if d.Partial || h.missing() == 0 {
		return nil
	}
	return fmt.Errorf("the journal holds %d of %d messages that were delivered: %d are recorded without what was said (--journal-bodies=false), %d have a turn that is forgotten or was not recorded; ask for what there is (partial), or for a later time",
		len(h.entries), uint64(len(h.entries))+h.missing(), h.bare, h.lost)
}

// delivered lists what is to be sent again.
func (x *run) delivered() ([]entry, error) {
	h, err := look(x.ctx, x.runner.Journal, x.job.Delivered)
	if err != nil {
		return nil, err
	}
	x.left.Store(h.missing())
	return h.entries, h.complete(x.job.Delivered)
}

// resend sends one message out of the journal.
func (x *run) resend(ctx context.Context, e *entry) error {
	found, err := x.runner.Journal.At(ctx, e.seq)
	if errors.Is(err, journal.ErrForgotten) {
		x.gone.Add(1)
		x.count(resultGone)
		return nil
	}
	if err != nil {
		return err
	}
	if found.Turn == nil || int(e.index) >= len(found.Turn.Output) {
		return fmt.Errorf("entry %d of the journal is another one now", e.seq)
	}
	m := &found.Turn.Output[e.index]
	data, err := wire.EncodeBotMessage(m)
	if err != nil {
		return err
	}
	if err := x.send(ctx, chat.StageBot, m.ChannelID, m.ConversationID, data, x.job.Delivered.EndpointID, e.place); err != nil {
		return err
	}
	x.done.Add(1)
	x.count(resultReplayed)
	return nil
}

func (r *Runner) previewDelivered(ctx context.Context, j *Job) (*Preview, error) {
	h, err := look(ctx, r.Journal, j.Delivered)
	if h == nil {
		if err != nil && ctx.Err() == nil && !errors.Is(err, broker.ErrUnavailable) {
			return &Preview{Refused: err.Error()}, nil
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	p := &Preview{Total: uint64(len(h.entries)) + h.missing(), Left: h.missing()}
	if err := h.complete(j.Delivered); err != nil {
		p.Refused = err.Error()
	}
	return p, nil
}
