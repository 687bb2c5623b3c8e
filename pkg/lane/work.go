package lane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

const (
	// closedPoll is how often a lane looks again at a closed destination that
	// nobody has woken it for.
	closedPoll = 5 * time.Minute
	// stallPause is the pause before a step that the broker refused.
	stallPause = time.Second
	// keptAttempts is how many attempts a message's history keeps, the latest.
	keptAttempts = 20
)

// step takes a lane one message further, or does what it needs before that; a
// parked one by as many messages as were read together.
func (s *shard) step(ctx context.Context, l *lane) {
	until := time.Now().Add(stint)
	s.stepOnce(ctx, l)
	for s.goesOn(l, until) {
		s.stepOnce(ctx, l)
	}
	l.ahead = nil
}

func (s *shard) stepOnce(ctx context.Context, l *lane) {
	if s.fetching.Err() != nil {
		return
	}
	policy := s.policyOf(l)
	closed := policy.Closed != ""
	it, brought := l.hand, l.brought
	l.brought = false
	if it != nil {
		it.ends = it.span().end(policy)
		l.looked, l.ends = true, it.ends
		if !s.storeOrTry(ctx, l, it) {
			return
		}
	}
	if closed && it == nil && s.commanded(l) == nil && s.leftShut(l, policy, time.Now()) {
		s.shutLane(l, policy)
		return
	}
	if it == nil {
		if it = s.next(ctx, l); it == nil {
			s.eraseRest(ctx, l)
			return
		}
		it.ends = it.span().end(policy)
		l.looked, l.ends = true, it.ends
	}
	if s.obey(ctx, l, it) {
		return
	}
	now := time.Now()
	state := l.stateOf(it)
	it.superseded = s.isSuperseded(ctx, l, it, policy, now)
	switch {
	case it.ended(state, now):
		s.handle(ctx, l, it, policy)
	case state != nil && now.Before(state.Due) && (!brought || closed):
		s.backOff(l, it.wakeAt(state), policy.Circuit)
	case closed && it == l.hand:
		s.waitUntil(l, now.Add(stallPause))
	case closed:
		if err := s.removeSettled(ctx, l); err != nil { // what operators see is what waits
			s.stall(l, err)
			return
		}
		l.seen = new(it.span())
		s.shutLane(l, policy)
	default:
		if l.shut {
			l.shut, l.opened = false, now
		}
		if l.mayAttempt() { // else it stands in line again
			s.handle(ctx, l, it, policy)
		}
	}
}

// mayAttempt reports whether the destination's rate, if it has one, allows an
// attempt.
func (l *lane) mayAttempt() bool {
	if l.paced && !l.allowed {
		l.allowed = l.dest.gate.again()
	}
	return !l.paced || l.allowed
}

// policyOf is how a lane is to be treated now: as its destination is, and closed
// where its group is paused.
func (s *shard) policyOf(l *lane) Policy {
	p := s.engine.handler.Policy(l.dest.name)
	l.dest.treat(p, time.Now())
	l.paced = p.rate().Limits() && s.engine.Rates != nil
	if p.Closed == "" {
		p.Closed = s.engine.handler.Paused(l.id.Group)
	}
	return p
}

// next returns the head that is to be handled now; nil when there is none, or
// it was settled before.
func (s *shard) next(ctx context.Context, l *lane) *item {
	it, err := s.head(ctx, l)
	if err != nil {
		s.stall(l, err)
		return nil
	}
	if it == nil {
		return nil
	}
	if s.isDone(ctx, l, it) || l.isBehind(it.msg) {
		s.engine.metrics.covered.Inc()
		s.settled(ctx, l, it)
		return nil
	}
	return it
}

// isDone reports whether the mark of a message says that it was settled before.
func (s *shard) isDone(ctx context.Context, l *lane, it *item) bool {
	if r := it.msg.Replay; r != nil {
		return s.replayed(ctx, l, r)
	}
	s.loadMark(ctx, l)
	return l.marked && l.mark.Covers(it.Place)
}

// storeOrTry stores the state of a head that waits for that. Where the store is
// full the head is to be tried again when it is due, though its state is not
// stored: if every lane waited for room, nobody would make any.
func (s *shard) storeOrTry(ctx context.Context, l *lane, it *item) (try bool) {
	err := s.storeWaiting(ctx, l, it, it.pending)
	switch {
	case err == nil:
		s.waitUntil(l, it.wakeAt(it.pending))
		it.pending = nil
	case errors.Is(err, broker.ErrFull) && !time.Now().Before(it.wakeAt(it.pending)):
		s.stalled(err)
		return true
	default:
		s.stall(l, err)
	}
	return false
}

