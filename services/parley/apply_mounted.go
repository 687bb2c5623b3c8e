package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/services/ops"
)

// mountedEvery is how often mounted files are read. They are read whole, with the
// files and variables that they name, so that links that are swapped, as those of
// a mounted ConfigMap, are seen as any other change.
const mountedEvery = 3 * time.Second

// mounted keeps the configuration as files declare it, from each change of them
// to the next. What operators change otherwise stays until then.
type mounted struct {
	files  []string
	prune  bool
	apply  func(ctx context.Context, r ops.ApplyRequest) (*ops.Applied, error)
	log    *zap.Logger
	runs   *prometheus.CounterVec
	behind prometheus.Gauge

	first   atomic.Bool // what the files said at the start is applied
	judged  digest      // of what was applied, or can't be
	applied bool        // it was
	failed  string      // why the last look failed
}

type digest [sha256.Size]byte

// The results of runs.
const (
	runChanged   = "changed"
	runUnchanged = "unchanged"
	runFailed    = "failed"
)

func newMounted(files []string, log *zap.Logger, metrics prometheus.Registerer) *mounted {
	m := &mounted{
		files: files, log: log,
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_apply_runs_total", Help: "Times that the mounted configuration (--apply) was applied, by result.",
		}, []string{"result"}),
		behind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parley_apply_behind", Help: "1 while what the mounted files (--apply) say is not applied.",
		}),
	}
	for _, result := range []string{runChanged, runUnchanged, runFailed} {
		m.runs.WithLabelValues(result)
	}
	m.behind.Set(1)
	metrics.MustRegister(m.runs, m.behind)
	return m
}

// addMounted reads the files and refuses to start where they can't be applied.
func addMounted(p *process, svc *ops.Service) error {
	if len(p.flags.apply) == 0 {
		return nil
	}
	m := newMounted(p.flags.apply, p.log.Named("apply"), p.metrics)
	m.prune = p.flags.applyPrune
	m.apply = func(ctx context.Context, r ops.ApplyRequest) (*ops.Applied, error) { return svc.Apply(ctx, r, "apply") }
	d, err := m.read()
	if err != nil {
		return fmt.Errorf("--apply: %w", err)
	}
	if err := svc.CheckApply(m.request(d)); err != nil {
		return fmt.Errorf("--apply: %w", explained(d, err))
	}
	p.admin.AddCheck("apply", func(context.Context) error {
		if !m.first.Load() {
			return errors.New("the mounted configuration is not applied yet")
		}
		return nil
	})
	p.front = append(p.front, unit{"apply", m.run})
	return nil
}

func (m *mounted) read() (*declared, error) { return readDeclared(m.files, nil, os.LookupEnv) }

func (m *mounted) request(d *declared) ops.ApplyRequest {
	r := ops.ApplyRequest{Declaration: d.Declaration, Unseen: true}
	if m.prune {
		r.Prune = ops.PruneOwned
	}
	return r
}

func (m *mounted) run(ctx context.Context) error {
	tick := time.NewTicker(mountedEvery)
	defer tick.Stop()
	for {
		m.look(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// look applies what the files say, unless that is done. What is wrong is tried
// again when it changes, what failed is at the next look.
func (m *mounted) look(ctx context.Context) {
	d, err := m.read()
	if err != nil {
		m.fail(err)
		return
	}
	text, err := json.Marshal(d.Declaration)
	if err != nil {
		m.fail(err)
		return
	}
	now := digest(sha256.Sum256(text))
	if now == m.judged {
		if m.applied { // the files were away, or wrong, and are as before
			m.failed = ""
			m.behind.Set(0)
		}
		return
	}
	m.behind.Set(1)
	done, err := m.apply(ctx, m.request(d))
	if err == nil && done.Error != "" {
		err = errors.New(done.Error)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		if invalid := new(chat.ValidationError); errors.As(err, &invalid) {
			m.judged, m.applied = now, false // until the files change
		}
		m.fail(explained(d, err))
	default:
		m.succeed(now, done)
	}
}

func (m *mounted) succeed(now digest, done *ops.Applied) {
	result := runUnchanged
	if len(done.Changes) > 0 {
		result = runChanged
	}
	m.judged, m.applied, m.failed = now, true, ""
	m.runs.WithLabelValues(result).Inc()
	m.behind.Set(0)
	m.first.Store(true)
	m.log.Info("the mounted configuration is applied", zap.Int("changed", len(done.Changes)), zap.Int("unchanged", done.Unchanged), zap.Uint64("revision", done.Revision))
}

// fail tells of each failure once, however often it is met in a row.
func (m *mounted) fail(err error) {
	m.behind.Set(1)
	m.runs.WithLabelValues(runFailed).Inc()
	if m.failed == err.Error() {
		return
	}
	m.failed = err.Error()
	m.log.Error("the mounted configuration can't be applied: the former one stays", zap.Error(err))
}

// explained names the places of what is wrong.
func explained(d *declared, err error) error {
	if invalid, ok := errors.AsType[*chat.ValidationError](err); ok {
		return d.located(invalid.Problems)
	}
	return err
}
