package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/parleyhq/parley/services/parley/ready"
)

// ScalingOptions say how to measure what workers add: processes on a NATS and a
// Redis that are there, to which more workers are added from row to row.
type ScalingOptions struct {
	Options
	Workers     []int  // of each stage, row by row; ascending
	NATSURL     string // a NATS without data of Parley's
	MaxInFlight int    // POSTs under way to the sink, for each worker
}

const maxWorkers = 64

// Validate reports the first option that can't work.
func (o ScalingOptions) Validate() error {
	switch {
	case len(o.Workers) == 0 || !slices.IsSorted(o.Workers) || o.Workers[0] < 1 || o.Workers[len(o.Workers)-1] > maxWorkers:
		return fmt.Errorf("--workers is %v: list ascending numbers of 1..%d, such as 1,2,4", o.Workers, maxWorkers)
	case o.NATSURL == "":
		return errors.New("--nats-url is missing: workers are processes, so give the URL of a NATS server with JetStream and no data of Parley's")
	case o.RedisURL == "":
		return errors.New("--redis-url is missing: workers are processes, so give the URL of a Redis")
	case o.Redis || o.Paused:
		return errors.New("--redis and --paused are not for --workers: they are about a serve that the benchmark starts")
	case o.MaxInFlight < 1 || o.MaxInFlight > 1000:
		return fmt.Errorf("--in-flight is %d: set it to 1..1000", o.MaxInFlight)
	}
	return o.Options.Validate()
}

// Scaling is a table of rows with more and more workers.
type Scaling struct {
	Origin
	SinkDelay   time.Duration `json:"sinkDelayNanoseconds"`
	MaxInFlight int           `json:"maxInFlightOfEachWorker"`
	Rows        []ScalingRow  `json:"rows"`
}

// ScalingRow is one number of workers: the round with the median rate of
// deliveries.
type ScalingRow struct {
	Workers int `json:"workers"`
	Round
}

// RunScaling measures. Progress gets a line a round.
func RunScaling(ctx context.Context, o ScalingOptions, progress io.Writer) (table *Scaling, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	base, err := newField(o.Setup)
	if err != nil {
		return nil, err
	}
	f := &crew{field: *base, options: o, stages: map[string][]*child{}}
	defer f.close(&err)
	if err := f.start(ctx); err != nil {
		return nil, err
	}
	table = &Scaling{Origin: newOrigin(o.Setup), SinkDelay: o.SinkDelay, MaxInFlight: o.MaxInFlight}
	number := 0
	for _, workers := range o.Workers {
		if err := f.grow(ctx, workers); err != nil {
			return nil, err
		}
		var rounds []Round
		for range o.Rounds {
			number++
			r, err := f.round(ctx, number)
			if err != nil {
				return nil, fmt.Errorf("round %d, %d workers: %w", number, workers, err)
			}
			rounds = append(rounds, *r)
			if _, err := fmt.Fprintf(progress, "%d workers: %s\n", workers, r.line()); err != nil {
				return nil, fmt.Errorf("printing the progress: %w", err)
			}
		}
		slices.SortFunc(rounds, func(a, b Round) int { return int(a.DeliveredRate - b.DeliveredRate) })
		table.Rows = append(table.Rows, ScalingRow{Workers: workers, Round: rounds[len(rounds)/2]})
	}
	return table, nil
}

// crew is a field whose pipeline is processes.
type crew struct {
	field
	options ScalingOptions
	env     []string
	target  pipeline
	stages  map[string][]*child // the processes by what they run
}

const (
	ingestCommand   = "ingest"
	botCommand      = "bot-worker"
	deliveryCommand = "delivery-worker"
)

