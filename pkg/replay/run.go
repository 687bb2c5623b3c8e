package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

const (
	// lanesAtOnce is how many lanes of a job are worked on at once.
	lanesAtOnce = 64
	// refusedPause is the pause after the broker has refused something.
	refusedPause = 500 * time.Millisecond
	// maxLetters bounds what a job remembers, 40 bytes of each.
	maxLetters = 5_000_000
)

// run is a job at work in this process.
type run struct {
	runner *Runner
	ctx    context.Context //nolint:containedctx // lives exactly as long as the run
	stop   context.CancelCauseFunc
	log    *zap.Logger
	limit  *rate.Limiter // nil: as fast as it goes
	job    Job           // as it was claimed

	counted           atomic.Bool
	total, done, left atomic.Uint64
	gone              atomic.Uint64
	refused           atomic.Pointer[string] // why it makes no progress now

	mu  sync.Mutex
	rec *record // what this process has written last
}

// errStopped ends a run whose job was paused or cancelled, or is another's.
var errStopped = errors.New("the job was stopped")

func newRun(ctx context.Context, r *Runner, rec *record) *run {
	x := &run{runner: r, job: rec.Job, rec: rec, log: r.Log.With(zap.String("replay", rec.ID))}
	x.ctx, x.stop = context.WithCancelCause(ctx)
	if rec.Rate > 0 {
		x.limit = rate.NewLimiter(rate.Limit(rec.Rate), max(1, rec.Rate/10))
	}
	x.counted.Store(rec.Counted)
	for to, n := range map[*atomic.Uint64]uint64{&x.total: rec.Total, &x.done: rec.Done, &x.left: rec.Left, &x.gone: rec.Gone} {
		to.Store(n)
	}
	return x
}

// heard is told what is stored of the job.
func (x *run) heard(rec *record) {
	if rec.State != Running || rec.Runner != x.runner.Instance {
		x.stop(errStopped)
	}
}

func (x *run) run() {
	defer x.stop(nil)
	x.log.Info("a replay begins", zap.String("action", string(x.job.Action)), zap.String("by", x.job.By))
	var renewing sync.WaitGroup
	worked := make(chan struct{})
	renewing.Go(func() { x.renew(worked) })
	err := x.work()
	close(worked)
	renewing.Wait()
	if x.ctx.Err() != nil {
		x.leave()
		return
	}
	x.end(err)
}

// renew says now and then how far the run has come, and that it is alive.
func (x *run) renew(until <-chan struct{}) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-until:
			return
		case <-x.ctx.Done():
			return
		case <-tick.C:
		}
		x.write(x.ctx, func(*Job) {})
	}
}

// write writes the run's progress, unless somebody else has written: then the run
// ends, or goes on from there the next time.
func (x *run) write(ctx context.Context, change func(*Job)) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	next := *x.rec
	next.Progress, next.Error = x.progress(), ""
	if why := x.refused.Load(); why != nil {
		next.Error = *why
	}
	change(&next.Job)
	err := x.runner.Store.put(ctx, &next)
	switch {
	case err == nil:
		x.rec = &next
		return true
	case errors.Is(err, broker.ErrConflict):
		x.stop(errStopped)
	case ctx.Err() == nil:
		x.log.Warn("the progress of a replay was not written", zap.Error(err))
	}
	return false
}

func (x *run) progress() Progress {
	return Progress{Counted: x.counted.Load(), Total: x.total.Load(), Done: x.done.Load(), Left: x.left.Load(), Gone: x.gone.Load()}
}

// end writes what became of the job.
func (x *run) end(err error) {
	state := Done
	if err != nil {
		state = Failed
	}
	ended := func(j *Job) {
		if j.State, j.EndedAt, j.Runner = state, time.Now().UTC(), ""; err != nil {
			j.Error = err.Error()
		}
	}
	for !x.write(x.ctx, ended) {
		if !sleep(x.ctx, refusedPause) {
			x.leave()
			return
		}
	}
	p := x.progress()
	x.log.Info("a replay has ended", zap.String("state", string(state)), zap.Uint64("done", p.Done), zap.Uint64("left", p.Left), zap.Uint64("gone", p.Gone), zap.Error(err))
}

