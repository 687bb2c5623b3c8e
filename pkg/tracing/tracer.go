package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Attributes of Parley's own; the others are of OpenTelemetry's semantic
// conventions. None may ever hold a text, a secret, a URL or a user's id.
const (
	Channel    = attribute.Key("parley.channel")
	Endpoint   = attribute.Key("parley.endpoint")
	Bot        = attribute.Key("parley.bot")
	BotKind    = attribute.Key("parley.bot.kind")
	Attempt    = attribute.Key("parley.attempt")
	Outcome    = attribute.Key("parley.outcome")
	Replay     = attribute.Key("parley.replay")
	BatchLines = attribute.Key("parley.batch.messages")
)

// Tracer starts spans. A nil one starts none.
type Tracer struct{ tracer trace.Tracer }

// NewTracer makes a Tracer of a provider's.
func NewTracer(p trace.TracerProvider) *Tracer {
	return &Tracer{p.Tracer("github.com/parleyhq/parley", trace.WithSchemaURL(semconv.SchemaURL))}
}

// Start starts a span below another one, of this process or of another's;
// traceparent is what [Parse] returned, or empty for a trace that begins here.
func (t *Tracer) Start(ctx context.Context, traceparent string, kind trace.SpanKind, name string) Span {
	if t == nil {
		return Span{}
	}
	parent := trace.ContextWithSpanContext(ctx, contextOf(traceparent))
	return t.start(parent, kind, name)
}

func (t *Tracer) start(ctx context.Context, kind trace.SpanKind, name string) Span {
	_, span := t.tracer.Start(ctx, name, trace.WithSpanKind(kind))
	if !span.IsRecording() {
		return Span{}
	}
	return Span{tracer: t, span: span}
}

// Span is a step of a trace that is recorded. The zero Span is none.
type Span struct {
	tracer *Tracer
	span   trace.Span
}

// Child starts a span below this one; none below none.
func (s Span) Child(ctx context.Context, kind trace.SpanKind, name string) Span {
	if s.span == nil {
		return Span{}
	}
	return s.tracer.start(trace.ContextWithSpan(ctx, s.span), kind, name)
}

// On reports whether there is a span. What is made for Set alone stands behind it.
func (s Span) On() bool { return s.span != nil }

// Traceparent is what is sent along with what the span stands for, or otherwise
// where there is no span.
func (s Span) Traceparent(otherwise string) string {
	if s.span == nil {
		return otherwise
	}
	c := s.span.SpanContext()
	return format(c.TraceID(), c.SpanID(), c.TraceFlags())
}

// Set adds attributes.
func (s Span) Set(attributes ...attribute.KeyValue) {
	if s.span != nil {
		s.span.SetAttributes(attributes...)
	}
}

// Fail says that the step failed; why is a word from a fixed list, and no error's
// text, which may quote anything.
func (s Span) Fail(why string) {
	if s.span != nil {
		s.span.SetAttributes(semconv.ErrorTypeKey.String(why))
		s.span.SetStatus(codes.Error, "")
	}
}

// End ends the span.
func (s Span) End() {
	if s.span != nil {
		s.span.End()
	}
}