// handle makes one attempt at the head and acts on the verdict.
func (s *shard) handle(ctx context.Context, l *lane, it *item, policy Policy) {
	now := time.Now()
	state := l.stateOf(it)
	task := s.task(l, it)
	task.over, task.Superseded = it.superseded || it.over(now), it.superseded
	if state != nil {
		if state.GivenUp != "" {
			s.bury(ctx, l, it, task, state, state.GivenUp)
			return
		}
		if state.Held && policy.Hold && !task.over {
			s.waitForChange(l, it.ends, func(p Policy) bool { return p.Hold })
			return
		}
		if _, more := delay(policy, scheduled(state)); !more && !task.over && !state.Asked { // it was held, or the schedule became shorter
			s.bury(ctx, l, it, task, state, ReasonExhausted)
			return
		}
	}
	if !task.over && task.Number == 1 && it.waitedInVain(policy, l, now) && l.dest.failing(l.id, now) {
		s.bury(ctx, l, it, task, state, ReasonWaited)
		return
	}
	pass, admitted := admit(ctx, policy.Circuit, task, now)
	switch {
	case admitted:
	case s.inVain(l, it, policy, state, now):
		s.bury(ctx, l, it, task, state, ReasonWaited)
		return
	default:
		s.turnBack(ctx, l, it, policy, state, now)
		return
	}
	if pass.Probe() { // others were asked
		now = time.Now()
	}
	v, made, end := s.attemptWithCare(ctx, l, task)
	defer end() // once what came of it is recorded: it may wait for the broker
	ended := time.Now()
	made = made && ctx.Err() == nil
	s.report(l, task, policy.Circuit, pass, v.outcome(made), now, ended)
	if !made { // the lease has lapsed: record nothing
		return
	}
	if v.attempted() && !task.over {
		l.allowed = false
		if task.Number == 1 {
			s.engine.metrics.wait.Observe(max(0, now.Sub(it.msg.Time).Seconds())) // the broker's clock may be ahead
		}
	}
	record := v.attempt(now, ended.Sub(now))
	switch v.kind {
	case kindDone:
		s.settle(ctx, l, it)
		s.outcome(task, &record, s.success())
	case kindExpired:
		s.settle(ctx, l, it)
		s.outcome(task, nil, chat.OutcomeExpired)
	case kindStall:
		s.stall(l, v.err)
	case kindDead:
		task.failed = &record
		s.bury(ctx, l, it, task, withAttempt(state, it, record), v.reason)
	case kindRetry:
		task.failed = &record
		s.retry(ctx, l, it, task, withAttempt(state, it, record), v, policy)
	}
}

// inVain reports whether a head that the circuit lets make no attempt, and that has
// had some, has waited for as long as they all would have taken: probes are too few
// for each head to have its own.
func (s *shard) inVain(l *lane, it *item, policy Policy, state *chat.LaneState, now time.Time) bool {
	return state != nil && !now.Before(state.Due) && it.waitedInVain(policy, l, now) && l.dest.failing(l.id, now)
}

// task is the head's next attempt.
func (s *shard) task(l *lane, it *item) *Task {
	t := &Task{Target: it.Target, Message: it.msg, Destination: l.dest.name, Number: 1}
	if state := l.stateOf(it); state != nil {
		t.Number = state.AttemptCount + 1
	}
	return t
}

// attempt runs the handler, or has it end a message that is over, unless the
// lease may be another's by now. What was cut off has not failed.
func (s *shard) attempt(ctx context.Context, t *Task) Verdict {
	if s.lapsing(time.Now()) {
		return Stall(partition.ErrLapsed)
	}
	if t.over {
		v := s.engine.handler.Expire(ctx, t)
		if v.kind == kindRetry { // it made no attempt
			v = Stall(v.err)
		}
		return v
	}
	v := s.engine.handler.Handle(ctx, t)
	if v.kind != kindDone && ctx.Err() != nil {
		return Stall(context.Cause(ctx))
	}
	return v
}

// lapsing reports whether too little is left of the lease to begin anything.
func (s *shard) lapsing(now time.Time) bool {
	return !now.Before(s.lease.Deadline().Add(-leaseMargin))
}

func (s *shard) success() chat.Outcome {
	if s.engine.Stage == chat.StageUser {
		return chat.OutcomeProcessed
	}
	return chat.OutcomeDelivered
}

// withAttempt returns the head's state with one attempt more.
func withAttempt(state *chat.LaneState, it *item, a chat.Attempt) *chat.LaneState {
	next := chat.LaneState{FirstFailure: a.At}
	if state != nil {
		next = *state
	}
	next.HeadSeq = it.msg.Seq
	next.AttemptCount++
	next.Held, next.Asked = false, false
	if a.At.Before(next.Due) {
		next.EarlyCount++
	}
	next.Attempts = append(slices.Clip(next.Attempts), a)
	if n := len(next.Attempts); n > keptAttempts {
		next.Attempts = next.Attempts[n-keptAttempts:]
	}
	return &next
}

