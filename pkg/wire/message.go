package wire

import (
	"github.com/parleyhq/parley/pkg/chat"
	parleyv1 "github.com/parleyhq/parley/proto/parley/v1"
)

// EncodeUserMessage encodes a user message.
func EncodeUserMessage(m *chat.UserMessage) ([]byte, error) {
	p, err := userToProto(m)
	if err != nil {
		return nil, encodeError("user message", err)
	}
	return encode("user message", p)
}

// DecodeUserMessage reads what EncodeUserMessage wrote; the error wraps
// ErrUndecodable.
func DecodeUserMessage(b []byte) (*chat.UserMessage, error) {
	var p parleyv1.UserMessage
	if err := unmarshal(b, &p); err != nil {
		return nil, undecodable("user message", err)
	}
	m := new(chat.UserMessage)
	if err := userFromProto(m, &p); err != nil {
		return nil, undecodable("user message", err)
	}
	return m, nil
}

// EncodeBotMessage encodes a bot message.
func EncodeBotMessage(m *chat.BotMessage) ([]byte, error) {
	p, err := botToProto(m)
	if err != nil {
		return nil, encodeError("bot message", err)
	}
	return encode("bot message", p)
}

// DecodeBotMessage reads what EncodeBotMessage wrote; the error wraps
// ErrUndecodable.
func DecodeBotMessage(b []byte) (*chat.BotMessage, error) {
	var p parleyv1.BotMessage
	if err := unmarshal(b, &p); err != nil {
		return nil, undecodable("bot message", err)
	}
	m := new(chat.BotMessage)
	if err := botFromProto(m, &p); err != nil {
		return nil, undecodable("bot message", err)
	}
	return m, nil
}

func userToProto(m *chat.UserMessage) (*parleyv1.UserMessage, error) {
	if err := checkIdentity(m.ID, m.ChannelID, m.ConversationID); err != nil {
		return nil, err
	}
	kind, err := kindToProto(m.Input.Kind)
	if err != nil {
		return nil, err
	}
	return &parleyv1.UserMessage{
		Id:             m.ID,
		ChannelId:      m.ChannelID,
		ConversationId: m.ConversationID,
		AcceptedAtMs:   millis(m.AcceptedAt),
		ConfigRevision: m.ConfigRevision,
		Kind:           kind,
		Input:          m.Input.Body,
		SessionData:    m.SessionData,
		User:           m.User,
		Locale:         m.Locale,
		Traceparent:    m.Traceparent,
	}, nil
}

func userFromProto(m *chat.UserMessage, p *parleyv1.UserMessage) error {
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
	}
	return nil
}

func botToProto(m *chat.BotMessage) (*parleyv1.BotMessage, error) {
	if err := checkIdentity(m.ID, m.ChannelID, m.ConversationID); err != nil {
		return nil, err
	}
	return &parleyv1.BotMessage{
		Id:             m.ID,
		ChannelId:      m.ChannelID,
		ConversationId: m.ConversationID,
		BotId:          m.BotID,
		Epoch:          m.Ordinal.Epoch,
		Counter:        m.Ordinal.Counter,
		InputId:        m.InputID,
		InputAtMs:      m.Ordinal.InputAt,
		CreatedAtMs:    millis(m.CreatedAt),
		ConfigRevision: m.ConfigRevision,
		Event:          m.Event,
		Message:        m.Message,
		Nlp:            m.NLP,
		Traceparent:    m.Traceparent,
	}, nil
}

func botFromProto(m *chat.BotMessage, p *parleyv1.BotMessage) error {
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
	}
	return nil
}
