package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/deadletter"
)

// Letters are the dead letters; a *deadletter.Store is them.
type Letters interface {
	Scan(ctx context.Context, f deadletter.Filter, from, upTo uint64, visit func(deadletter.Letter) error) error
	Get(ctx context.Context, messageID string) ([]deadletter.Letter, error)
	At(ctx context.Context, seq uint64) (*deadletter.Letter, error)
	Remove(ctx context.Context, seq uint64) error
	Last(ctx context.Context) (uint64, error)
}

// Publisher stores messages; a *broker.Conn does.
type Publisher interface {
	Publish(ctx context.Context, m broker.Message) (uint64, error)
}

// Options are what a Runner is made of.
type Options struct {
	Store      *Store
	Letters    Letters
	Publisher  Publisher
	Partitions int
	// Instance names this process among those that may run jobs; no two have the
	// same name at a time, and none has that of one before it.
	Instance string
	// Sole says that no other process can be there: what a former one ran is taken
	// over at once.
	Sole    bool
	Log     *zap.Logger
	Metrics prometheus.Registerer
}

const (
	// lookEvery is how often jobs are looked for, and beat how often who runs one
	// says so.
	lookEvery = 500 * time.Millisecond
	beat      = time.Second
	// taken is how long a job belongs to who has not renewed it.
	taken = 10 * time.Second
	// atOnce is how many jobs a process runs at once; others wait.
	atOnce = 4
)

// Runner makes jobs, and runs those that nobody else runs.
type Runner struct {
	Options
	results map[result]prometheus.Counter

	mu      sync.Mutex
	running map[string]func(*record) // by job: tells its run what is stored by now
	seen    map[string]sight
}

// sight is when a job's record was first seen as it is.
type sight struct {
	revision uint64
	at       time.Time
}

// New makes a Runner; Run starts it.
func New(o Options) (*Runner, error) {
	if o.Store == nil || o.Letters == nil || o.Publisher == nil || o.Partitions < 1 || o.Instance == "" || o.Log == nil || o.Metrics == nil {
		return nil, errors.New("replay: a part is missing")
	}
	return &Runner{Options: o, results: newMetrics(o.Metrics), running: map[string]func(*record){}, seen: map[string]sight{}}, nil
}

// Create makes a job of the letters that there are now; it runs soon. The error says
// what is wrong with the job, is ErrTooMany, or wraps broker.ErrUnavailable.
func (r *Runner) Create(ctx context.Context, j Job) (*Job, error) {
	if err := j.Validate(); err != nil {
		return nil, err
	}
	upTo, err := r.Letters.Last(ctx)
	if err != nil {
		return nil, err
	}
	j.ID, j.UpTo, j.State, j.CreatedAt = "rpl_"+nuid.Next(), upTo, Running, time.Now().UTC()
	j.Progress, j.Runner, j.Error, j.EndedAt = Progress{}, "", "", time.Time{}
	if err := r.Store.create(ctx, &j); err != nil {
		return nil, err
	}
	return &j, nil
}

// Run looks for jobs and runs them, until ctx ends; what it runs then is left to
// others.
func (r *Runner) Run(ctx context.Context) error {
	var jobs sync.WaitGroup
	defer jobs.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last uint64
	for {
		if err := r.look(ctx, &jobs, &last); err != nil && ctx.Err() == nil {
			r.Log.Warn("looking for replays", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// look reads the jobs, where any was written since or may be taken over by now.
func (r *Runner) look(ctx context.Context, jobs *sync.WaitGroup, last *uint64) error {
	now, err := r.Store.last(ctx)
	if err != nil || now == *last && len(r.seen) == 0 {
		return err
	}
	records, err := r.Store.all(ctx)
	if err != nil {
		return err
	}
	*last = now
	open := map[string]bool{}
	for i := range records {
		rec := &records[i]
		if !rec.State.Ended() {
			open[rec.ID] = true
		}
		if r.tell(rec) || rec.State != Running || !r.isFree(rec, time.Now()) {
			continue
		}
		if err := r.claim(ctx, rec, jobs); err != nil {
			return err
		}
	}
	for id := range r.seen {
		if !open[id] {
			delete(r.seen, id)
		}
	}
	return nil
}

// tell tells the run of a job, if it is run here.
func (r *Runner) tell(rec *record) bool {
	r.mu.Lock()
	tell, ok := r.running[rec.ID]
	r.mu.Unlock()
	if ok {
		tell(rec)
	}
	return ok
}

// isFree reports whether nobody runs a job: it has not been renewed for long, as
// seen with this process's own clock.
func (r *Runner) isFree(rec *record, now time.Time) bool {
	s, known := r.seen[rec.ID]
	if !known || s.revision != rec.revision {
		s = sight{rec.revision, now}
		r.seen[rec.ID] = s
	}
	return rec.Runner == "" || r.Sole || now.Sub(s.at) >= taken
}

// claim takes a job, unless somebody was quicker, and runs it.
func (r *Runner) claim(ctx context.Context, rec *record, jobs *sync.WaitGroup) error {
	r.mu.Lock()
	full := len(r.running) >= atOnce
	r.mu.Unlock()
	if full {
		return nil
	}
	rec.Runner = r.Instance
	err := r.Store.put(ctx, rec)
	if errors.Is(err, broker.ErrConflict) {
		return nil
	}
	if err != nil {
		return err
	}
	run := newRun(ctx, r, rec)
	r.mu.Lock()
	r.running[rec.ID] = run.heard
	r.mu.Unlock()
	jobs.Go(func() { //nolint:contextcheck // the run has it
		run.run()
		r.mu.Lock()
		delete(r.running, rec.ID)
		r.mu.Unlock()
	})
	return nil
}

// Preview is what a job would find.
type Preview struct {
	Total  uint64 // letters, exactly
	Left   uint64 // of these, that can't be sent again
	Sample []deadletter.Letter
}

// sampled is how many letters a preview shows.
const sampled = 10

// Preview counts what a job would find, and changes nothing. Its errors are those of
// Create.
func (r *Runner) Preview(ctx context.Context, j Job) (*Preview, error) {
	if err := j.Validate(); err != nil {
		return nil, err
	}
	upTo, err := r.Letters.Last(ctx)
	if err != nil {
		return nil, err
	}
	j.UpTo = upTo
	p := &Preview{}
	err = find(ctx, r.Letters, &j, func(l deadletter.Letter) error {
		p.Total++
		if _, err := sendable(&j, &l); err != nil {
			p.Left++
		}
		if len(p.Sample) < sampled {
			p.Sample = append(p.Sample, l)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("counting dead letters: %w", err)
	}
	return p, nil
}