// leave gives a job back, with what was done of it: it may be paused, or another's
// by now, who counts on from there.
func (x *run) leave() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.ctx), beat)
	defer cancel()
	p := x.progress()
	_, err := x.runner.Store.change(ctx, x.job.ID, func(r *record) error {
		if r.Runner != x.runner.Instance {
			return errNoChange
		}
		r.Runner, r.Progress = "", p
		return nil
	})
	if err != nil && !errors.Is(err, errNoChange) {
		x.log.Warn("a replay that was stopped was not given back: another process takes it over later", zap.Error(err))
	}
}

// entry is a letter, or a message in the journal, that is to be handled.
type entry struct {
	place chat.Ordinal
	seq   uint64 // of the letter, or of the turn in the journal
	lane  int32
	index int32 // among the turn's messages
}

// work handles what the job's filter finds.
func (x *run) work() error {
	entries, err := x.collect()
	if err != nil {
		return err
	}
	x.begin(uint64(len(entries)))
	x.write(x.ctx, func(*Job) {})
	g, ctx := errgroup.WithContext(x.ctx)
	g.SetLimit(lanesAtOnce)
	for begin, end := 0, 0; begin < len(entries) && ctx.Err() == nil; begin = end {
		for end = begin; end < len(entries) && entries[end].lane == entries[begin].lane; end++ {
		}
		letters := entries[begin:end]
		g.Go(func() error { return x.handleLane(ctx, letters) })
	}
	return g.Wait()
}

// begin notes how many letters were found; of a job that goes on, what is not there
// any more is done, also what was not noted.
func (x *run) begin(found uint64) {
	if x.job.Delivered != nil { // all of it is sent once more, and its lanes know what they have had
		x.done.Store(0)
		x.gone.Store(0)
		x.total.Store(found + x.left.Load())
		x.counted.Store(true)
		return
	}
	found += x.left.Load() + x.gone.Load()
	if x.job.Counted && x.job.Total >= found {
		x.total.Store(x.job.Total)
		x.done.Store(x.job.Total - found)
	} else {
		x.total.Store(found + x.done.Load())
	}
	x.counted.Store(true)
}

// collect lists what is to be handled by lane, that of a lane in order; the lanes
// are in order of what was found first.
func (x *run) collect() (entries []entry, err error) {
	for {
		if x.job.Delivered != nil {
			entries, err = x.delivered()
		} else {
			entries, err = x.letters()
		}
		if !errors.Is(err, broker.ErrUnavailable) || !x.pause(err) {
			break
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.lane, b.lane), cmp.Compare(a.place.InputAt, b.place.InputAt),
			cmp.Compare(a.place.Epoch, b.place.Epoch), cmp.Compare(a.place.Counter, b.place.Counter), cmp.Compare(a.seq, b.seq))
	})
	return entries, err
}

// letters lists what the job's filter finds.
func (x *run) letters() (entries []entry, err error) {
	known := map[string]int32{}
	x.left.Store(0)
	err = find(x.ctx, x.runner.Letters, &x.job, func(l deadletter.Letter) error {
		place, err := sendable(&x.job, &l)
		if err != nil {
			x.left.Add(1)
			x.count(resultLeft)
			return nil
		}
		if len(entries) == maxLetters {
			return fmt.Errorf("the filter finds more than %d letters: narrow it", maxLetters)
		}
		name := string(l.Stage) + " " + l.Destination + " " + l.ChannelID + " " + l.ConversationID
		id, ok := known[name]
		if !ok {
			id = int32(len(known)) //nolint:gosec // at most maxLetters
			known[name] = id
		}
		entries = append(entries, entry{place: place, seq: l.Seq, lane: id})
		return nil
	})
	return entries, err
}

