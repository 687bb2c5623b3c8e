package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// BulkheadOptions say how to measure what an endpoint that hangs costs the
// others: two channels get the same open loop, and in every other round the
// second one's endpoint hangs on each request.
type BulkheadOptions struct {
	Setup
	Rate          int           // messages a second of each channel
	Connections   int           // requests under way at once, of each channel
	Conversations int           // of each channel
	Duration      time.Duration // of a round's sending
	Hang          time.Duration // how long the endpoint keeps a request
	Rounds        int           // of each kind
}

// Validate reports the first option that can't work.
func (o BulkheadOptions) Validate() error {
	switch {
	case o.Rate < 1:
		return fmt.Errorf("--rate is %d: set it to 1..%d messages a second of each channel", o.Rate, maxRate)
	case o.Duration <= 0:
		return fmt.Errorf("--duration is %s: set it above 0, to at most %s", o.Duration, maxDuration)
	case o.Hang <= 0 || o.Hang > maxSinkDelay:
		return fmt.Errorf("--hang is %s: set it above 0, to at most %s", o.Hang, maxSinkDelay)
	}
	return o.channel().Validate()
}

// channel is the load of one channel.
func (o BulkheadOptions) channel() Options {
	return Options{
		Setup: o.Setup, Connections: o.Connections, Conversations: o.Conversations, Duration: o.Duration, Rounds: o.Rounds, Rate: o.Rate,
	}
}

// Bulkhead is what a channel sees of a neighbour whose endpoint hangs.
type Bulkhead struct {
	Origin
	SetupReport
	Rate          int             `json:"ratePerSecond"` // of each channel
	Conversations int             `json:"conversations"` // the same
	Duration      string          `json:"duration"`
	Hang          string          `json:"hang"`
	Rounds        []BulkheadRound `json:"rounds"`
	Healthy       Summary         `json:"healthy"`
	Hanging       Summary         `json:"hanging"`
	Ratio         float64         `json:"ratio"` // of the median arrival, hanging to healthy
}

// BulkheadRound is one round, of the channel whose endpoint is well, on data of
// its own.
type BulkheadRound struct {
	Hanging           bool `json:"hanging"` // the neighbour's endpoint
	NeighbourAccepted int  `json:"neighbourAccepted"`
	NeighbourArrived  int  `json:"neighbourArrived"` // at its endpoint, by the round's end
	Round
}

// neighbourID names the neighbour's channel and endpoint.
const neighbourID = "neighbour"

// RunBulkhead measures. Progress gets a line a round.
func RunBulkhead(ctx context.Context, o BulkheadOptions, progress io.Writer) (report *Bulkhead, err error) {
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
	report = &Bulkhead{
		Origin: newOrigin(o.Setup), SetupReport: o.report(), Rate: o.Rate, Conversations: o.Conversations,
		Duration: o.Duration.String(), Hang: o.Hang.String(),
	}
	for number := range o.Rounds {
		for _, hanging := range []bool{false, true} {
			r, err := f.bulkheadRound(ctx, o, hanging)
			if err != nil {
				return nil, fmt.Errorf("the neighbour %s: %w", stateOf(hanging), err)
			}
			report.Rounds = append(report.Rounds, *r)
			if _, err := fmt.Fprintf(progress, "round %d of %d, the neighbour %s: arrival ms p50/p90/p99/max %s, %s\n",
				number+1, o.Rounds, stateOf(hanging), r.Latency.line(), r.line()); err != nil {
				return nil, fmt.Errorf("printing the progress: %w", err)
			}
		}
	}
	report.summarise()
	return report, nil
}

func stateOf(hanging bool) string {
	if hanging {
		return "hangs"
	}
	return "is well"
}

