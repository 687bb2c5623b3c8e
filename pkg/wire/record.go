package wire

import (
	"errors"
	"fmt"
	"math"

	"github.com/parleyhq/parley/pkg/chat"
	parleyv1 "github.com/parleyhq/parley/proto/parley/v1"
)

// EncodeDeadLetter encodes a dead letter. Its conversation may be empty: a
// message that can't be decoded has none.
func EncodeDeadLetter(d *chat.DeadLetter) ([]byte, error) {
	if d.MessageID == "" {
		return nil, encodeError("dead letter", errors.New("it has no message id"))
	}
	if err := checkStage(d.Stage); err != nil {
		return nil, encodeError("dead letter", err)
	}
	return encode("dead letter", &parleyv1.DeadLetter{
		MessageId:      d.MessageID,
		Stage:          string(d.Stage),
		ChannelId:      d.ChannelID,
		Destination:    d.Destination,
		ConversationId: d.ConversationID,
		Counter:        d.Counter,
		Reason:         d.Reason,
		Error:          d.Error,
		FirstFailureMs: millis(d.FirstFailure),
		DiedAtMs:       millis(d.DiedAt),
		AttemptCount:   count(d.AttemptCount),
		Attempts:       attemptsToProto(d.Attempts),
		Data:           d.Data,
		Headers:        d.Headers,
	})
}

// DecodeDeadLetter reads what EncodeDeadLetter wrote; the error wraps
// ErrUndecodable.
func DecodeDeadLetter(b []byte) (*chat.DeadLetter, error) {
	var p parleyv1.DeadLetter
	if err := unmarshalVersioned(b, &p); err != nil {
		return nil, undecodable("dead letter", err)
	}
	if p.MessageId == "" {
		return nil, undecodable("dead letter", errors.New("it has no message id"))
	}
	if err := checkStage(chat.Stage(p.Stage)); err != nil {
		return nil, undecodable("dead letter", err)
	}
	d := &chat.DeadLetter{
		MessageID:      p.MessageId,
		Stage:          chat.Stage(p.Stage),
		ChannelID:      p.ChannelId,
		Destination:    p.Destination,
		ConversationID: p.ConversationId,
		Counter:        p.Counter,
		Reason:         p.Reason,
		Error:          p.Error,
		FirstFailure:   fromMillis(p.FirstFailureMs),
		DiedAt:         fromMillis(p.DiedAtMs),
		AttemptCount:   int(p.AttemptCount),
		Attempts:       attemptsFromProto(p.Attempts),
		Data:           raw(p.Data),
	}
	if len(p.Headers) > 0 {
		d.Headers = p.Headers
	}
	return d, nil
}

// EncodeLaneState encodes a parked lane's state.
func EncodeLaneState(s *chat.LaneState) ([]byte, error) {
	return encode("lane state", &parleyv1.LaneState{
		HeadSeq:        s.HeadSeq,
		DueMs:          millis(s.Due),
		FirstFailureMs: millis(s.FirstFailure),
		AttemptCount:   count(s.AttemptCount),
		Attempts:       attemptsToProto(s.Attempts),
		Held:           s.Held,
		GivenUp:        s.GivenUp,
		EarlyCount:     count(s.EarlyCount),
		Asked:          s.Asked,
	})
}

// DecodeLaneState reads what EncodeLaneState wrote; the error wraps
// ErrUndecodable.
func DecodeLaneState(b []byte) (*chat.LaneState, error) {
	var p parleyv1.LaneState
	if err := unmarshalVersioned(b, &p); err != nil {
		return nil, undecodable("lane state", err)
	}
	return &chat.LaneState{
		HeadSeq:      p.HeadSeq,
		Due:          fromMillis(p.DueMs),
		FirstFailure: fromMillis(p.FirstFailureMs),
		AttemptCount: int(p.AttemptCount),
		Attempts:     attemptsFromProto(p.Attempts),
		Held:         p.Held,
		GivenUp:      p.GivenUp,
		EarlyCount:   int(p.EarlyCount),
		Asked:        p.Asked,
	}, nil
}

// EncodeSession encodes a session record.
func EncodeSession(s *chat.Session) ([]byte, error) {
	e := encoder{b: make([]byte, 0, sessionSize(s))}
	e.session(s)
	return e.done("session")
}

// DecodeSession reads what EncodeSession wrote; the error wraps
// ErrUndecodable.
func DecodeSession(b []byte) (*chat.Session, error) {
	var p parleyv1.Session
	if err := unmarshalVersioned(b, &p); err != nil {
		return nil, undecodable("session", err)
	}
	s := &chat.Session{
		ChannelID:      p.ChannelId,
		ConversationID: p.ConversationId,
		Epoch:          p.Epoch,
		Counter:        p.Counter,
		LastInputSeq:   p.LastInputSeq,
		LastInputAt:    p.LastInputMs,
		LastInputID:    p.LastInputId,
		BotID:          p.BotId,
		Dialog:         raw(p.Dialog),
		Variables:      raw(p.Variables),
		User:           raw(p.User),
		Locale:         p.Locale,
		Paused:         p.Paused,
		LastPlaceAt:    p.LastPlaceMs,
	}
	var err error
	if s.LastOutput, err = outputFromProto(p.LastOutput); err != nil {
		return nil, undecodable("session", err)
	}
	return s, nil
}

func outputFromProto(list []*parleyv1.BotMessage) ([]chat.BotMessage, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]chat.BotMessage, len(list))
	for i, p := range list {
		if err := botFromProto(&out[i], p); err != nil {
			return nil, fmt.Errorf("output %d: %w", i, err)
		}
	}
	return out, nil
}

func attemptsToProto(list []chat.Attempt) []*parleyv1.Attempt {
	if len(list) == 0 {
		return nil
	}
	out := make([]*parleyv1.Attempt, len(list))
	for i := range list {
		out[i] = attemptToProto(&list[i])
	}
	return out
}

func attemptsFromProto(list []*parleyv1.Attempt) []chat.Attempt {
	if len(list) == 0 {
		return nil
	}
	out := make([]chat.Attempt, len(list))
	for i, p := range list {
		out[i] = attemptFromProto(p)
	}
	return out
}

func attemptToProto(a *chat.Attempt) *parleyv1.Attempt {
	return &parleyv1.Attempt{
		AtMs:       millis(a.At),
		DurationUs: micros(a.Duration),
		Status:     count(a.Status),
		Error:      a.Error,
		Excerpt:    a.Excerpt,
	}
}

func attemptFromProto(p *parleyv1.Attempt) chat.Attempt {
	return chat.Attempt{
		At:       fromMillis(p.AtMs),
		Duration: fromMicros(p.DurationUs),
		Status:   int(p.Status),
		Error:    p.Error,
		Excerpt:  raw(p.Excerpt),
	}
}

// count keeps a count within the 32 bits that are stored.
func count(n int) int32 { return int32(max(math.MinInt32, min(n, math.MaxInt32))) }
