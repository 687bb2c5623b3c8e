package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
)

// Log writes and reads entries. It is safe for concurrent use.
type Log struct {
	conn   *broker.Conn
	failed prometheus.Counter
}

// New opens the log. The stream must exist.
func New(ctx context.Context, conn *broker.Conn, reg prometheus.Registerer) (*Log, error) {
	if _, err := conn.JS.Stream(ctx, topology.StreamAudit); err != nil {
		return nil, fmt.Errorf("stream %s: %w", topology.StreamAudit, err)
	}
	l := &Log{conn: conn, failed: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "parley_audit_failed_total", Help: "Requests of operators whose audit entry could not be written.",
	})}
	reg.MustRegister(l.failed)
	return l, nil
}

// Writing is tried for so long, each try waits so long for the broker's word,
// which a cluster loses when it changes its leader, and so long is between two.
const (
	writeTimeout = 2 * time.Second
	tryTimeout   = 500 * time.Millisecond
	writePause   = 100 * time.Millisecond
)

var errSlow = fmt.Errorf("it was not confirmed within %s", tryTimeout)

// Write records an entry; Seq and At are given by the stream. It takes 2 s at
// most. The error wraps broker.ErrFull or broker.ErrUnavailable, unless the
// entry itself can't be stored; it is counted.
func (l *Log) Write(ctx context.Context, e Entry) error {
	if err := l.write(ctx, e); err != nil {
		l.failed.Inc()
		return fmt.Errorf("writing an audit entry: %w", err)
	}
	return nil
}

func (l *Log) write(ctx context.Context, e Entry) error {
	data, err := e.encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	// The id keeps a try that was stored and not confirmed from being there twice.
	m := broker.Message{Subject: topology.AuditSubject(e.Kind), Data: data, ID: rand.Text()}
	for {
		err := l.try(ctx, m)
		if !errors.Is(err, broker.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(writePause):
		case <-ctx.Done():
			return err
		}
	}
}

func (l *Log) try(ctx context.Context, m broker.Message) error {
	ctx, cancel := context.WithTimeoutCause(ctx, tryTimeout, errSlow)
	defer cancel()
	_, err := l.conn.Publish(ctx, m)
	return err
}