// bulkheadRound sends to both channels of a new serve.
func (f *field) bulkheadRound(ctx context.Context, o BulkheadOptions, hanging bool) (*BulkheadRound, error) {
	delay := o.SinkDelay
	if hanging {
		delay = o.Hang
	}
	proc, err := f.named(ctx, "bench-sink-"+neighbourID, "bench-sink", "--delay", delay.String())
	if err != nil {
		return nil, err
	}
	sink := &sinkClient{base: proc.ready.PublicURL, client: newClient(1), stall: drainStall}
	s, err := f.serve(ctx)
	if err != nil {
		return nil, err
	}
	token, err := s.addChannel(ctx, neighbourID, proc.ready.PublicURL+"/", 0)
	if err != nil {
		return nil, err
	}
	f.rounds++
	own := o.channel().load(f.rounds)
	other := own
	other.target, other.token = channelURL(s.ready, neighbourID), token
	if err := sink.begin(ctx, other.round, other.conversations); err != nil {
		return nil, err
	}
	r := &BulkheadRound{Hanging: hanging}
	g, sending := errgroup.WithContext(ctx)
	g.Go(func() error {
		n, err := other.run(sending)
		r.NeighbourAccepted = n.Accepted
		return err
	})
	g.Go(func() error {
		measured, err := f.round(sending, own, s.target(), false)
		if err == nil {
			r.Round = *measured
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, s.allAlive())
	}
	stats, err := sink.stats(ctx)
	if err != nil {
		return nil, err
	}
	r.NeighbourArrived = stats.Unique
	return r, errors.Join(f.clear(s), f.end(proc))
}

func (b *Bulkhead) summarise() {
	of := func(hanging bool) Summary {
		var rounds []Round
		for _, r := range b.Rounds {
			if r.Hanging == hanging {
				rounds = append(rounds, r.Round)
			}
		}
		return summaryOf(rounds)
	}
	b.Healthy, b.Hanging = of(false), of(true)
	b.Ratio = quotient(float64(b.Hanging.Latency.P50), float64(b.Healthy.Latency.P50))
}

// WriteJSON writes the whole report.
func (b *Bulkhead) WriteJSON(w io.Writer) error { return writeJSON(w, b) }

// WriteTable writes the medians side by side.
func (b *Bulkhead) WriteTable(w io.Writer) error {
	t := newSheet("the neighbour's endpoint", "is well", "hangs")
	figures := func(name, form string, of func(s Summary) float64) {
		t.figures(name, form, []cell{{of(b.Healthy), true}, {of(b.Hanging), true}})
	}
	figures("arrival ms, p50", "%.2f", func(s Summary) float64 { return ms(s.Latency.P50) })
	figures("p90", "%.2f", func(s Summary) float64 { return ms(s.Latency.P90) })
	figures("p99", "%.2f", func(s Summary) float64 { return ms(s.Latency.P99) })
	figures("max", "%.1f", func(s Summary) float64 { return ms(s.Latency.Max) })
	figures("delivered/s", "%.0f", func(s Summary) float64 { return s.DeliveredRate })
	count := func(name string, of func(s Summary) int) {
		t.row(name, strconv.Itoa(of(b.Healthy)), strconv.Itoa(of(b.Hanging)))
	}
	count("delivered", func(s Summary) int { return s.Delivered })
	count("due, not sent", func(s Summary) int { return s.Unsent })
	count("refused, or no answer", func(s Summary) int { return s.Refused + s.Failed })
	count("duplicates", func(s Summary) int { return s.Duplicates })
	count("out of order", func(s Summary) int { return s.OrderViolations })
	count("lost", func(s Summary) int { return s.Lost })
	accepted, arrived := b.neighbour()
	t.row("the neighbour's, accepted", strconv.Itoa(accepted[0]), strconv.Itoa(accepted[1]))
	t.row("and arrived at the end", strconv.Itoa(arrived[0]), strconv.Itoa(arrived[1]))
	return t.write(w, fmt.Sprintf("%s; each channel %d messages a second for %s, %d conversations; the neighbour hangs for %s; %s",
		b.Machine, b.Rate, b.Duration, b.Conversations, b.Hang, b.line()))
}

// neighbour sums what became of its messages: where it was well, then where it
// hung.
func (b *Bulkhead) neighbour() (accepted, arrived [2]int) {
	for _, r := range b.Rounds {
		i := 0
		if r.Hanging {
			i = 1
		}
		accepted[i] += r.NeighbourAccepted
		arrived[i] += r.NeighbourArrived
	}
	return accepted, arrived
}
