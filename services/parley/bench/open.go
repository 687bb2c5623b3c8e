package bench

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// maxOutstanding bounds an open loop's messages that were due and have no
	// answer yet.
	maxOutstanding = 10_000
	// timerGrain is how late the system's timers are at the worst. So much isn't
	// the pipeline's fault, and doesn't count into a latency.
	timerGrain = time.Millisecond
	// openGrace is how long after its end an open loop still sends what was due
	// before.
	openGrace = time.Second
)

// job is a message of an open loop.
type job struct {
	conversation, sequence int
	due                    time.Time
}

// openLoop sends each message when it is due, whatever became of the others;
// only its own conversation's message before must have been answered.
type openLoop struct {
	load  load
	start time.Time
	room  chan struct{} // one each outstanding
	ready chan job

	mu     sync.Mutex
	behind map[int][]job // by conversation that has a message under way
}

// open sends at the load's rate. It returns how many messages it had no room
// for: due messages that were still waiting to be sent at the end.
func (l load) open(ctx context.Context, senders []*sender) (unsent int, err error) {
	o := &openLoop{
		load: l, start: time.Now(), behind: map[int][]job{},
		room: make(chan struct{}, maxOutstanding), ready: make(chan job, maxOutstanding),
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range senders {
		group.Go(func() error { return o.work(ctx, s) })
	}
	group.Go(func() (err error) {
		defer close(o.ready)
		unsent, err = o.schedule(ctx)
		return err
	})
	err = group.Wait()
	return unsent, err
}

// total is how many messages become due.
func (l load) total() int {
	n := int(l.duration.Seconds() * float64(l.rate))
	switch {
	case l.duration == 0:
		return l.messages
	case l.messages == 0:
		return n
	}
	return min(n, l.messages)
}

// schedule hands out each message when it is due.
func (o *openLoop) schedule(ctx context.Context) (unsent int, err error) {
	total := o.load.total()
	for i := range total {
		due := o.start.Add(time.Duration(float64(i) / float64(o.load.rate) * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			if err := pause(ctx, wait); err != nil {
				return 0, err
			}
			due = due.Add(min(max(0, time.Since(due)), timerGrain))
		}
		select {
		case o.room <- struct{}{}:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		if o.load.duration > 0 && time.Since(o.start) > o.load.duration+openGrace {
			return total - i, nil
		}
		o.submit(job{conversation: i % o.load.conversations, sequence: i / o.load.conversations, due: due})
	}
	return 0, nil
}

// submit makes a job ready, or puts it behind the one of its conversation.
func (o *openLoop) submit(j job) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if queue, busy := o.behind[j.conversation]; busy {
		o.behind[j.conversation] = append(queue, j)
		return
	}
	o.behind[j.conversation] = nil
	o.ready <- j // has room for all that are outstanding
}

// next takes the job that stands behind one that is done.
func (o *openLoop) next(done job) (j job, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	queue := o.behind[done.conversation]
	if len(queue) == 0 {
		delete(o.behind, done.conversation)
		return j, false
	}
	o.behind[done.conversation] = queue[1:]
	return queue[0], true
}

// work sends what is ready, and what stands behind it.
func (o *openLoop) work(ctx context.Context, s *sender) error {
	for j := range o.ready {
		for more := true; more; j, more = o.next(j) {
			s.body = s.body[:0]
			s.add(j.conversation, j.sequence, j.due)
			if _, err := s.send(ctx, 1, j.due); err != nil {
				return err
			}
			<-o.room
		}
	}
	return nil
}
