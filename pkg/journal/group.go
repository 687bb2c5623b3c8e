package journal

import (
	"context"
	"fmt"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// group is what is written with one confirmation: what is queued, at most
// maxGroup. It is used again for the next.
type group struct {
	writer   *Writer
	messages []broker.Message
	kinds    [kinds]int // how many of each
	// last is the sequence of the group before; 0 where that is not known, and
	// then one entry goes alone: to know it, and since more would fail with it.
	last uint64
	// flushed are told once the group is written.
	flushed []chan struct{}
}

// publish writes a first entry and what is queued behind it.
func (g *group) publish(ctx context.Context, e entry) {
	g.add(e)
	for more := g.last != 0; more && len(g.messages) < maxGroup; {
		select {
		case e := <-g.writer.queue:
			g.add(e)
		default:
			more = false
		}
	}
	g.count(g.send(ctx))
	clear(g.messages)
	g.messages, g.kinds = g.messages[:0], [kinds]int{}
	for _, written := range g.flushed {
		close(written)
	}
	g.flushed = nil
}

// add encodes an entry; one that no broker would take fails alone.
func (g *group) add(e entry) {
	if e.written != nil {
		g.flushed = append(g.flushed, e.written)
		return
	}
	m, err := encode(e)
	if err != nil {
		g.writer.metrics.of(e, failed).Inc()
		return
	}
	g.messages = append(g.messages, m)
	g.kinds[e.kind()]++
}

// send returns what has become of the group.
func (g *group) send(ctx context.Context) result {
	n := uint64(len(g.messages))
	if n == 0 {
		return written // all none of them
	}
	if ctx.Err() != nil {
		return dropped
	}
	before := g.last
	seq, err := g.writer.publisher.PublishAll(ctx, g.messages...)
	g.last = seq
	if err != nil {
		g.last = 0
		return failed
	}
	if before != 0 && seq < before+n { // some are missing
		return failed
	}
	return written
}

func (g *group) count(r result) {
	for k, n := range g.kinds {
		g.writer.metrics.entries[k][r].Add(float64(n))
	}
}

func encode(e entry) (broker.Message, error) {
	m := broker.Message{Later: true}
	var err error
	if t := e.turn; t != nil {
		m.Subject = topology.JournalSubject(t.Input.ChannelID, t.Input.Key())
		m.Data, err = wire.EncodeTurn(t)
	} else {
		d := e.delivery
		m.Subject = topology.JournalSubject(d.ChannelID, chat.KeyOf(d.ChannelID, d.ConversationID))
		m.Data, err = wire.EncodeDelivery(d)
	}
	if err == nil && len(m.Data) > broker.MaxPayload {
		err = fmt.Errorf("an entry of %d bytes", len(m.Data))
	}
	return m, err
}