// retry makes the lane wait, or gives up when the schedule is used up.
func (s *shard) retry(ctx context.Context, l *lane, it *item, t *Task, state *chat.LaneState, v Verdict, policy Policy) {
	last := &state.Attempts[len(state.Attempts)-1]
	wait, more := delay(policy, scheduled(state))
	wait = max(wait, v.after)
	early := last.At.Before(state.Due) // then the schedule stands
	switch {
	case early:
		state.Due = later(state.Due, time.Now().Add(v.after))
	case more && state.AttemptCount == 1 && it.waitedInVain(policy, l, last.At):
		s.bury(ctx, l, it, t, state, ReasonWaited)
		return
	case more:
		state.Due = time.Now().Add(wait)
	case policy.Hold:
		state.Held, state.Due = true, time.Now()
	default:
		s.bury(ctx, l, it, t, state, ReasonExhausted)
		return
	}
	s.wait(ctx, l, it, state)
	if l.hand == nil && !state.Held {
		s.backOff(l, it.wakeAt(state), policy.Circuit)
	}
	s.outcome(t, last, chat.OutcomeRetry)
}

// scheduled is how many attempts the schedule counts.
func scheduled(state *chat.LaneState) int { return state.AttemptCount - state.EarlyCount }

// bury writes the dead letter, unless the handler's last word stands in its
// place, then settles. Where either is refused the lane waits and the same is
// tried again; what is given up stays given up.
func (s *shard) bury(ctx context.Context, l *lane, it *item, t *Task, state *chat.LaneState, reason string) {
	now := time.Now()
	if state == nil {
		state = &chat.LaneState{HeadSeq: it.msg.Seq, FirstFailure: now}
	}
	letter := &chat.DeadLetter{
		MessageID: it.MessageID, Stage: s.engine.Stage, ChannelID: it.ChannelID, Destination: l.dest.name,
		ConversationID: it.ConversationID, Counter: it.Counter, Reason: reason, DiedAt: now, Data: it.msg.Data,
		FirstFailure: state.FirstFailure, AttemptCount: state.AttemptCount, Attempts: state.Attempts,
	}
	if n := len(state.Attempts); n > 0 {
		letter.Error = state.Attempts[n-1].Error
	}
	if id := it.msg.ReplayID(); id != "" {
		letter.Headers = map[string]string{topology.HeaderReplay: id}
	}
	said, err := s.lastWord(l, it, t, reason)
	switch {
	case said && ctx.Err() != nil: // the lease has lapsed: record nothing
		return
	case !said && err == nil:
		if err = s.engine.Graveyard.Write(ctx, letter); err != nil {
			err = fmt.Errorf("writing a dead letter: %w", err)
		}
	}
	if err != nil {
		s.stalled(err)
		state.GivenUp, state.Due = reason, now.Add(stallPause)
		s.wait(ctx, l, it, state)
		if t.failed != nil {
			s.outcome(t, t.failed, chat.OutcomeRetry)
		}
		return
	}
	// Not the error, which may quote what was said: the dead letter has it.
	s.log.Warn("gave a message up", zap.String("message", it.MessageID), it.traceID(), zap.String("destination", l.dest.name),
		zap.String("reason", reason), zap.Int("attempts", letter.AttemptCount))
	s.settle(ctx, l, it)
	t.GivenUp = reason
	if said {
		s.outcome(t, t.failed, chat.OutcomeFailed)
	} else {
		s.engine.metrics.died(reason)
		s.outcome(t, t.failed, chat.OutcomeDead)
	}
}

// lastWord asks the handler for its last word on a message, where the policy
// has one, and reports whether it was said. Of a message whose time is up, that
// is only one that was said already.
func (s *shard) lastWord(l *lane, it *item, t *Task, reason string) (said bool, err error) {
	if reason != ReasonExhausted && reason != ReasonWaited || !s.engine.handler.Policy(l.dest.name).LastWord {
		return false, nil
	}
	asked := *t
	asked.GivenUp, asked.over = reason, it.over(time.Now())
	v := s.attempt(s.trying, &asked)
	if v.kind == kindStall {
		return false, v.err
	}
	return v.kind == kindDone, nil
}

// buryUndecodable makes a dead letter of a message that belongs to no lane.
func (s *shard) buryUndecodable(h *hot, m *Message, cause error) {
	letter := s.undecodable(m, cause)
	for {
		err := s.engine.Graveyard.Write(s.working, letter)
		if err == nil {
			break
		}
		s.stalled(fmt.Errorf("writing a dead letter: %w", err))
		if !sleep(s.fetching, stallPause) || s.isClosed() {
			return
		}
	}
	s.buried(letter)
	s.release(h)
}

