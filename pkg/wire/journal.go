package wire

import (
	"errors"
	"fmt"

	"github.com/parleyhq/parley/pkg/chat"
	parleyv1 "github.com/parleyhq/parley/proto/parley/v1"
)

// EncodeTurn encodes a turn as a journal entry.
func EncodeTurn(t *chat.Turn) ([]byte, error) {
	e := encoder{b: make([]byte, 0, turnSize(t))}
	e.turn(t)
	return e.done("turn")
}

// EncodeDelivery encodes a delivery as a journal entry.
func EncodeDelivery(d *chat.Delivery) ([]byte, error) {
	e := encoder{b: make([]byte, 0, deliverySize(d))}
	e.delivery(d)
	return e.done("delivery")
}

// DecodeJournalEntry reads what EncodeTurn or EncodeDelivery wrote; exactly one
// of the two is not nil unless the error, which wraps ErrUndecodable, is.
func DecodeJournalEntry(b []byte) (*chat.Turn, *chat.Delivery, error) {
	var p parleyv1.JournalEntry
	if err := unmarshal(b, &p); err != nil {
		return nil, nil, undecodable("journal entry", err)
	}
	switch entry := p.Entry.(type) {
	case *parleyv1.JournalEntry_Turn:
		t, err := turnFromProto(&p, entry.Turn)
		if err != nil {
			return nil, nil, undecodable("journal entry", err)
		}
		return t, nil, nil
	case *parleyv1.JournalEntry_Delivery:
		return nil, deliveryFromProto(&p, entry.Delivery), nil
	}
	return nil, nil, undecodable("journal entry", errors.New("it holds neither a turn nor a delivery"))
}

func turnFromProto(p *parleyv1.JournalEntry, turn *parleyv1.Turn) (*chat.Turn, error) {
	if turn.Input == nil {
		return nil, errors.New("the turn has no input")
	}
	t := &chat.Turn{
		At:       fromMillis(p.AtMs),
		BotID:    turn.BotId,
		Duration: fromMicros(turn.DurationUs),
		Outcome:  chat.Outcome(turn.Outcome),
	}
	if err := userFromProto(&t.Input, turn.Input); err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	var err error
	t.Output, err = outputFromProto(turn.Output)
	return t, err
}

func deliveryFromProto(p *parleyv1.JournalEntry, d *parleyv1.Delivery) *chat.Delivery {
	out := &chat.Delivery{
		At:             fromMillis(p.AtMs),
		ChannelID:      p.ChannelId,
		ConversationID: p.ConversationId,
		MessageID:      d.MessageId,
		EndpointID:     d.EndpointId,
		Ordinal:        chat.Ordinal{Epoch: d.Epoch, Counter: d.Counter, InputAt: d.InputAtMs},
		AttemptNumber:  int(d.AttemptNumber),
		Outcome:        chat.Outcome(d.Outcome),
		Reason:         d.Reason,
	}
	if d.Attempt != nil {
		a := attemptFromProto(d.Attempt)
		out.Attempt = &a
	}
	return out
}
