package botworker

import (
	"context"
	"fmt"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/tracing"
	"github.com/parleyhq/parley/pkg/wire"
)

// encodeAll encodes a turn's messages: before the session is saved, so that
// nothing gets into an outbox that can't leave it.
func encodeAll(output []chat.BotMessage) ([][]byte, error) {
	encoded := make([][]byte, len(output))
	for i := range output {
		var err error
		if encoded[i], err = wire.EncodeBotMessage(&output[i]); err != nil {
			return nil, fmt.Errorf("encoding bot message %s: %w", output[i].ID, err)
		}
	}
	return encoded, nil
}

// republish publishes the outbox of a stored session.
func (h *handler) republish(ctx context.Context, key chat.ConversationKey, rec *chat.Session) error {
	encoded, err := encodeAll(rec.LastOutput)
	if err != nil {
		return err
	}
	return h.publish(ctx, key, rec.LastOutput, encoded)
}

// publish publishes a turn's messages, each after the broker has the one before.
func (h *handler) publish(ctx context.Context, key chat.ConversationKey, output []chat.BotMessage, encoded [][]byte) error {
	for i := range output {
		subject := topology.HotSubject(chat.StageBot, key.Partition(h.Partitions), output[i].ChannelID, key)
		m := broker.Message{Subject: subject, Data: encoded[i], Later: true}
		if h.Tracer != nil && tracing.IsSampled(output[i].Traceparent) {
			m.Headers = map[string]string{topology.HeaderTraceparent: output[i].Traceparent}
		}
		if _, err := h.Publisher.Publish(ctx, m); err != nil {
			return err
		}
	}
	h.sessions.published(key)
	return nil
}
