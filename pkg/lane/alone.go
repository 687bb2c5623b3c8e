package lane

import (
	"slices"
	"sync"
	"time"
)

// Alone lets one suspect at a time be handled in a process (see poison.go): what
// ends it takes with it whatever else is under way, in other partitions and at
// the other stage too. One is shared by all engines of a process.
type Alone struct {
	mu   sync.Mutex
	turn *lane   // whose turn it is
	line []*lane // who waits for it
}

// take reports whether it is the lane's turn; if not, it stands in line.
func (a *Alone) take(l *lane) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.turn == nil {
		a.turn = l
	}
	if a.turn == l {
		return true
	}
	if !slices.Contains(a.line, l) {
		a.line = append(a.line, l)
	}
	return false
}

// pass gives a lane's turn, if it has it, to the next in line, which is returned
// and must be woken.
func (a *Alone) pass(l *lane) *lane {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.turn != l {
		return nil
	}
	return a.next()
}

// leave takes a lane out for good.
func (a *Alone) leave(l *lane) *lane {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line = slices.DeleteFunc(a.line, func(in *lane) bool { return in == l })
	if a.turn != l {
		return nil
	}
	return a.next()
}

// leaveAll takes a shard's lanes out, now that no step of theirs will follow, but
// for one that is at work: that passes its turn by itself.
func (a *Alone) leaveAll(s *shard) *lane {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line = slices.DeleteFunc(a.line, func(in *lane) bool { return in.shard == s && in != &s.routing })
	if t := a.turn; t == nil || t.shard != s || t == &s.routing || t.atWork {
		return nil
	}
	return a.next()
}

// next gives the turn to the next in line; the mutex is held.
func (a *Alone) next() *lane {
	a.turn = nil
	if len(a.line) > 0 {
		a.turn, a.line = a.line[0], a.line[1:]
	}
	return a.turn
}

// takeTurn reports whether it is this lane's turn to handle a suspect; if not,
// the lane waits until it is.
func (s *shard) takeTurn(l *lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.engine.Alone.take(l) {
		return true
	}
	l.due = time.Now().Add(closedPoll)
	return false
}

// wakeForTurn lets a lane, of whichever shard, take its turn; none where it is
// nil. The caller holds no shard's mutex.
func wakeForTurn(l *lane) {
	if l == nil {
		return
	}
	s := l.shard
	if l == &s.routing {
		s.routingTurn <- struct{}{}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.due = time.Time{}
	s.activate(l)
}
