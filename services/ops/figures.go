package ops

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
)

const (
	// figuresEvery is how often the deployment is looked at.
	figuresEvery = 15 * time.Second
	// figuresShare bounds what that costs: a look that took long is followed by a
	// pause of so many times that.
	figuresShare = 10
	// figuresTimeout bounds one look.
	figuresTimeout = 10 * time.Second
	// figuresAge is how old what was last seen may be; then there are no figures
	// until the broker answers again, which alerts can tell from good ones.
	figuresAge = 2 * time.Minute
)

// FiguresOptions are what Figures are made of; all are required.
type FiguresOptions struct {
	// Status, Owners and Usage read what waits, who works and how full the streams
	// are.
	Status func(ctx context.Context) (*topology.Status, error)
	Owners func(ctx context.Context, stage chat.Stage) (*partition.Owners, error)
	Usage  func(ctx context.Context) (map[string]topology.Usage, error)
	Config func() *registry.Snapshot
	Log    *zap.Logger
}

// Figures are metrics of the whole deployment, as status has them: what waits in
// the streams, how full they are, who works. Every ops process has the same ones.
type Figures struct {
	FiguresOptions
	last atomic.Pointer[look]
	errs prometheus.Counter
}

// look is what was seen at one moment.
type look struct {
	at     time.Time
	status *topology.Status
	owners []*partition.Owners
	usage  map[string]topology.Usage
}

// NewFigures registers the metrics; Run must follow.
func NewFigures(o FiguresOptions, reg prometheus.Registerer) *Figures {
	f := &Figures{FiguresOptions: o, errs: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "parley_figures_errors_total", Help: "Times that what waits in the streams could not be read. Without it for 2 minutes its metrics are left out.",
	})}
	reg.MustRegister(f.errs, f)
	return f
}

// Run looks at the deployment until ctx ends.
func (f *Figures) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		began := time.Now()
		if err := f.Look(ctx); err != nil && ctx.Err() == nil {
			f.errs.Inc()
			f.Log.Warn("the figures of the deployment can't be read", zap.Error(err))
		}
		timer.Reset(max(figuresEvery, figuresShare*time.Since(began)))
	}
}

// Look looks once.
func (f *Figures) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, figuresTimeout)
	defer cancel()
	stages := []chat.Stage{chat.StageUser, chat.StageBot}
	l := &look{at: time.Now(), owners: make([]*partition.Owners, len(stages))}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { l.status, err = f.Status(ctx); return err })
	g.Go(func() (err error) { l.usage, err = f.Usage(ctx); return err })
	for i, stage := range stages {
		g.Go(func() (err error) { l.owners[i], err = f.Owners(ctx, stage); return err })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	f.last.Store(l)
	return nil
}

// The metrics of Figures.
var (
	waitingDesc = prometheus.NewDesc("parley_waiting_messages",
		"Messages that wait, by where: in the stage's work queue, or parked.", []string{"stage", "place"}, nil)
	waitingBytesDesc = prometheus.NewDesc("parley_waiting_bytes",
		"Bytes of what waits, as stored, by where.", []string{"stage", "place"}, nil)
	waitingOldestDesc = prometheus.NewDesc("parley_waiting_oldest_seconds",
		"Age of the oldest message that waits, by where; 0 where none does.", []string{"stage", "place"}, nil)
	waitingLanesDesc = prometheus.NewDesc("parley_waiting_lanes",
		"Lanes that are parked.", []string{"stage"}, nil)
	lettersDesc = prometheus.NewDesc("parley_dead_letters",
		"Dead letters that there are.", nil, nil)
	streamDesc = prometheus.NewDesc("parley_stream_bytes",
		"Bytes in a stream, or in a bucket's.", []string{"stream"}, nil)
	streamLimitDesc = prometheus.NewDesc("parley_stream_limit_bytes",
		"How many bytes a stream may have: above it refuses what comes, but for JOURNAL and AUDIT, which drop the oldest.", []string{"stream"}, nil)
	workersDesc = prometheus.NewDesc("parley_workers",
		"Live workers; the one process of serve is counted where it holds a partition.", []string{"stage"}, nil)
	unownedDesc = prometheus.NewDesc("parley_partitions_unowned",
		"Partitions that nobody works on. Some are for a moment while they move.", []string{"stage"}, nil)
	vanishedDesc = prometheus.NewDesc("parley_partitions_vanished_owners",
		"Owners of partitions that vanished, instead of handing over, in the last 10 minutes; a process counts once for each partition that it had.", []string{"stage"}, nil)
	objectsDesc = prometheus.NewDesc("parley_config_objects",
		"Objects of the configuration that get or make nothing now, by why.", []string{"kind", "state"}, nil)
)

// Describe implements prometheus.Collector.
func (f *Figures) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		waitingDesc, waitingBytesDesc, waitingOldestDesc, waitingLanesDesc, lettersDesc, streamDesc, streamLimitDesc,
		workersDesc, unownedDesc, vanishedDesc, objectsDesc,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (f *Figures) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	c := configOf(f.Config())
	gauge(objectsDesc, float64(c.DisabledEndpoints), "endpoint", "disabled")
	gauge(objectsDesc, float64(c.PausedEndpoints), "endpoint", "paused")
	gauge(objectsDesc, float64(c.PausedChannels), "channel", "paused")
	gauge(objectsDesc, float64(c.PausedBots), "bot", "paused")
	l, now := f.last.Load(), time.Now()
	if l == nil || now.Sub(l.at) > figuresAge {
		return
	}
	for i := range l.status.Stages {
		s := &l.status.Stages[i]
		for place, w := range map[string]waiting{"queue": queued(s), "parked": {s.Parked.Usage, s.Parked.Oldest}} {
			gauge(waitingDesc, float64(w.Messages), string(s.Stage), place)
			gauge(waitingBytesDesc, float64(w.Bytes), string(s.Stage), place)
			gauge(waitingOldestDesc, w.age(now), string(s.Stage), place)
		}
		gauge(waitingLanesDesc, float64(s.Parked.Lanes), string(s.Stage))
	}
	gauge(lettersDesc, float64(l.status.Dead.Messages))
	for name, u := range l.usage {
		gauge(streamDesc, float64(u.Bytes), name)
		gauge(streamLimitDesc, float64(u.MaxBytes), name)
	}
	for _, o := range l.owners {
		unowned, vanished := 0, 0
		workers := map[string]bool{}
		for _, m := range o.Members {
			workers[m.Instance] = true
		}
		for _, p := range o.Partitions {
			vanished += p.Vanished
			if p.Instance == "" {
				unowned++
			} else {
				workers[p.Instance] = true
			}
		}
		gauge(workersDesc, float64(len(workers)), string(o.Stage))
		gauge(unownedDesc, float64(unowned), string(o.Stage))
		gauge(vanishedDesc, float64(vanished), string(o.Stage))
	}
}

// waiting is what waits in one place.
type waiting struct {
	topology.Usage
	oldest *time.Time
}

func (w waiting) age(now time.Time) float64 {
	if w.oldest == nil {
		return 0
	}
	return max(0, now.Sub(*w.oldest).Seconds())
}

// queued is what waits in a stage's work queue, over all partitions.
func queued(s *topology.StageStatus) (all waiting) {
	for _, p := range s.Partitions {
		all.Messages += p.Messages
		all.Bytes += p.Bytes
		if p.Oldest != nil && (all.oldest == nil || p.Oldest.Before(*all.oldest)) {
			all.oldest = p.Oldest
		}
	}
	return all
}
