package webhooktest

import (
	"errors"
	"fmt"
	"sync"
)

// Forever as a step's Times makes it the last.
const Forever = -1

// Step is what the next requests get.
type Step struct {
	Reply
	// Times is how many requests take the step; 0 means 1.
	Times int
	// Conversation, if not empty, leaves the step to requests of that senderId.
	Conversation string
}

// Plan is a list of steps. A request takes the first one that is its own and
// not used up; where there is none it is answered 200.
type Plan struct {
	Steps []Step
	// EachConversation has every conversation go through all the steps by itself.
	EachConversation bool
}

// Validate returns an error that names the step and says what to change.
func (p *Plan) Validate() error {
	for i := range p.Steps {
		if err := p.Steps[i].validate(p.EachConversation); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (s *Step) validate(each bool) error {
	switch {
	case s.Times < Forever:
		return fmt.Errorf("it is taken %d times: use 1 or more, or Forever", s.Times)
	case s.Fault == HoldHandshake && (each || s.Conversation != ""):
		return fmt.Errorf("%s comes before there is a conversation: give it to all", HoldHandshake)
	}
	return s.check()
}

// play is how far a plan has come.
type play struct {
	plan Plan

	mu     sync.Mutex
	shared []int            // how often each step was taken
	own    map[string][]int // the same by conversation
}

func newPlay(p Plan) *play {
	return &play{plan: p, shared: make([]int, len(p.Steps)), own: map[string][]int{}}
}

// answer is a Script.
func (p *play) answer(_ int, r *Received) Reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.shared
	if p.plan.EachConversation {
		if taken = p.own[r.Body.SenderID]; taken == nil {
			taken = make([]int, len(p.plan.Steps))
			p.own[r.Body.SenderID] = taken
		}
	}
	i := p.next(taken, r.Body.SenderID)
	if i < 0 {
		return Reply{}
	}
	taken[i]++
	return p.plan.Steps[i].Reply
}

// next returns the step that a conversation's next request takes, or -1. The
// empty conversation is a connection's, which has none yet.
func (p *play) next(taken []int, conversation string) int {
	for i := range p.plan.Steps {
		s := &p.plan.Steps[i]
		if s.Conversation != "" && s.Conversation != conversation {
			continue
		}
		if s.Times == Forever || taken[i] < max(s.Times, 1) {
			return i
		}
	}
	return -1
}

// holds takes a step that holds a new connection, if that is the next.
func (p *play) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.next(p.shared, "")
	if i < 0 || p.plan.Steps[i].Fault != HoldHandshake {
		return false
	}
	p.shared[i]++
	return true
}

// willHold reports whether the next new connection is to be held.
func (p *play) willHold() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.next(p.shared, "")
	return i >= 0 && p.plan.Steps[i].Fault == HoldHandshake
}

var errNoSteps = errors.New("there are no steps: list one or more, such as \"steps: [503, 200]\"")
