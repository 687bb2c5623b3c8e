package tracing_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/parleyhq/parley/pkg/tracing"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	given   = "00-" + traceID + "-b7ad6b7169203331-01"
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct{ given, want string }{
		"good":             {given, given},
		"later version":    {"cc" + given[2:] + "-what-comes-then", given},
		"empty":            {"", ""},
		"short":            {given[:54], ""},
		"more in 00":       {given + "-x", ""},
		"more, no dash":    {"01" + given[2:] + "x", ""},
		"version ff":       {"ff" + given[2:], ""},
		"no hex":           {strings.Replace(given, "a", "g", 1), ""},
		"upper case":       {strings.ToUpper(given), ""},
		"no trace":         {"00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01", ""},
		"no parent":        {"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01", ""},
		"dashes displaced": {strings.ReplaceAll(given, "-", "0"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := tracing.Parse(tc.given)
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.want != "", ok)
		})
	}
}

func TestNew(t *testing.T) {
	next := uint64(0)
	random := func() uint64 { next++; return next }
	for _, made := range []string{tracing.New(random), tracing.New(func() uint64 { return 0 })} {
		_, ok := tracing.Parse(made)
		require.True(t, ok, made)
		require.False(t, tracing.IsSampled(made))
	}
	require.NotEqual(t, tracing.New(random), tracing.New(random))
	require.Equal(t, traceID, tracing.TraceID(given))
	require.Empty(t, tracing.TraceID(""))
	require.True(t, tracing.IsSampled(given))
	require.False(t, tracing.IsSampled(strings.Repeat("g", len(given))))
}

// traced is a Tracer whose spans are kept.
func traced(o ...sdktrace.TracerProviderOption) (*tracing.Tracer, *tracetest.InMemoryExporter) {
	kept := tracetest.NewInMemoryExporter()
	return tracing.NewTracer(sdktrace.NewTracerProvider(append(o, sdktrace.WithSyncer(kept))...)), kept
}

func TestSpans(t *testing.T) {
	tracer, kept := traced()
	span := tracer.Start(t.Context(), given, trace.SpanKindConsumer, "process")
	require.True(t, span.On())
	child := span.Child(t.Context(), trace.SpanKindClient, "POST")
	child.Set(tracing.Attempt.Int(2))
	child.Fail("503")
	sent := child.Traceparent("other")
	child.End()
	span.End()

	stubs := kept.GetSpans()
	require.Len(t, stubs, 2)
	post, process := stubs[0], stubs[1]
	require.Equal(t, traceID, post.SpanContext.TraceID().String())
	require.Equal(t, "b7ad6b7169203331", process.Parent.SpanID().String())
	require.True(t, process.Parent.IsRemote())
	require.Equal(t, process.SpanContext.SpanID(), post.Parent.SpanID())
	require.False(t, post.Parent.IsRemote())
	require.Equal(t, "00-"+traceID+"-"+post.SpanContext.SpanID().String()+"-01", sent)
	require.Equal(t, codes.Error, post.Status.Code)
	require.Empty(t, post.Status.Description)
	require.Contains(t, post.Attributes, semconv.ErrorTypeKey.String("503"))
	require.Contains(t, post.Attributes, tracing.Attempt.Int(2))

	root := tracer.Start(t.Context(), "", trace.SpanKindServer, "POST")
	defer root.End()
	require.NotEqual(t, traceID, tracing.TraceID(root.Traceparent("")))
}

// A trace that is not recorded has no spans, and its context goes on as it came.
func TestWhatIsNotRecorded(t *testing.T) {
	tracer, kept := traced(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	never, _ := traced(sdktrace.WithSampler(sdktrace.NeverSample()))
	unsampled := given[:len(given)-1] + "0"
	for name, span := range map[string]tracing.Span{
		"off":       (*tracing.Tracer)(nil).Start(t.Context(), given, trace.SpanKindServer, "POST"),
		"left out":  tracer.Start(t.Context(), unsampled, trace.SpanKindServer, "POST"),
		"none":      never.Start(t.Context(), "", trace.SpanKindServer, "POST"),
		"below one": tracing.Span{}.Child(t.Context(), trace.SpanKindClient, "POST"),
	} {
		t.Run(name, func(t *testing.T) {
			require.False(t, span.On())
			require.Equal(t, given, span.Traceparent(given))
			span.Set(tracing.Attempt.Int(1))
			span.Fail("timeout")
			span.End()
		})
	}
	require.Empty(t, kept.GetSpans())
}

func TestOffAllocatesNothing(t *testing.T) {
	var tracer *tracing.Tracer
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		span := tracer.Start(ctx, given, trace.SpanKindClient, "POST")
		child := span.Child(ctx, trace.SpanKindClient, "POST")
		if child.On() || child.Traceparent(given) != given || tracing.TraceID(given) != traceID || !tracing.IsSampled(given) {
			panic("a span")
		}
		child.Fail("timeout")
		child.End()
		span.End()
	}))
}

// BenchmarkStart is a span from its start to its end, without its attributes.
func BenchmarkStart(b *testing.B) {
	nowhere := sdktrace.WithSpanProcessor(sdktrace.NewSimpleSpanProcessor(nil))
	recorded := tracing.NewTracer(sdktrace.NewTracerProvider(nowhere))
	for name, bench := range map[string]struct {
		tracer *tracing.Tracer
		flags  string
	}{"off": {nil, "01"}, "left out": {recorded, "00"}, "recorded": {recorded, "01"}} {
		b.Run(name, func(b *testing.B) {
			ctx, parent := b.Context(), given[:len(given)-2]+bench.flags
			b.ReportAllocs()
			for b.Loop() {
				span := bench.tracer.Start(ctx, parent, trace.SpanKindClient, "POST")
				_ = span.Traceparent(parent)
				span.End()
			}
		})
	}
}
