package lane_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/tracing"
)

const traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func attemptTask() *lane.Task {
	return &lane.Task{
		Target: lane.Target{
			Lane: lane.ID{Group: "e1", Key: chat.KeyOf("shop", "anna")}, ChannelID: "shop", ConversationID: "anna", MessageID: "msg_1", Traceparent: traced,
		},
		Message: &lane.Message{Replay: &lane.Replay{ID: "rpl_1"}}, Destination: "e1", Number: 3,
	}
}

func TestAttemptsAreShown(t *testing.T) {
	no := errors.New("a text that may quote what was said")
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx     context.Context //nolint:containedctx // of one call
		stage   chat.Stage
		v       lane.Verdict
		given   string
		outcome string
		failed  string
	}{
		"delivered":   {t.Context(), chat.StageBot, lane.Done().With(lane.Detail{Status: 200}), "", "delivered", ""},
		"processed":   {t.Context(), chat.StageUser, lane.Done(), "", "processed", ""},
		"retry":       {t.Context(), chat.StageBot, lane.Retry(0, no).With(lane.Detail{Status: 503, Kind: "503"}), "", "retry", "503"},
		"dead":        {t.Context(), chat.StageUser, lane.Dead("refused", no).With(lane.Detail{Kind: "refused"}), "", "dead", "refused"},
		"panicked":    {t.Context(), chat.StageUser, lane.Panicked(), "", "dead", "panic"},
		"interrupted": {t.Context(), chat.StageBot, lane.Stall(no).With(lane.Detail{Kind: "interrupted"}), "", "interrupted", "interrupted"},
		"cut off":     {cut, chat.StageBot, lane.Retry(0, no).With(lane.Detail{Kind: "timeout"}), "", "interrupted", "timeout"},
		"last word":   {t.Context(), chat.StageUser, lane.Done(), lane.ReasonExhausted, "failed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			kept := tracetest.NewInMemoryExporter()
			core, lines := observer.New(zap.InfoLevel)
			attempts := &lane.Attempts{
				Tracer: tracing.NewTracer(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept))), Log: zap.New(core),
				Stage: tc.stage, Destination: "endpoint", Kind: trace.SpanKindClient, Span: "POST",
			}
			task := attemptTask()
			task.GivenUp = tc.given
			at := attempts.Begin(t.Context(), task)
			at.End(tc.ctx, &tc.v)

			spans := kept.GetSpans()
			require.Len(t, spans, 1)
			require.Equal(t, "b7ad6b7169203331", spans[0].Parent.SpanID().String())
			require.Contains(t, spans[0].Attributes, tracing.Outcome.String(tc.outcome))
			require.Contains(t, spans[0].Attributes, tracing.Attempt.Int(3))
			if tc.failed != "" {
				require.Contains(t, spans[0].Attributes, semconv.ErrorTypeKey.String(tc.failed))
			}
			if tc.given != "" {
				require.Zero(t, lines.Len(), "it is no attempt")
				return
			}
			require.Equal(t, 1, lines.Len())
			line := lines.All()[0].ContextMap()
			require.Contains(t, line, "duration")
			delete(line, "duration")
			want := map[string]any{
				"message": "msg_1", "trace_id": "0af7651916cd43dd8448eb211c80319c", "channel": "shop", "conversation": task.Lane.Key.String(),
				"endpoint": "e1", "attempt": int64(3), "outcome": tc.outcome, "replay": "rpl_1",
			}
			if tc.failed != "" {
				want["error"] = tc.failed
			}
			if name == "delivered" || name == "retry" {
				want["status"] = line["status"]
				require.NotZero(t, line["status"])
			}
			require.Equal(t, want, line)
		})
	}
}

// Without anybody who watches, showing an attempt costs nothing.
func TestUnwatchedAttemptsAllocateNothing(t *testing.T) {
	attempts, task, ctx := &lane.Attempts{Stage: chat.StageBot}, attemptTask(), t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		at := attempts.Begin(ctx, task)
		v := lane.Panicked()
		defer func() { at.End(ctx, &v) }()
		v = lane.Done()
	}))
}

// A message carries its trace in its header, from the work queue to where it is
// parked, with a consumer and without; one that has none has it in its content.
func TestTraceIsCarried(t *testing.T) {
	conn := brokertest.New(t)
	store, err := lane.NewJetStream(t.Context(), conn, chat.StageBot, 0)
	require.NoError(t, err)
	id := lane.ID{Group: "e1", Key: chat.ConversationKey{}}
	for _, header := range []string{traced, "00-no-trace"} {
		_, err = conn.Publish(t.Context(), broker.Message{
			Subject: topology.HotSubject(chat.StageBot, 0, "c", id.Key), Data: []byte("one"), Headers: map[string]string{topology.HeaderTraceparent: header},
		})
		require.NoError(t, err)
	}
	for _, sole := range []bool{false, true} {
		store.Sole = sole
		source, err := store.Open(t.Context(), 1)
		require.NoError(t, err)
		d, err := source.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, traced, d.Traceparent, "sole: %v", sole)
		bad, err := source.Next(t.Context())
		require.NoError(t, err)
		require.Empty(t, bad.Traceparent, "what is not valid is none")
		require.NoError(t, source.Close(t.Context(), true))
		_, err = store.Append(t.Context(), id, &d.Message)
		require.NoError(t, err)
	}
	parked, err := store.Next(t.Context(), id, 1, 2)
	require.NoError(t, err)
	require.NotEmpty(t, parked)
	require.Equal(t, traced, parked[0].Traceparent)
	last, err := store.Last(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, traced, last.Traceparent)
}

// BenchmarkAttemptLine is a line of the log for an attempt, as `serve` writes it.
func BenchmarkAttemptLine(b *testing.B) {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime, encoding.EncodeDuration = zapcore.RFC3339NanoTimeEncoder, zapcore.StringDurationEncoder
	buffer := &zapcore.BufferedWriteSyncer{WS: zapcore.AddSync(io.Discard), FlushInterval: 100 * time.Millisecond}
	defer func() { _ = buffer.Stop() }()
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoding), buffer, zap.InfoLevel))
	attempts, task, ctx := &lane.Attempts{Log: log, Stage: chat.StageBot, Destination: "endpoint"}, attemptTask(), b.Context()
	task.Message.Replay = nil
	v := lane.Done().With(lane.Detail{Status: 200})
	b.ReportAllocs()
	for b.Loop() {
		at := attempts.Begin(ctx, task)
		at.End(ctx, &v)
	}
}
