package bench

import (
	"context"
	"fmt"
	"io"
)

// The two that are compared.
const (
	KindRelay    = "relay"
	KindPipeline = "pipeline"
)

// target is one of the two with where to send, and the processes that do its
// work.
type target struct {
	kind       string
	url, token string
	processes  []*child
}

// Run measures. Progress gets a line a round.
func Run(ctx context.Context, o Options, progress io.Writer) (report *Report, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	f, err := newField(o.Setup)
	if err != nil {
		return nil, err
	}
	defer f.close(&err)
	targets, err := f.targets(ctx, o)
	if err != nil {
		return nil, err
	}
	report = newReport(o)
	for number := 1; number <= o.Rounds; number++ {
		for _, t := range targets {
			r, err := f.round(ctx, o.load(len(report.Rounds)+1), t, o.Paused)
			if err != nil {
				return nil, fmt.Errorf("round %d of the %s: %w", number, t.kind, err)
			}
			report.Rounds = append(report.Rounds, *r)
			if _, err := fmt.Fprintf(progress, "round %d of %d, %s: %s\n", number, o.Rounds, t.kind, r.line()); err != nil {
				return nil, fmt.Errorf("printing the progress: %w", err)
			}
		}
	}
	report.summarise()
	return report, nil
}

// load is a round's.
func (o Options) load(round int) load {
	return load{
		round: round, connections: o.Connections, conversations: o.Conversations, messages: o.Messages,
		duration: o.Duration, size: o.Body, rate: o.Rate, batch: o.Batch,
	}
}

// targets starts what is measured.
func (f *field) targets(ctx context.Context, o Options) ([]target, error) {
	if err := f.startSink(ctx); err != nil {
		return nil, err
	}
	var targets []target
	for _, kind := range o.kinds() {
		if kind == KindRelay {
			relay, err := f.child(ctx, "bench-relay", "--target", f.sinkURL(), "--connections", fmt.Sprint(o.Connections))
			if err != nil {
				return nil, err
			}
			targets = append(targets, target{kind: kind, url: relay.ready.PublicURL + "/", processes: []*child{relay}})
			continue
		}
		s, err := f.serve(ctx, o.serveArgs()...)
		if err != nil {
			return nil, err
		}
		targets = append(targets, s.target())
	}
	return targets, nil
}

// serveArgs are the arguments of serve that the options call for.
func (o Options) serveArgs() []string {
	if !o.Paused {
		return nil
	}
	return append([]string{"--paused"}, unbounded...)
}
