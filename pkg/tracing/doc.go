// Package tracing is how Parley takes part in distributed traces: the context of
// a trace as it is carried (W3C Trace Context, the field traceparent), and spans.
//
// A nil [Tracer], and a [Span] that it starts, do nothing and allocate nothing:
// so tracing that is off costs the pipeline nothing, and so does a trace that the
// sampler leaves out, but for asking it. What goes out then is the context that
// came in. tracestate and baggage are not carried: what others put there would
// stand in every stored message.
//
// Where spans are sent to is package telemetry's.
package tracing
