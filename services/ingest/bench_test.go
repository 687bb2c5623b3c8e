package ingest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/services/ingest"
)

// BenchmarkAccept is a message over HTTP: to a publisher that confirms at once,
// and to the broker.
func BenchmarkAccept(b *testing.B) {
	for name, real := range map[string]bool{"service": false, "broker": true} {
		b.Run(name, func(b *testing.B) {
			h := &harness{broker: brokertest.New(b)}
			config := h.configure(b)
			d := ingest.Deps{
				Publisher: publisher(func(context.Context, broker.Message) (uint64, error) { return 1, nil }),
				Config:    snapshots(config), CatchUp: catchUp(config), Metrics: prometheus.NewRegistry(), Log: zap.NewNop(),
			}
			if real {
				d.Publisher = h.broker
			}
			h.start(b, ingest.Options{Addr: "127.0.0.1:0", Partitions: brokertest.Layout.Partitions}, d)
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					a, err := h.send(h.request(b, call{body: text(fmt.Sprint(i%100), "A large pizza with mushrooms, please")}))
					if err != nil || a.status != http.StatusAccepted {
						b.Errorf("%v %v", a, err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkBatch is 1,000 messages of 100 conversations in one request.
func BenchmarkBatch(b *testing.B) {
	h := &harness{broker: brokertest.New(b)}
	config := h.configure(b)
	d := ingest.Deps{Publisher: h.broker, Config: snapshots(config), CatchUp: catchUp(config), Metrics: prometheus.NewRegistry(), Log: zap.NewNop()}
	h.start(b, ingest.Options{Addr: "127.0.0.1:0", Partitions: brokertest.Layout.Partitions}, d)
	var body bytes.Buffer
	for i := range 1000 {
		fmt.Fprintln(&body, text(fmt.Sprint(i%100), "A large pizza with mushrooms, please"))
	}
	for b.Loop() {
		r := h.request(b, call{content: ndjson, body: body.String()})
		resp, err := h.client.Do(r)
		require.NoError(b, err)
		n, err := io.Copy(io.Discard, resp.Body)
		require.NoError(b, err)
		require.NotZero(b, n)
		require.NoError(b, resp.Body.Close())
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "messages/s")
}
