package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// IdleOptions say how to measure a serve that has nothing to do.
type IdleOptions struct {
	Setup
	Starts int           // on new data
	Settle time.Duration // between the last start and the measuring
	For    time.Duration
}

// Validate reports the first option that can't work.
func (o IdleOptions) Validate() error {
	switch {
	case o.Starts < 1 || o.Starts > maxRounds:
		return fmt.Errorf("--starts is %d: set it to 1..%d", o.Starts, maxRounds)
	case o.Settle < 0 || o.Settle > maxDuration:
		return fmt.Errorf("--settle is %s: set it to 0..%s", o.Settle, maxDuration)
	case o.For <= 0 || o.For > maxDuration:
		return fmt.Errorf("--length is %s: set it above 0, to at most %s", o.For, maxDuration)
	}
	return o.Setup.Validate()
}

// Idle is what an idle serve takes.
type Idle struct {
	Origin
	SetupReport
	For    string             `json:"for"`
	Starts []time.Duration    `json:"startsNs"` // on new data, to ready; ascending
	Start  time.Duration      `json:"startNs"`  // their median
	Again  time.Duration      `json:"againNs"`  // on the data of a start before
	CPU    map[string]float64 `json:"cpuPercentOfACore"`
	RSS    map[string]int64   `json:"rssBytes"`
}

// RunIdle measures. Progress gets a line a start.
func RunIdle(ctx context.Context, o IdleOptions, progress io.Writer) (report *Idle, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	f, err := newField(o.Setup)
	if err != nil {
		return nil, err
	}
	defer f.close(&err)
	if err := f.startSink(ctx); err != nil {
		return nil, err
	}
	report = &Idle{Origin: newOrigin(o.Setup), SetupReport: o.report(), For: o.For.String()}
	var s *serving
	for range o.Starts {
		if s != nil {
			if err := errors.Join(f.end(s.child), os.RemoveAll(f.dataDir())); err != nil {
				return nil, err
			}
		}
		if s, err = f.serve(ctx); err != nil {
			return nil, err
		}
		report.Starts = append(report.Starts, s.readyAfter)
		if _, err := fmt.Fprintf(progress, "ready after %.0f ms\n", ms(s.readyAfter)); err != nil {
			return nil, fmt.Errorf("printing the progress: %w", err)
		}
	}
	report.Start = median(report.Starts, func(d time.Duration) time.Duration { return d })
	slices.Sort(report.Starts)
	if err := f.end(s.child); err != nil {
		return nil, err
	}
	if s, err = f.again(ctx, s); err != nil {
		return nil, err
	}
	report.Again = s.readyAfter
	return report, report.measure(ctx, s, o)
}

func (i *Idle) measure(ctx context.Context, s *serving, o IdleOptions) error {
	if err := pause(ctx, o.Settle); err != nil {
		return err
	}
	before, start := s.usages(), time.Now()
	if err := pause(ctx, o.For); err != nil {
		return err
	}
	took := time.Since(start)
	i.CPU, i.RSS = map[string]float64{}, map[string]int64{}
	for name, used := range s.usages() {
		i.CPU[name] = 100 * (used.CPU - before[name].CPU).Seconds() / took.Seconds()
		i.RSS[name] = used.RSS
	}
	return s.allAlive()
}

// WriteJSON writes the whole report.
func (i *Idle) WriteJSON(w io.Writer) error { return writeJSON(w, i) }

// WriteTable writes what there is to know.
func (i *Idle) WriteTable(w io.Writer) error {
	t := newSheet("an idle serve", "")
	t.row("start to ready on new data, ms, median", fmt.Sprintf("%.0f", ms(i.Start)))
	t.row("the longest of "+fmt.Sprint(len(i.Starts)), fmt.Sprintf("%.0f", ms(i.Starts[len(i.Starts)-1])))
	t.row("on data that was there", fmt.Sprintf("%.0f", ms(i.Again)))
	for _, name := range pipelineProcesses(i.CPU) {
		t.row("CPU % of a core, "+name, fmt.Sprintf("%.2f", i.CPU[name]))
	}
	for _, name := range pipelineProcesses(i.CPU) {
		t.row("RSS MiB, "+name, fmt.Sprintf("%.0f", mib(i.RSS[name])))
	}
	return t.write(w, i.Machine+"; CPU over "+i.For+"; "+i.line())
}
