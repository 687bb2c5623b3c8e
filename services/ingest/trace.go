package ingest

import (
	"context"
	"strconv"

	"github.com/labstack/echo/v4"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/tracing"
)

// trace is a request's: its span, where one is recorded, and what its messages
// carry.
type trace struct {
	span        tracing.Span
	traceparent string
}

// traceOf is the request's trace: of its span, else the one that came with it,
// else a new one.
func (s *Service) traceOf(c echo.Context) trace {
	if span, ok := c.Get(spanKey).(tracing.Span); ok {
		return trace{span, span.Traceparent("")}
	}
	if given := givenTrace(c); given != "" {
		return trace{traceparent: given}
	}
	return trace{traceparent: tracing.New(s.deps.Random)}
}

// givenTrace is the trace context that came with the request, empty where none
// that is valid has.
func givenTrace(c echo.Context) string {
	if given := c.Request().Header.Values("Traceparent"); len(given) == 1 {
		t, _ := tracing.Parse(given[0])
		return t
	}
	return ""
}

// spanKey is where a request's context has its span.
const spanKey = "span"

// serving starts the request's span.
func (s *Service) serving(c echo.Context) tracing.Span {
	if s.deps.Tracer == nil {
		return tracing.Span{}
	}
	r := c.Request()
	span := s.deps.Tracer.Start(r.Context(), givenTrace(c), oteltrace.SpanKindServer, r.Method+" "+c.Path())
	if span.On() {
		c.Set(spanKey, span)
	}
	return span
}

// served ends it. The path is left out: it may hold a user's id.
func served(c echo.Context, span tracing.Span, err error) {
	if !span.On() {
		return
	}
	status, slug := c.Response().Status, ""
	if err != nil {
		p := problem.From(err)
		status, slug = p.Status, p.Slug()
	}
	span.Set(semconv.HTTPRequestMethodKey.String(c.Request().Method), semconv.HTTPRoute(c.Path()),
		semconv.URLScheme(c.Scheme()), semconv.HTTPResponseStatusCode(status))
	if status >= 500 {
		span.Fail(slug)
	} else if slug != "" {
		span.Set(semconv.ErrorTypeKey.String(slug)) // the client's error, not the server's
	}
	span.End()
}

// publishing starts the span of a message that is published, which the message
// carries from then on.
func publishing(ctx context.Context, sub *submission, m *chat.UserMessage, key chat.ConversationKey, partition int) tracing.Span {
	span := sub.trace.span.Child(ctx, oteltrace.SpanKindProducer, "publish "+string(chat.StageUser))
	if span.On() {
		m.Traceparent = span.Traceparent("")
		span.Set(semconv.MessagingSystemKey.String("nats"), semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("publish"),
			semconv.MessagingDestinationName(topology.HotStream(chat.StageUser, partition)), semconv.MessagingDestinationPartitionID(strconv.Itoa(partition)),
			semconv.MessagingMessageID(m.ID), semconv.MessagingMessageConversationID(key.String()), tracing.Channel.String(m.ChannelID))
	}
	return span
}
