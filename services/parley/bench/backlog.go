package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// BacklogOptions say how to measure what a backlog costs: a paused serve is
// filled, and started again to drain it.
type BacklogOptions struct {
	Setup
	Backlogs      []int // messages that wait; the ratio is the last one's to the first one's
	Conversations int   // that they are of
	Sessions      int   // conversations that have had a turn before; 0: none
	Measured      int   // messages of each drain that are measured; 0: all
	Rounds        int   // of each backlog
}

// Validate reports the first option that can't work.
func (o BacklogOptions) Validate() error {
	if len(o.Backlogs) == 0 {
		return errors.New("--backlog is empty: list numbers of messages, such as 10000,1000000")
	}
	for _, n := range o.Backlogs {
		if n < 1 || n > maxMessages {
			return fmt.Errorf("--backlog has %d: set it to 1..%d", n, maxMessages)
		}
	}
	switch {
	case o.Conversations < fillConnections || o.Conversations > maxConversations:
		return fmt.Errorf("--conversations is %d: set it to %d..%d", o.Conversations, fillConnections, maxConversations)
	case o.Sessions != 0 && (o.Sessions < fillConnections || o.Sessions > maxConversations):
		return fmt.Errorf("--sessions is %d: set it to %d..%d, or to 0 for none", o.Sessions, fillConnections, maxConversations)
	case o.Measured < 0 || o.Measured > maxMessages:
		return fmt.Errorf("--measured is %d: set it to 1..%d, or to 0 for all", o.Measured, maxMessages)
	case o.Rounds < 1 || o.Rounds > maxRounds:
		return fmt.Errorf("--rounds is %d: set it to 1..%d", o.Rounds, maxRounds)
	}
	return o.Setup.Validate()
}

// BacklogRound is what one filling and draining came to.
type BacklogRound struct {
	Waiting         int                `json:"waiting"`
	AcceptedRate    float64            `json:"acceptedPerSecond"`
	Start           time.Duration      `json:"startNs"`         // with so many waiting, to ready
	WaitingRSS      map[string]int64   `json:"waitingRSSBytes"` // at the end of the filling
	Measured        int                `json:"measured"`        // deliveries
	Handled         int                `json:"handled"`         // by the bot stage in the same time
	Parked          int                `json:"parked"`          // at the end of it
	DeliveredRate   float64            `json:"deliveredPerSecond"`
	CPU             map[string]float64 `json:"cpuMicrosecondsPerMessage"` // each stage's share of a message counts half
	PeakRSS         map[string]int64   `json:"peakRSSBytes"`              // since that start
	Duplicates      int                `json:"duplicates"`
	OrderViolations int                `json:"orderViolations"`
}

// RunBacklog measures. Progress gets a line a step.
func RunBacklog(ctx context.Context, o BacklogOptions, progress io.Writer) (report *Backlog, err error) {
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
	report = newBacklog(o)
	for number := range o.Rounds {
		for _, waiting := range o.Backlogs {
			r, err := f.backlogRound(ctx, o, waiting)
			if err != nil {
				return nil, fmt.Errorf("%d waiting: %w", waiting, err)
			}
			report.Rounds = append(report.Rounds, *r)
			if _, err := fmt.Fprintf(progress, "round %d of %d, %s\n", number+1, o.Rounds, r.line()); err != nil {
				return nil, fmt.Errorf("printing the progress: %w", err)
			}
		}
	}
	report.summarise()
	return report, nil
}

func (r *BacklogRound) line() string {
	return fmt.Sprintf("%d waiting: %.0f accepted/s, %.0f MiB, ready after %.0f ms, %.0f delivered/s, %.0f µs CPU a message, %d duplicates, %d out of order",
		r.Waiting, r.AcceptedRate, mib(r.WaitingRSS[serveName]), ms(r.Start), r.DeliveredRate, r.CPU[KindPipeline], r.Duplicates, r.OrderViolations)
}

// backlogRound fills and drains, on data of its own.
func (f *field) backlogRound(ctx context.Context, o BacklogOptions, waiting int) (*BacklogRound, error) {
	former, err := f.sessions(ctx, o.Sessions)
	if err != nil {
		return nil, err
	}
	paused := append([]string{"--paused"}, unbounded...)
	var s *serving
	if former == nil {
		s, err = f.serve(ctx, paused...)
	} else {
		s, err = f.again(ctx, former, paused...)
	}
	if err != nil {
		return nil, err
	}
	filled, err := f.fill(ctx, s, waiting, o.Conversations)
	if err != nil {
		return nil, err
	}
	r := &BacklogRound{Waiting: waiting, AcceptedRate: rate(filled.Accepted, filled.Took), WaitingRSS: map[string]int64{}}
	for name, u := range s.usages() {
		r.WaitingRSS[name] = u.RSS
	}
	if err := f.end(s.child); err != nil {
		return nil, err
	}
	if s, err = f.again(ctx, s, unbounded...); err != nil {
		return nil, err
	}
	r.Start = s.readyAfter
	if err := f.measureDrain(ctx, s, o.Measured, r); err != nil {
		return nil, err
	}
	return r, f.clear(s)
}

