package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/telemetry"
)

func TestTraceFlags(t *testing.T) {
	half := 0.5
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		on   bool
		want telemetry.TraceOptions
		says string
	}{
		"off by default": {},
		"flags": {
			args: []string{"--otlp-endpoint", "http://c:4317", "--otlp-protocol", "grpc", "--trace-sample", "0.5"}, on: true,
			want: telemetry.TraceOptions{Endpoint: "http://c:4317", Protocol: "grpc", Sample: &half},
		},
		"the standard's variables": {
			env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_BSP_MAX_QUEUE_SIZE": "99"},
			on:  true, want: telemetry.TraceOptions{Protocol: "grpc", Queue: 99},
		},
		"those of traces come first": {
			env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
			on:  true, want: telemetry.TraceOptions{Protocol: "http/protobuf"},
		},
		"disabled":       {args: []string{"--otlp-endpoint", "http://c"}, env: map[string]string{"OTEL_SDK_DISABLED": "true"}, want: telemetry.TraceOptions{Endpoint: "http://c"}},
		"no exporter":    {args: []string{"--otlp-endpoint", "http://c"}, env: map[string]string{"OTEL_TRACES_EXPORTER": "none"}, want: telemetry.TraceOptions{Endpoint: "http://c"}},
		"no ratio":       {args: []string{"--trace-sample", "much"}, says: "--trace-sample"},
		"out of bounds":  {args: []string{"--trace-sample", "2"}, says: "0..1"},
		"not a number":   {env: map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, says: "OTEL_BSP_MAX_QUEUE_SIZE"},
		"no such choice": {args: []string{"--otlp-protocol", "http/json"}, says: "choose"},
	} {
		t.Run(name, func(t *testing.T) {
			o, on, err := flagsOf(t, tc.args...).traces.options(func(name string) string { return tc.env[name] })
			if tc.says != "" {
				require.ErrorContains(t, err, tc.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.on, on)
			require.Equal(t, tc.want, o)
		})
	}
}
