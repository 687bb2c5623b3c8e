package tracing

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

const traceparentLength = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// Parse returns a trace context (W3C Trace Context, the field traceparent) in
// version 00; false where it is not valid.
func Parse(s string) (traceparent string, ok bool) {
	if len(s) < traceparentLength {
		return "", false
	}
	version, fields, rest := s[:2], s[2:traceparentLength], s[traceparentLength:]
	switch {
	case !lowerHex(version) || version == "ff":
		return "", false
	case version == "00" && rest != "" || rest != "" && rest[0] != '-':
		return "", false
	case fields[0] != '-' || fields[33] != '-' || fields[50] != '-':
		return "", false
	}
	traceID, parent, flags := fields[1:33], fields[34:50], fields[51:]
	if !lowerHex(traceID) || !lowerHex(parent) || !lowerHex(flags) || strings.Trim(traceID, "0") == "" || strings.Trim(parent, "0") == "" {
		return "", false
	}
	if version == "00" {
		return s, true
	}
	return "00" + fields, true
}

func lowerHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// New returns the context of a trace that begins here and that nobody records.
func New(random func() uint64) string {
	var id [24]byte
	binary.BigEndian.PutUint64(id[0:], random())
	binary.BigEndian.PutUint64(id[8:], random())
	binary.BigEndian.PutUint64(id[16:], random())
	id[15] |= 1 // an id of zeros is invalid
	id[23] |= 1
	return format(trace.TraceID(id[:16]), trace.SpanID(id[16:]), 0)
}

func format(t trace.TraceID, s trace.SpanID, flags trace.TraceFlags) string {
	b := append(make([]byte, 0, traceparentLength), "00-"...)
	b = append(hex.AppendEncode(b, t[:]), '-')
	b = append(hex.AppendEncode(b, s[:]), '-')
	return string(hex.AppendEncode(b, []byte{byte(flags)}))
}

// TraceID returns the trace's id of what Parse, New or [Span.Traceparent]
// returned; empty where that is.
func TraceID(traceparent string) string {
	if len(traceparent) != traceparentLength {
		return ""
	}
	return traceparent[3:35]
}

// contextOf reads what Parse returned.
func contextOf(traceparent string) trace.SpanContext {
	if len(traceparent) != traceparentLength {
		return trace.SpanContext{}
	}
	var t trace.TraceID
	var s trace.SpanID
	var flags [1]byte
	for _, field := range []struct {
		into []byte
		text string
	}{{t[:], traceparent[3:35]}, {s[:], traceparent[36:52]}, {flags[:], traceparent[53:55]}} {
		if _, err := hex.Decode(field.into, []byte(field.text)); err != nil {
			return trace.SpanContext{}
		}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: t, SpanID: s, TraceFlags: trace.TraceFlags(flags[0]), Remote: true})
}

// IsSampled reports whether a trace is recorded, as far as its context tells.
func IsSampled(traceparent string) bool { return contextOf(traceparent).IsSampled() }