// buryParked makes a dead letter of a parked message that can't be decoded.
func (s *shard) buryParked(ctx context.Context, l *lane, it *item, cause error) error {
	letter := s.undecodable(it.msg, cause)
	letter.Destination = l.dest.name
	if err := s.engine.Graveyard.Write(ctx, letter); err != nil {
		return fmt.Errorf("writing a dead letter: %w", err)
	}
	s.buried(letter)
	s.settled(ctx, l, it)
	return nil
}

// buried counts a dead letter that the handler is not told of.
func (s *shard) buried(letter *chat.DeadLetter) {
	s.engine.metrics.outcomes[chat.OutcomeDead].Inc()
	s.engine.metrics.died(letter.Reason)
}

func (s *shard) undecodable(m *Message, cause error) *chat.DeadLetter {
	now := time.Now()
	reason := ReasonUndecodable
	if errors.Is(cause, errPoison) {
		reason = ReasonPoison
	}
	s.log.Error("a message that belongs to no lane becomes a dead letter", zap.Uint64("seq", m.Seq), zap.String("reason", reason), zap.Error(cause))
	return &chat.DeadLetter{
		MessageID: fmt.Sprintf("seq-%s-%d-%d", s.engine.Stage, s.lease.Partition(), m.Seq),
		Stage:     s.engine.Stage, Reason: reason, Error: cause.Error(),
		FirstFailure: now, DiedAt: now, Data: m.Data,
	}
}

// settle stores the mark, then removes the head from where it stands.
func (s *shard) settle(ctx context.Context, l *lane, it *item) {
	switch r := it.msg.Replay; {
	case r != nil:
		s.settleReplay(ctx, l, r)
	case s.engine.Marks != nil:
		if err := s.engine.Marks.Settle(ctx, l.name, it.Place); err != nil {
			s.deaf("the ledger did not take a mark", err)
			it.unmarked = true
		}
		l.mark, l.marked = it.Place, true
	}
	s.settled(ctx, l, it)
}

// settled removes the head from where it stands.
func (s *shard) settled(ctx context.Context, l *lane, it *item) {
	if it.unmarked || it.msg.Replay != nil {
		s.source.Forget(it.msg.Seq)
	}
	l.seen, l.looked = nil, false
	s.mu.Lock()
	if l.hand == it { // settled before its state was stored
		l.hand, it.pending = nil, nil
	}
	if !l.parked {
		l.queue[0] = nil
		l.queue = l.queue[1:]
		l.due = time.Time{}
		s.mu.Unlock()
		s.release(it.hot)
		return
	}
	s.mu.Unlock()
	if !s.awaitAppended(ctx, it) {
		return
	}
	if s.advance(l, it.parkedSeq) || l.lagging >= removeEvery || it.unmarked {
		if err := s.removeSettled(ctx, l); err != nil {
			s.stalled(err)
		}
	}
	if it.hot != nil { // it was parked, and its state could not be stored
		s.release(it.hot)
		it.hot = nil
	}
}

// advance puts a parked lane's head behind a place, and reports whether nothing
// stands there.
func (s *shard) advance(l *lane, settled uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.headSeq, l.due = settled+1, time.Time{}
	if len(l.ahead) > 1 {
		l.headTime = l.ahead[1].Time
	}
	l.lagging++
	return l.drained()
}

// loadMark reads the lane's mark at its first message.
func (s *shard) loadMark(ctx context.Context, l *lane) {
	if l.marked || s.engine.Marks == nil {
		return
	}
	mark, ok, err := s.engine.Marks.Load(ctx, l.name)
	if err != nil {
		s.deaf("the ledger did not answer", err)
		return
	}
	if ok {
		l.mark = mark
	}
	l.marked = true
}

// stall lets a lane wait a little after the broker refused a step.
func (s *shard) stall(l *lane, err error) {
	s.stalled(err)
	s.waitUntil(l, time.Now().Add(stallPause))
}

func (s *shard) stalled(err error) {
	if s.working.Err() != nil || s.fetching.Err() != nil {
		return
	}
	if errors.Is(err, wire.ErrNewer) {
		select {
		case s.newer <- err:
		default: // one is enough
		}
		return
	}
	s.engine.metrics.stalled.Inc()
	s.log.Warn("a lane waits for the broker", zap.Error(err))
}

func (s *shard) waitUntil(l *lane, at time.Time) {
	s.mu.Lock()
	l.due = at
	s.mu.Unlock()
}
