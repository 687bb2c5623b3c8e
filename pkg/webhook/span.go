package webhook

import (
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// SpanAttributes describe an attempt as the conventions for HTTP clients do, but
// for url.full: the paths and queries of webhooks often hold secrets.
func SpanAttributes(r *Request, result *Result) []attribute.KeyValue {
	described := []attribute.KeyValue{semconv.HTTPRequestMethodPost}
	if r.URL != nil {
		described = append(described, semconv.URLScheme(r.URL.Scheme), semconv.ServerAddress(r.URL.Hostname()))
		if port, err := portOf(r.URL); err == nil {
			described = append(described, semconv.ServerPort(int(port)))
		}
	}
	if r.Attempt > 1 {
		described = append(described, semconv.HTTPRequestResendCount(r.Attempt-1))
	}
	if result.Status != 0 {
		described = append(described, semconv.HTTPResponseStatusCode(result.Status))
	}
	return described
}
