package broker

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

const (
	// skewEvery is how often the clocks are compared.
	skewEvery = 30 * time.Second
	// skewTimeout bounds one comparison.
	skewTimeout = 5 * time.Second
)

// Monitor measures a connection for the metrics.
type Monitor struct {
	conn   *Conn
	stream string
	log    *zap.Logger
	skew   prometheus.Gauge
}

// NewMonitor registers the connection's metrics. The stream is any that exists.
// Run must follow.
func NewMonitor(conn *Conn, stream string, reg prometheus.Registerer, log *zap.Logger) *Monitor {
	m := &Monitor{conn: conn, stream: stream, log: log, skew: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "parley_broker_clock_skew_seconds", Help: "By how much, at least, the NATS server's clock is ahead of this machine's; below 0: behind it. A process doesn't start at more than 3.",
	})}
	reg.MustRegister(m.skew, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "parley_broker_reconnects_total", Help: "Times that the connection to NATS was lost and made anew.",
	}, func() float64 { return float64(conn.NATS.Stats().Reconnects) }))
	return m
}

// Run compares the clocks now and then until ctx ends. While the broker doesn't
// answer the last figure stands.
func (m *Monitor) Run(ctx context.Context) error {
	tick := time.NewTicker(skewEvery)
	defer tick.Stop()
	for {
		m.compare(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (m *Monitor) compare(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, skewTimeout)
	defer cancel()
	skew, err := m.conn.Skew(ctx, m.stream)
	if err != nil {
		m.log.Debug("the clocks can't be compared", zap.Error(err))
		return
	}
	m.skew.Set(skew.Seconds())
}
