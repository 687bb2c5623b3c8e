package broker

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// BenchmarkTraceHeader is a message as it is made to be sent, and its bytes on the
// wire beside subject and data: without a header, and with a trace's.
func BenchmarkTraceHeader(b *testing.B) {
	for name, headers := range map[string]map[string]string{
		"none": nil, "traceparent": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	} {
		b.Run(name, func(b *testing.B) {
			m := Message{Subject: "user.0.shop.c", Data: make([]byte, 300), Headers: headers}
			b.ReportAllocs()
			var sent *nats.Msg
			for b.Loop() {
				sent = m.encode()
			}
			require.Equal(b, headers != nil, sent.Header != nil)
			b.ReportMetric(float64(sent.Size()-len(m.Subject)-len(m.Data)), "header-B")
		})
	}
}
