package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/tracing"
)

// The protocols of OTLP, as OTEL_EXPORTER_OTLP_PROTOCOL spells them.
const (
	ProtocolHTTP = "http/protobuf"
	ProtocolGRPC = "grpc"
)

const (
	// DefaultTraceQueue is how many spans wait for the collector: some seconds of
	// them, at about 1 KB each.
	DefaultTraceQueue = 8192
	// traceFlush bounds the sending of what waits at the end.
	traceFlush = 5 * time.Second
	// traceComplaint is how seldom the log tells of a collector that fails.
	traceComplaint = time.Minute
)

// TraceOptions say where spans go. What is empty is as the OTEL_ variables say
// that the SDK reads, or as their specification has it by default.
type TraceOptions struct {
	// Endpoint is the collector's URL, to whose path the one of traces is added
	// where it is asked over HTTP.
	Endpoint string
	Protocol string   // ProtocolHTTP or ProtocolGRPC; empty: HTTP
	Sample   *float64 // of traces that begin here, how many are recorded: 0 to 1
	Queue    int      // how many spans may wait; 0: DefaultTraceQueue

	Service, Version, Instance string

	Metrics prometheus.Registerer
	Log     *zap.Logger
}

// Validate reports the first setting that can't work.
func (o *TraceOptions) Validate() error {
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		switch {
		case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
			return errors.New("the collector's URL can't be read: write it like http://host:4318, or http://host:4317 for grpc") // the error would show it
		case u.User != nil, u.RawQuery != "", u.Fragment != "":
			return errors.New("the collector's URL has more than a host and a path: give what proves who you are as OTEL_EXPORTER_OTLP_HEADERS")
		}
	}
	if o.Protocol != "" && o.Protocol != ProtocolHTTP && o.Protocol != ProtocolGRPC {
		return fmt.Errorf("the protocol of traces is %q: choose %s or %s", o.Protocol, ProtocolHTTP, ProtocolGRPC)
	}
	if o.Sample != nil && !(*o.Sample >= 0 && *o.Sample <= 1) {
		return fmt.Errorf("the ratio of traces is %v: set it to 0..1", *o.Sample)
	}
	if o.Queue < 0 {
		return fmt.Errorf("the queue of spans is %d: set it above 0", o.Queue)
	}
	return nil
}

// StartTraces starts sending spans to a collector; the collector need not be
// there. stop sends what waits, within bounds. It sets the SDK's handler of
// errors, of which a process has one.
func StartTraces(ctx context.Context, o TraceOptions) (t *tracing.Tracer, stop func(), err error) {
	if err := o.Validate(); err != nil {
		return nil, nil, err
	}
	if o.Queue == 0 {
		o.Queue = DefaultTraceQueue
	}
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName(o.Service), semconv.ServiceVersion(o.Version), semconv.ServiceInstanceID(o.Instance)),
		resource.WithFromEnv(), // last: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win
	)
	if err != nil {
		return nil, nil, fmt.Errorf("describing the process to the collector: %w", err)
	}
	exporter, err := newExporter(ctx, &o)
	if err != nil {
		return nil, nil, fmt.Errorf("the exporter of traces: %w", err)
	}
	counted := newCounted(exporter, o.Queue, o.Metrics)
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(res), sdktrace.WithSpanProcessor(counted)}
	if o.Sample != nil {
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(*o.Sample))))
	}
	otel.SetErrorHandler(complain(o.Log))
	provider := sdktrace.NewTracerProvider(options...)
	return tracing.NewTracer(provider), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceFlush)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			o.Log.Warn("the last spans were not sent", zap.Int64("spans", counted.waiting.Load()), zap.Error(err))
		}
	}, nil
}

func newExporter(ctx context.Context, o *TraceOptions) (sdktrace.SpanExporter, error) {
	if o.Protocol == ProtocolGRPC {
		var options []otlptracegrpc.Option
		if o.Endpoint != "" {
			options = append(options, otlptracegrpc.WithEndpointURL(o.Endpoint))
		}
		return otlptracegrpc.New(ctx, options...)
	}
	var options []otlptracehttp.Option
	if o.Endpoint != "" {
		u, err := url.JoinPath(o.Endpoint, "v1/traces")
		if err != nil {
			return nil, err
		}
		options = append(options, otlptracehttp.WithEndpointURL(u))
	}
	return otlptracehttp.New(ctx, options...)
}

// complain logs what the SDK can't return, now and then.
func complain(log *zap.Logger) otel.ErrorHandler {
	var last atomic.Int64
	return otel.ErrorHandlerFunc(func(err error) {
		now := time.Now().UnixNano()
		before := last.Load()
		if (before == 0 || now-before >= int64(traceComplaint)) && last.CompareAndSwap(before, now) {
			log.Warn("traces don't reach their collector whole; this is logged once in a while", zap.Error(err))
		}
	})
}

// counted is the SDK's batches with a bound of their own and counts of what became
// of spans: the SDK drops what is beyond its queue and says so to nobody. It is
// both the batches' processor and the exporter below them.
type counted struct {
	sdktrace.SpanProcessor
	exporter sdktrace.SpanExporter
	room     int64
	waiting  atomic.Int64 // for the collector, with what is on its way there

	exported, failed, dropped prometheus.Counter
}

func newCounted(e sdktrace.SpanExporter, room int, reg prometheus.Registerer) *counted {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_trace_spans_total", Help: "Spans of traces that are recorded, by result: exported, failed (the collector did not take them), or dropped (too many waited for it).",
	}, []string{"result"})
	reg.MustRegister(spans)
	c := &counted{
		exporter: e, room: int64(room),
		exported: spans.WithLabelValues("exported"), failed: spans.WithLabelValues("failed"), dropped: spans.WithLabelValues("dropped"),
	}
	c.SpanProcessor = sdktrace.NewBatchSpanProcessor(exporting{c}, sdktrace.WithMaxQueueSize(room))
	return c
}

// OnEnd implements sdktrace.SpanProcessor. It never waits.
func (c *counted) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if c.waiting.Add(1) > c.room {
		c.waiting.Add(-1)
		c.dropped.Inc()
		return
	}
	c.SpanProcessor.OnEnd(s)
}

// exporting is the exporter that a counted gives to its batches.
type exporting struct{ *counted }

// ExportSpans implements sdktrace.SpanExporter.
func (e exporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.exporter.ExportSpans(ctx, spans)
	e.waiting.Add(-int64(len(spans)))
	if err != nil {
		e.failed.Add(float64(len(spans)))
		return err
	}
	e.exported.Add(float64(len(spans)))
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e exporting) Shutdown(ctx context.Context) error { return e.exporter.Shutdown(ctx) }
