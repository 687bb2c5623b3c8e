package telemetry

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// collector takes spans once it may, or refuses them.
type collector struct {
	asked   chan struct{} // once an export has begun
	may     chan struct{} // closed: exports may end
	refuses error
	kept    *tracetest.InMemoryExporter
}

func (c *collector) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	select {
	case c.asked <- struct{}{}:
	default:
	}
	<-c.may
	if c.refuses != nil {
		return c.refuses
	}
	return c.kept.ExportSpans(ctx, spans)
}

func (c *collector) Shutdown(context.Context) error { return nil }

func TestSpansAreCounted(t *testing.T) {
	for name, tc := range map[string]struct {
		refuses error
		want    map[string]float64
	}{
		"taken":   {nil, map[string]float64{"exported": 4, "failed": 0, "dropped": 3}},
		"refused": {errors.New("no"), map[string]float64{"exported": 0, "failed": 4, "dropped": 3}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &collector{asked: make(chan struct{}, 1), may: make(chan struct{}), refuses: tc.refuses, kept: tracetest.NewInMemoryExporter()}
			counts := newCounted(c, 4, prometheus.NewRegistry())
			provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(counts))
			tracer := provider.Tracer("test")
			for range 7 { // the collector doesn't answer: nobody waits for it
				_, span := tracer.Start(t.Context(), "s")
				span.End()
			}
			close(c.may)
			_ = provider.Shutdown(t.Context()) // it has the exports' errors
			require.Zero(t, counts.waiting.Load())
			for result, counter := range map[string]prometheus.Counter{"exported": counts.exported, "failed": counts.failed, "dropped": counts.dropped} {
				require.InDelta(t, tc.want[result], testutil.ToFloat64(counter), 0, result)
			}
		})
	}
}

func TestTraceOptions(t *testing.T) {
	ratio := func(r float64) *float64 { return &r }
	for name, tc := range map[string]struct {
		o    TraceOptions
		says string
	}{
		"nothing":   {TraceOptions{}, ""},
		"all":       {TraceOptions{Endpoint: "https://collector:4317/base", Protocol: ProtocolGRPC, Sample: ratio(.5), Queue: 10}, ""},
		"no scheme": {TraceOptions{Endpoint: "collector:4317"}, "write it like http://"},
		"secret":    {TraceOptions{Endpoint: "http://me:hush@collector"}, "OTEL_EXPORTER_OTLP_HEADERS"},
		"query":     {TraceOptions{Endpoint: "http://collector?key=hush"}, "OTEL_EXPORTER_OTLP_HEADERS"},
		"protocol":  {TraceOptions{Protocol: "http/json"}, "choose http/protobuf or grpc"},
		"ratio":     {TraceOptions{Sample: ratio(1.5)}, "set it to 0..1"},
		"queue":     {TraceOptions{Queue: -1}, "above 0"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.o.Validate()
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.says)
			require.NotContains(t, err.Error(), "hush")
		})
	}
}