// sessions makes sessions by a turn each, and ends the serve that did; nil
// where none are wanted.
func (f *field) sessions(ctx context.Context, n int) (*serving, error) {
	if n == 0 {
		return nil, nil
	}
	s, err := f.serve(ctx, unbounded...)
	if err != nil {
		return nil, err
	}
	if _, err := f.fill(ctx, s, n, n); err != nil {
		return nil, fmt.Errorf("making %d sessions: %w", n, err)
	}
	if _, err := f.sink.await(ctx, n, s.allAlive); err != nil {
		return nil, fmt.Errorf("making %d sessions: %w", n, err)
	}
	return s, f.end(s.child)
}

// fillConnections is how many batches are under way at once while a backlog is
// made.
const fillConnections = 8

// fill sends n messages of a new round in batches; all must be accepted.
func (f *field) fill(ctx context.Context, s *serving, n, conversations int) (sent, error) {
	f.rounds++
	l := load{
		target: s.url, token: s.token, round: f.rounds, connections: fillConnections, conversations: conversations,
		messages: n, size: f.setup.Body, batch: maxBatch,
	}
	if err := f.sink.begin(ctx, l.round, conversations); err != nil {
		return sent{}, err
	}
	filled, err := l.run(ctx)
	if err != nil {
		return filled, errors.Join(err, s.allAlive())
	}
	if filled.Accepted < n {
		return filled, fmt.Errorf("only %d of %d messages were accepted: %d were refused, %d got no answer", filled.Accepted, n, filled.Refused, filled.Failed)
	}
	return filled, nil
}

// clear ends a serve, and what it left.
func (f *field) clear(s *serving) error {
	err := f.end(s.child)
	if f.redis != nil {
		err = errors.Join(err, f.end(f.redis))
		f.redis, f.redisURL = nil, f.setup.RedisURL
	}
	return errors.Join(err, os.RemoveAll(f.dataDir()))
}

// moment is how far a drain has come.
type moment struct {
	at        time.Time
	delivered int
	waiting   int // in front of the bot stage
	parked    int // in front of both
	used      map[string]usage
}

// measureDrain measures n deliveries from the first on, or all of the rest.
func (f *field) measureDrain(ctx context.Context, s *serving, n int, r *BacklogRound) error {
	if n == 0 {
		n = r.Waiting
	}
	if _, err := f.sink.await(ctx, 1, s.allAlive); err != nil {
		return err
	}
	begin, _, err := f.moment(ctx, s)
	if err != nil {
		return err
	}
	if _, err := f.sink.await(ctx, min(begin.delivered+n, r.Waiting), s.allAlive); err != nil {
		return err
	}
	end, stats, err := f.moment(ctx, s)
	if err != nil {
		return err
	}
	r.Measured, r.Handled = end.delivered-begin.delivered, begin.waiting-end.waiting
	r.Parked = end.parked
	r.DeliveredRate = rate(r.Measured, end.at.Sub(begin.at))
	r.CPU, r.PeakRSS = map[string]float64{}, map[string]int64{}
	for name, used := range end.used {
		// The bot stage runs ahead of the deliveries: what it did for messages
		// that were not measured is not theirs.
		r.CPU[name] = microseconds(used.CPU-begin.used[name].CPU, (r.Measured+r.Handled)/2)
		r.PeakRSS[name] = used.PeakRSS
	}
	r.Duplicates, r.OrderViolations = stats.Duplicates, stats.OrderViolations
	return nil
}

func (f *field) moment(ctx context.Context, s *serving) (m moment, stats SinkStats, err error) {
	user, bot, err := s.status(ctx)
	if err != nil {
		return m, stats, errors.Join(err, s.allAlive())
	}
	if stats, err = f.sink.stats(ctx); err != nil {
		return m, stats, err
	}
	return moment{
		at: time.Now(), delivered: stats.Unique, waiting: user.Waiting + user.Parked.Messages,
		parked: user.Parked.Messages + bot.Parked.Messages, used: s.usages(),
	}, stats, nil
}
