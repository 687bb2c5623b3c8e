package faults

import (
	"context"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/e2e"
)

// tendEvery is how often processes that have ended are started again.
const tendEvery = 100 * time.Millisecond

// carryOut carries out a schedule; at its end all is undone.
func (r *rig) carryOut(schedule []Fault, e *endpoint) {
	r.t.Helper()
	type step struct {
		at     time.Duration
		fault  Fault
		undone bool
	}
	var steps []step
	for _, f := range schedule {
		steps = append(steps, step{f.At, f, false})
		if f.For > 0 {
			steps = append(steps, step{f.At + f.For, f, true})
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	begun := time.Now()
	for _, s := range steps {
		for left := s.at - time.Since(begun); left > 0; left = s.at - time.Since(begun) {
			require.True(r.t, wait(r.t.Context(), min(left, tendEvery)), "the test has ended")
			r.tend()
		}
		if s.undone {
			r.undo(s.fault, e)
		} else {
			r.do(s.fault, e)
		}
	}
}

// do begins a fault. Its time is noted before a process is harmed, since what
// it harms shows at once.
func (r *rig) do(f Fault, e *endpoint) {
	r.t.Helper()
	r.note(f, false)
	m := r.members[f.Target]
	switch f.Kind {
	case Kill:
		m.end(true)
	case Stop:
		m.alive((*e2e.Process).Suspend)
	case Restart, ScaleDown:
		m.end(false)
	case ScaleUp:
		m.wanted = true
	case KillNATS:
		for _, n := range r.nats {
			r.members[n.Name()].end(true)
		}
	case Flush:
		r.tellRedis("FLUSHALL")
	case Choke:
		r.tellRedis("CONFIG SET maxmemory 1")
	case FailOver:
		r.tellRedis("REPLICAOF 127.0.0.1 1")
	case Delay:
		r.proxy.SetDelay(redisDelay)
	default:
		e.set(f.Kind, true)
	}
}

// redisDelay is how long a slow Redis takes for an answer.
const redisDelay = time.Second

// tellRedis gives Redis a command; one that is down has forgotten it anyhow.
func (r *rig) tellRedis(command string) {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
	defer cancel()
	if err := r.redis.Tell(ctx, command); err != nil {
		r.t.Logf("telling Redis %s: %v", command, err)
	}
}

// undo ends a fault. What should run is started by tend.
func (r *rig) undo(f Fault, e *endpoint) {
	r.t.Helper()
	m := r.members[f.Target]
	switch f.Kind {
	case Kill, Restart, ScaleDown:
		m.wanted = true
	case Stop:
		m.alive((*e2e.Process).Resume)
	case ScaleUp:
		m.end(false)
	case KillNATS:
		for _, n := range r.nats {
			r.members[n.Name()].wanted = true
		}
	case Flush:
	case Choke:
		r.tellRedis("CONFIG SET maxmemory 0")
	case FailOver:
		r.tellRedis("REPLICAOF NO ONE")
	case Delay:
		r.proxy.SetDelay(0)
	default:
		e.set(f.Kind, false)
	}
	r.note(f, true)
}
