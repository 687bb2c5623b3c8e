package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// submission is a valid, authorized message on its way in.
type submission struct {
	form      form
	channelID string
	in        *chat.Incoming
	revision  uint64
	trace     trace
	limits    *limits // nil: none

	key  string            // of idempotency; empty without
	hash [sha256.Size]byte // of the request under the key
}

// message takes one message in the v1 form.
func (s *Service) message(c echo.Context, cfg Config, channelID string, token *chat.Token) error {
	key, err := idempotencyKey(c.Request().Header)
	if err != nil {
		return err
	}
	body, err := readBody(c, contentJSON, s.opts.MaxBody)
	if err != nil {
		return err
	}
	in, err := chat.DecodeInput(body)
	if err != nil {
		return notDecoded(body, err)
	}
	limits := s.limitsOf(cfg, channelID, token)
	a, err := s.accept(c.Request().Context(), &submission{
		form: formMessage, limits: limits, channelID: channelID, in: in, revision: cfg.Revision(),
		trace: s.traceOf(c),
		key:   key, hash: requestHash(key, formMessage, body),
	})
	limits.describe(c.Response().Header(), false)
	if err != nil {
		return err
	}
	return answer(c, a)
}

// accept stores a message, or finds that it was stored under its key before,
// and returns its answer. An error is a problem.
func (s *Service) accept(ctx context.Context, sub *submission) (accepted, error) {
	key := chat.KeyOf(sub.channelID, sub.in.ConversationID)
	m := s.envelope(sub, key)
	a := accepted{MessageID: m.ID, ConversationID: m.ConversationID}
	if sub.key == "" {
		return a, s.publish(ctx, sub, m, key)
	}
	claim, repeat, err := s.claim(ctx, sub)
	if err != nil {
		return accepted{}, err
	}
	if repeat {
		s.metrics.repeats.Inc()
		return a, nil
	}
	err = s.publish(ctx, sub, m, key)
	s.settle(ctx, claim, err == nil)
	return a, err
}

func (s *Service) envelope(sub *submission, conversation chat.ConversationKey) *chat.UserMessage {
	now := s.deps.Now()
	id := ""
	if sub.key == "" {
		id = chat.NewMessageID(now, conversation, s.deps.Random())
	} else {
		id = chat.KeyedMessageID(conversation, sub.channelID, sub.key)
	}
	m := &chat.UserMessage{
		ID:             id,
		ChannelID:      sub.channelID,
		ConversationID: sub.in.ConversationID,
		AcceptedAt:     now.Truncate(time.Millisecond),
		ConfigRevision: sub.revision,
		Input:          sub.in.Input,
		SessionData:    sub.in.SessionData,
		User:           sub.in.User,
		Locale:         sub.in.Locale,
		Traceparent:    sub.trace.traceparent,
		Supersede:      sub.in.Supersede,
	}
	if after := sub.in.ExpireAfter; after > 0 {
		m.ExpiresAt = m.AcceptedAt.Add(after)
	}
	return m
}

var errPublishTimeout = errors.New("the broker did not confirm in time")

// publish stores the message; nil means that the broker has confirmed. It goes
// on when the client leaves, so that the outcome is known to the key's repeat.
func (s *Service) publish(ctx context.Context, sub *submission, m *chat.UserMessage, key chat.ConversationKey) error {
	if err := s.withinQuota(sub.channelID); err != nil {
		return err
	}
	if err := s.withinLimits(sub.limits, key); err != nil {
		return err
	}
	partition := key.Partition(s.opts.Partitions)
	span := publishing(ctx, sub, m, key, partition)
	defer span.End()
	data, err := wire.EncodeUserMessage(m)
	if err != nil {
		return err
	}
	msg := broker.Message{
		Subject: topology.HotSubject(chat.StageUser, partition, m.ChannelID, key),
		Data:    data,
	}
	if span.On() {
		msg.Headers = map[string]string{topology.HeaderTraceparent: m.Traceparent}
	}
	if sub.key != "" {
		// The body's hash stands in it because the broker must not drop another
		// message that comes under the same key while the keys' store is gone.
		msg.ID = m.ID + "." + hex.EncodeToString(sub.hash[:8])
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.opts.PublishTimeout, errPublishTimeout)
	defer cancel()
	if _, err := s.deps.Publisher.Publish(ctx, msg); err != nil {
		p := s.notStored(err)
		span.Fail(problem.From(p).Slug())
		return p
	}
	s.metrics.accepted[sub.form].Inc()
	return nil
}

// notStored makes the problem of a failed publish, and logs it now and then.
func (s *Service) notStored(err error) error {
	p := problem.New(http.StatusServiceUnavailable, slugUnavailable,
		"the message could not be stored for certain: send it again after the time in Retry-After")
	p.RetryAfter = time.Second
	if errors.Is(err, broker.ErrFull) {
		p = problem.New(http.StatusServiceUnavailable, slugFull,
			"the queue has no room and the message was not stored: send it again after the time in Retry-After")
		p.RetryAfter = 5 * time.Second
	}
	p.Cause = err
	if s.refusals.due(s.deps.Now()) {
		s.deps.Log.Warn("messages are answered 503: they can't be stored; this is logged once in a while",
			zap.String("reason", p.Slug()), zap.Error(err))
	}
	return p
}
