package ingest_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/tracing"
	"github.com/parleyhq/parley/pkg/wire"
	"github.com/parleyhq/parley/services/ingest"
)

// published keeps what is published, with its header.
type published struct {
	ingest.Publisher
	mu       sync.Mutex
	messages []broker.Message
}

func (p *published) Publish(ctx context.Context, m broker.Message) (uint64, error) {
	p.mu.Lock()
	p.messages = append(p.messages, m)
	p.mu.Unlock()
	return p.Publisher.Publish(ctx, m)
}

const (
	givenTrace = "0af7651916cd43dd8448eb211c80319c"
	givenSpan  = "b7ad6b7169203331"
)

// A message whose trace is recorded carries its own span, in the header and in the
// envelope; any other has no header, and carries what came.
func TestMessagesCarryTheirSpan(t *testing.T) {
	for name, tc := range map[string]struct {
		off     bool
		content string
		body    string
		flags   string
		spans   int
	}{
		"recorded": {false, "", text("c1", "hi"), "01", 1},
		"a batch":  {false, ndjson, text("c1", "hi") + "\n" + text("c2", "hi"), "01", 2},
		"left out": {false, "", text("c1", "hi"), "00", 0},
		"off":      {true, "", text("c1", "hi"), "01", 0},
	} {
		t.Run(name, func(t *testing.T) {
			kept, p := tracetest.NewInMemoryExporter(), &published{}
			h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) {
				p.Publisher, d.Publisher = d.Publisher, p
				if !tc.off {
					d.Tracer = tracing.NewTracer(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)))
				}
			})
			given := strings.Join([]string{"00", givenTrace, givenSpan, tc.flags}, "-")
			a := h.do(t, call{body: tc.body, content: tc.content, header: [2]string{"traceparent", given}})
			require.Less(t, a.status, 300, a.body)

			byID := map[string]tracetest.SpanStub{}
			for _, s := range kept.GetSpans() {
				byID[s.SpanContext.SpanID().String()] = s
				require.Equal(t, givenTrace, s.SpanContext.TraceID().String())
			}
			for _, m := range p.messages {
				um, err := wire.DecodeUserMessage(m.Data)
				require.NoError(t, err)
				if tc.spans == 0 {
					require.Empty(t, m.Headers)
					require.Equal(t, given, um.Traceparent)
					continue
				}
				require.Equal(t, map[string]string{topology.HeaderTraceparent: um.Traceparent}, m.Headers)
				span := byID[um.Traceparent[36:52]]
				require.Equal(t, "publish user", span.Name)
				require.Equal(t, givenSpan, byID[span.Parent.SpanID().String()].Parent.SpanID().String(), "the request's is below the caller's")
				require.Contains(t, span.Attributes, semconv.MessagingMessageID(um.ID))
			}
			if tc.spans == 0 {
				require.Empty(t, byID)
			} else {
				require.Len(t, byID, 1+tc.spans)
			}
		})
	}
}

// A refusal is in the trace by its slug, and a path by its route.
func TestRefusalsInTraces(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	h := newHarness(t, func(_ *ingest.Options, d *ingest.Deps) {
		d.Tracer = tracing.NewTracer(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)))
	})
	a := h.do(t, call{path: "/v1/bots/solo/conversations/anna/actions", body: "{"})
	require.Equal(t, http.StatusForbidden, a.status, a.body)
	spans := kept.GetSpans()
	require.Len(t, spans, 1)
	require.Contains(t, spans[0].Attributes, semconv.ErrorTypeKey.String("forbidden"))
	require.Contains(t, spans[0].Attributes, semconv.HTTPResponseStatusCode(http.StatusForbidden))
	require.Contains(t, spans[0].Attributes, semconv.HTTPRoute("/v1/bots/:botId/conversations/:conversationId/actions"))
	for _, attribute := range spans[0].Attributes {
		require.NotContains(t, attribute.Value.String(), "anna")
	}
}