func (f *crew) start(ctx context.Context) (err error) {
	if err := f.startSink(ctx); err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	token := rand.Text() + rand.Text()
	f.env = []string{
		"--nats-url", f.options.NATSURL, "--redis-url", f.options.RedisURL, "--seal-key", base64.StdEncoding.EncodeToString(key),
		"--store-max", "2GiB", "--admin-addr", "127.0.0.1:0", "--log-level", "warn",
	}
	ops, err := f.process(ctx, "ops", "--ops-token", token, "--allow-cidrs", "127.0.0.0/8", "--allow-ports", "any")
	if err != nil {
		return err
	}
	ingest, err := f.process(ctx, ingestCommand, "--public-addr", "127.0.0.1:0", "--channel-backlog-bytes", "0", "--endpoint-backlog-bytes", "0")
	if err != nil {
		return err
	}
	at := ready.File{AdminURL: ops.ready.AdminURL, PublicURL: ingest.ready.PublicURL, OpsToken: token}
	f.target = pipelineAt(f.sink.client, at)
	f.target.token, err = f.target.configure(ctx, f.options.Bot, f.sinkURL(), f.options.MaxInFlight)
	return err
}

// process starts one more process of a service.
func (f *crew) process(ctx context.Context, command string, args ...string) (*child, error) {
	name := fmt.Sprintf("%s-%d", command, len(f.stages[command])+1)
	c, err := f.named(ctx, name, slices.Concat([]string{command}, f.env, args)...)
	if err != nil {
		return nil, err
	}
	f.stages[command] = append(f.stages[command], c)
	return c, nil
}

// spreadWithin bounds the wait until all partitions are with so many workers.
const spreadWithin = time.Minute

// grow adds workers to each stage and waits until each has its share.
func (f *crew) grow(ctx context.Context, workers int) error {
	for len(f.stages[botCommand]) < workers {
		if _, err := f.process(ctx, botCommand); err != nil {
			return err
		}
		if _, err := f.process(ctx, deliveryCommand, "--allow-cidrs", "127.0.0.0/8", "--allow-ports", "any"); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, spreadWithin, fmt.Errorf("%d workers did not get their shares within %s", workers, spreadWithin))
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		spread, err := f.spread(ctx, workers)
		if err != nil || spread {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// spread reports whether every partition is with one of so many workers, and
// each has as many as another, or one more.
func (f *crew) spread(ctx context.Context, workers int) (bool, error) {
	var status struct {
		Owners []struct {
			Members []struct {
				Partitions []int `json:"partitions"`
			} `json:"members"`
			Partitions []json.RawMessage `json:"partitions"`
		} `json:"owners"`
	}
	if err := f.target.ops.do(ctx, http.MethodGet, "/status", nil, &status); err != nil {
		return false, err
	}
	for _, stage := range status.Owners {
		held, least, most := 0, len(stage.Partitions), 0
		for _, m := range stage.Members {
			n := len(m.Partitions)
			held, least, most = held+n, min(least, n), max(most, n)
		}
		if len(stage.Members) != workers || held != len(stage.Partitions) || most-least > 1 {
			return false, nil
		}
	}
	return true, nil
}

func (f *crew) round(ctx context.Context, number int) (*Round, error) {
	processes := map[string]func() usage{sinkName: f.sinkProc.usage, generatorName: ownUsage}
	for command, children := range f.stages {
		processes[command] = func() usage { return usageOfAll(children) }
	}
	l := f.options.load(number)
	l.target, l.token = f.target.url, f.target.token
	return measurement{
		kind: deliveryCommand, load: l, sink: f.sink, processes: processes,
		alive: func() error { return allAlive(f.children) },
	}.run(ctx)
}

// WriteTable prints the table.
func (s *Scaling) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "workers\taccepted/s\tdelivered/s\tratio\tµs ingest\tµs bot\tµs delivery\tarrival ms p50/p90/p99/max\tout of order\tduplicates\tlost\t\n")
	for _, r := range s.Rows {
		fmt.Fprintf(tw, "%d\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f\t%s\t%d\t%d\t%d\t\n",
			r.Workers, r.AcceptedRate, r.DeliveredRate, quotient(r.DeliveredRate, s.Rows[0].DeliveredRate),
			r.CPU[ingestCommand], r.CPU[botCommand], r.CPU[deliveryCommand], r.Latency.line(), r.OrderViolations, r.Duplicates, r.Lost)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	_, err := fmt.Fprintf(w, "%s; the sink takes %s an answer, each worker has at most %d POSTs under way; µs: CPU a message, all processes of a kind\n",
		s.Machine, s.SinkDelay, s.MaxInFlight)
	return err
}

// WriteJSON writes the table as JSON.
func (s *Scaling) WriteJSON(w io.Writer) error { return writeJSON(w, s) }