// find visits the letters of a job, in the order in which they died.
func find(ctx context.Context, letters Letters, j *Job, visit func(deadletter.Letter) error) error {
	if j.UpTo == 0 { // there were none
		return nil
	}
	if len(j.Messages) == 0 {
		return letters.Scan(ctx, j.Filter, 0, j.UpTo, visit)
	}
	for _, id := range j.Messages {
		found, err := letters.Get(ctx, id)
		if err != nil && !errors.Is(err, deadletter.ErrNotFound) {
			return err
		}
		for _, l := range found {
			if l.Seq <= j.UpTo && j.Filter.Matches(&l) {
				if err := visit(l); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// sendable returns a letter's place among those of its lane, or why it is left. One
// that can't be decoded can be discarded, unless the filter asks for what that has.
func sendable(j *Job, l *deadletter.Letter) (place chat.Ordinal, err error) {
	if l.Undecodable != nil && (j.Action == Replay || j.Filter.Reason != "" || j.Filter.Status != 0) {
		return place, l.Undecodable
	}
	if j.Action == Discard {
		return place, nil
	}
	if l.Stage == chat.StageUser {
		m, err := wire.DecodeUserMessage(l.Data)
		if err != nil {
			return place, err
		}
		return chat.Ordinal{Counter: l.Seq, InputAt: m.AcceptedAt.UnixMilli()}, nil
	}
	m, err := wire.DecodeBotMessage(l.Data)
	if err != nil {
		return place, err
	}
	if m.Ordinal.IsZero() {
		return chat.Ordinal{Counter: l.Seq, InputAt: m.CreatedAt.UnixMilli()}, nil
	}
	return m.Ordinal, nil
}

// handleLane handles the letters of one lane, one after another.
func (x *run) handleLane(ctx context.Context, letters []entry) error {
	for i := range letters {
		for {
			if x.limit != nil {
				if err := x.limit.Wait(ctx); err != nil {
					return err
				}
			}
			err := x.handle(ctx, &letters[i])
			if err == nil {
				break
			}
			if !x.pause(err) {
				return err
			}
		}
		if x.refused.Load() != nil {
			x.refused.Store(nil)
		}
	}
	return nil
}

// pause waits after an error, unless the run has ended.
func (x *run) pause(err error) bool {
	if x.ctx.Err() != nil {
		return false
	}
	x.refused.Store(new(err.Error()))
	return sleep(x.ctx, refusedPause)
}

// handle handles one letter: it is stored again before it is removed.
func (x *run) handle(ctx context.Context, e *entry) error {
	if x.job.Delivered != nil {
		return x.resend(ctx, e)
	}
	if x.job.Action == Discard {
		if err := x.runner.Letters.Remove(ctx, e.seq); err != nil {
			return err
		}
		x.done.Add(1)
		x.count(resultDiscarded)
		return nil
	}
	l, err := x.runner.Letters.At(ctx, e.seq)
	if errors.Is(err, deadletter.ErrNotFound) {
		x.gone.Add(1)
		x.count(resultGone)
		return nil
	}
	if err != nil {
		return err
	}
	to := ""
	if l.Stage == chat.StageBot {
		to = l.Destination
	}
	if err := x.send(ctx, l.Stage, l.ChannelID, l.ConversationID, l.Data, to, e.place); err != nil {
		return err
	}
	if err := x.runner.Letters.Remove(ctx, e.seq); err != nil {
		return err
	}
	x.done.Add(1)
	x.count(resultReplayed)
	return nil
}

// send stores a message in its work queue.
func (x *run) send(ctx context.Context, stage chat.Stage, channelID, conversationID string, data []byte, to string, place chat.Ordinal) error {
	key := chat.KeyOf(channelID, conversationID)
	replay := lane.Replay{ID: x.job.ID, To: to, Place: place}
	_, err := x.runner.Publisher.Publish(ctx, broker.Message{
		Subject: topology.HotSubject(stage, key.Partition(x.runner.Partitions), channelID, key), Data: data, Headers: replay.Headers(),
	})
	return err
}

func (x *run) count(r result) { x.runner.results[r].Inc() }

// sleep waits and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
