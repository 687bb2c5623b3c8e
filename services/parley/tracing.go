package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/pkg/telemetry"
)

// traceFlags say where traces go.
type traceFlags struct {
	endpoint, protocol, sample string
}

func (f *traceFlags) addTo(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.endpoint, "otlp-endpoint", "", "`URL` of the OpenTelemetry collector that traces are sent to, such as http://host:4318; without it, and without OTEL_EXPORTER_OTLP_ENDPOINT, there are none")
	fs.StringVar(&f.protocol, "otlp-protocol", "", "`PROTOCOL` to the collector: http/protobuf or grpc (default OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf)")
	fs.StringVar(&f.sample, "trace-sample", "", "`RATIO` of traces that begin here to record, 0 to 1; whoever sends a traceparent decides for its own (default OTEL_TRACES_SAMPLER, else 1)")
}

// options are what the flags and the OTEL_ variables say; on is whether there are
// to be traces at all. What is not looked at here the SDK reads by itself.
func (f *traceFlags) options(getenv func(string) string) (o telemetry.TraceOptions, on bool, err error) {
	first := func(names ...string) string {
		for _, name := range names {
			if v := strings.TrimSpace(getenv(name)); v != "" {
				return v
			}
		}
		return ""
	}
	o.Endpoint, o.Protocol = f.endpoint, f.protocol
	if o.Protocol == "" {
		o.Protocol = first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	if f.sample != "" {
		ratio, err := strconv.ParseFloat(f.sample, 64)
		if err != nil {
			return o, false, fmt.Errorf("--trace-sample is %q: write a ratio such as 0.01", f.sample)
		}
		o.Sample = &ratio
	}
	if queue := first("OTEL_BSP_MAX_QUEUE_SIZE"); queue != "" {
		if o.Queue, err = strconv.Atoi(queue); err != nil || o.Queue < 1 {
			return o, false, fmt.Errorf("OTEL_BSP_MAX_QUEUE_SIZE is %q: write a number above 0", queue)
		}
	}
	on = f.endpoint != "" || first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") != ""
	if strings.EqualFold(first("OTEL_SDK_DISABLED"), "true") || first("OTEL_TRACES_EXPORTER") == "none" {
		on = false
	}
	return o, on, o.Validate()
}

// openTraces starts the sending of spans, where it is asked for.
func (p *platform) openTraces(ctx context.Context) error {
	o, on, err := p.flags.traces.options(os.Getenv)
	if err != nil || !on {
		return err
	}
	o.Service, o.Version, o.Instance = p.flags.service, version, instance()
	o.Metrics, o.Log = p.metrics, p.log.Named("traces")
	var stop func()
	if p.tracer, stop, err = telemetry.StartTraces(context.WithoutCancel(ctx), o); err != nil {
		return err
	}
	p.closers = append(p.closers, stop)
	return nil
}
