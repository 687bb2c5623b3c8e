package wire

import (
	"github.com/parleyhq/parley/pkg/chat"
	parleyv1 "github.com/parleyhq/parley/proto/parley/v1"
)

// EncodeUserMessage encodes a user message.
func EncodeUserMessage(m *chat.UserMessage) ([]byte, error) {
	e := encoder{b: make([]byte, 0, userSize(m))}
	e.user(m)
	return e.done("user message")
}

// DecodeUserMessage reads what EncodeUserMessage wrote; the error wraps
// ErrUndecodable.
func DecodeUserMessage(b []byte) (*chat.UserMessage, error) {
	m := new(chat.UserMessage)
	if err := scanUser(b, m); err != nil {
		return nil, undecodable("user message", err)
	}
	return m, nil
}

// EncodeBotMessage encodes a bot message.
func EncodeBotMessage(m *chat.BotMessage) ([]byte, error) {
	e := encoder{b: make([]byte, 0, botSize(m))}
	e.bot(m)
	return e.done("bot message")
}

// DecodeBotMessage reads what EncodeBotMessage wrote; the error wraps
// ErrUndecodable.
func DecodeBotMessage(b []byte) (*chat.BotMessage, error) {
	m := new(chat.BotMessage)
	if err := scanBot(b, m); err != nil {
		return nil, undecodable("bot message", err)
	}
	return m, nil
}

func userFromProto(m *chat.UserMessage, p *parleyv1.UserMessage) error {
	if err := checkVersion(uint64(p.Version)); err != nil {
		return err
	}
	if err := checkIdentity(p.Id, p.ChannelId, p.ConversationId); err != nil {
		return err
	}
	kind, err := kindFromProto(p.Kind)
	if err != nil {
		return err
	}
	*m = chat.UserMessage{
		ID:             p.Id,
		ChannelID:      p.ChannelId,
		ConversationID: p.ConversationId,
		AcceptedAt:     fromMillis(p.AcceptedAtMs),
		ConfigRevision: p.ConfigRevision,
		Input:          chat.Input{Kind: kind, Body: raw(p.Input)},
		SessionData:    raw(p.SessionData),
		User:           raw(p.User),
		Locale:         p.Locale,
		Traceparent:    p.Traceparent,
		ExpiresAt:      fromMillis(p.ExpiresAtMs),
		Supersede:      p.Supersede,
	}
	return nil
}

func botFromProto(m *chat.BotMessage, p *parleyv1.BotMessage) error {
	if err := checkVersion(uint64(p.Version)); err != nil {
		return err
	}
	if err := checkIdentity(p.Id, p.ChannelId, p.ConversationId); err != nil {
		return err
	}
	*m = chat.BotMessage{
		ID:             p.Id,
		ChannelID:      p.ChannelId,
		ConversationID: p.ConversationId,
		BotID:          p.BotId,
		Ordinal:        chat.Ordinal{Epoch: p.Epoch, Counter: p.Counter, InputAt: p.InputAtMs},
		InputID:        p.InputId,
		CreatedAt:      fromMillis(p.CreatedAtMs),
		ConfigRevision: p.ConfigRevision,
		Event:          p.Event,
		Message:        raw(p.Message),
		NLP:            raw(p.Nlp),
		Traceparent:    p.Traceparent,
		ExpiresAt:      fromMillis(p.ExpiresAtMs),
		Supersede:      p.Supersede,
	}
	return nil
}
