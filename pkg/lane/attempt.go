package lane

import (
	"context"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/tracing"
)

// Attempts shows a stage's attempts to whoever watches: each is a span where its
// trace is recorded, and a line of the log.
type Attempts struct {
	Tracer *tracing.Tracer // nil: no spans
	Log    *zap.Logger     // nil: no lines

	Stage       chat.Stage
	Destination string // what a line calls the destination
	Kind        trace.SpanKind
	Span        string // the spans' name
}

// Attempt is one that is under way. Its span is the handler's to describe.
type Attempt struct {
	tracing.Span
	attempts *Attempts
	task     *Task
	began    time.Time
}

// Begin begins the attempt of a task. A message without a trace has no span.
func (a *Attempts) Begin(ctx context.Context, t *Task) Attempt {
	at := Attempt{attempts: a, task: t}
	if a.Log != nil {
		at.began = time.Now()
	}
	if a.Tracer != nil && t.Traceparent != "" {
		at.Span = a.Tracer.Start(ctx, t.Traceparent, a.Kind, a.Span)
	}
	return at
}

// interrupted is the outcome of an attempt that this side ended.
const interrupted = "interrupted"

// outcome is what a verdict on an attempt means, as the journal says it.
func (a *Attempts) outcome(ctx context.Context, t *Task, v *Verdict) string {
	switch {
	case v.kind == kindDone && t.GivenUp != "":
		return string(chat.OutcomeFailed)
	case v.kind == kindDone && a.Stage == chat.StageUser:
		return string(chat.OutcomeProcessed)
	case v.kind == kindDone:
		return string(chat.OutcomeDelivered)
	case v.kind == kindStall, ctx.Err() != nil:
		return interrupted
	case v.kind == kindDead:
		return string(chat.OutcomeDead)
	}
	return string(chat.OutcomeRetry)
}

// End ends it with what came of it. ctx is the attempt's: what it cut off has not
// failed. What a message that is given up comes to is no attempt, and has no line.
func (at *Attempt) End(ctx context.Context, v *Verdict) {
	outcome := at.attempts.outcome(ctx, at.task, v)
	if at.On() {
		at.describe(outcome, &v.detail)
		at.Span.End()
	}
	if at.attempts.Log != nil && at.task.GivenUp == "" {
		at.log(outcome, &v.detail)
	}
}

func (at *Attempt) describe(outcome string, d *Detail) {
	t := at.task
	at.Set(tracing.Channel.String(t.ChannelID), tracing.Attempt.Int(t.Number), tracing.Outcome.String(outcome),
		semconv.MessagingMessageID(t.MessageID), semconv.MessagingMessageConversationID(t.Lane.Key.String()))
	if id := t.Message.ReplayID(); id != "" {
		at.Set(tracing.Replay.String(id))
	}
	if d.Kind != "" {
		at.Fail(d.Kind)
	}
}

// log writes the line: ids, numbers and words from fixed lists, and nothing that a
// user, a bot or an endpoint has said.
func (at *Attempt) log(outcome string, d *Detail) {
	entry := at.attempts.Log.Check(zap.InfoLevel, "attempt")
	if entry == nil {
		return
	}
	t := at.task
	fields := make([]zap.Field, 0, 12)
	fields = append(fields,
		zap.String("message", t.MessageID), t.traceID(), zap.String("channel", t.ChannelID), zap.Stringer("conversation", t.Lane.Key),
		zap.String(at.attempts.Destination, t.Destination), zap.Int("attempt", t.Number), zap.String("outcome", outcome))
	if d.Status != 0 {
		fields = append(fields, zap.Int("status", d.Status))
	}
	if d.Kind != "" {
		fields = append(fields, zap.String("error", d.Kind))
	}
	if id := t.Message.ReplayID(); id != "" {
		fields = append(fields, zap.String("replay", id))
	}
	entry.Write(append(fields, zap.Duration("duration", time.Since(at.began)))...)
}

// traceID is the field of a log's line about the message.
func (t *Target) traceID() zap.Field { return TraceID(t.Traceparent) }

// TraceID is the field of a log's line about a message with this trace context.
func TraceID(traceparent string) zap.Field {
	if id := tracing.TraceID(traceparent); id != "" {
		return zap.String("trace_id", id)
	}
	return zap.Skip()
}
