package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

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
	if err := unmarshalVersioned(b, &p); err != nil {
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
		Attempt:  attemptOrNil(turn.Attempt),
		NoBodies: p.NoBodies,
	}
	if err := userFromProto(&t.Input, turn.Input); err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	var err error
	t.Output, err = outputFromProto(turn.Output)
	return t, err
}

func deliveryFromProto(p *parleyv1.JournalEntry, d *parleyv1.Delivery) *chat.Delivery {
	return &chat.Delivery{
		At:             fromMillis(p.AtMs),
		ChannelID:      p.ChannelId,
		ConversationID: p.ConversationId,
		MessageID:      d.MessageId,
		EndpointID:     d.EndpointId,
		Ordinal:        chat.Ordinal{Epoch: d.Epoch, Counter: d.Counter, InputAt: d.InputAtMs},
		AttemptNumber:  int(d.AttemptNumber),
		Attempt:        attemptOrNil(d.Attempt),
		Outcome:        chat.Outcome(d.Outcome),
		Reason:         d.Reason,
		Replay:         d.Replay,
		NoBodies:       p.NoBodies,
	}
}

func attemptOrNil(p *parleyv1.Attempt) *chat.Attempt {
	if p == nil {
		return nil
	}
	return new(attemptFromProto(p))
}

// IsDelivery reports whether a journal entry is a delivery's, without decoding
// it; of what is no entry it may say either.
func IsDelivery(b []byte) bool {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 || field == fieldTurn || field == fieldDelivery {
			return n >= 0 && field == fieldDelivery
		}
		m := protowire.ConsumeFieldValue(field, kind, b[n:])
		if m < 0 {
			return false
		}
		b = b[n+m:]
	}
	return false
}

// Fields of JournalEntry.
const (
	fieldTurn     = 4
	fieldDelivery = 5
)
