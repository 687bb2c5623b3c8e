package tracing

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// collector takes spans as an OpenTelemetry collector does, over both protocols.
type collector struct {
	coltrace.UnimplementedTraceServiceServer
	t testing.TB

	mu       sync.Mutex
	spans    []*otlp.Span
	services map[string]bool
	more     chan struct{} // closed and made anew with each span
}

func newCollector(t testing.TB) *collector {
	t.Helper()
	return &collector{t: t, services: map[string]bool{}, more: make(chan struct{})}
}

// serveHTTP returns where the collector is over HTTP.
func (c *collector) serveHTTP() string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request coltrace.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.take(&request)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	c.t.Cleanup(server.Close)
	return server.URL
}

// serveGRPC returns where the collector is over gRPC.
func (c *collector) serveGRPC() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback, at once
	require.NoError(c.t, err)
	server := grpc.NewServer()
	coltrace.RegisterTraceServiceServer(server, c)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	c.t.Cleanup(func() {
		server.Stop()
		require.NoError(c.t, <-done)
	})
	return "http://" + listener.Addr().String()
}

// Export implements coltrace.TraceServiceServer.
func (c *collector) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	c.take(r)
	return &coltrace.ExportTraceServiceResponse{}, nil
}

func (c *collector) take(r *coltrace.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range r.GetResourceSpans() {
		c.services[attribute(resource.GetResource().GetAttributes(), "service.name")] = true
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	close(c.more)
	c.more = make(chan struct{})
}

// await waits until a trace has so many spans, and returns them.
func (c *collector) await(traceID string, n int) []*otlp.Span {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		c.mu.Lock()
		var found []*otlp.Span
		for _, s := range c.spans {
			if hex.EncodeToString(s.GetTraceId()) == traceID {
				found = append(found, s)
			}
		}
		more := c.more
		c.mu.Unlock()
		if len(found) >= n {
			return found
		}
		select {
		case <-more:
		case <-ctx.Done():
			require.Fail(c.t, "spans are missing", "%d of %d: %v", len(found), n, found)
		}
	}
}

// attribute is an attribute's value as a text; empty: there is none.
func attribute(attributes []*common.KeyValue, key string) string {
	for _, a := range attributes {
		if a.GetKey() != key {
			continue
		}
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			return v.StringValue
		case *common.AnyValue_IntValue:
			return fmt.Sprint(v.IntValue)
		}
	}
	return ""
}
