package botworker

import (
	"sync"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
)

// policies keeps how bots are treated, each as long as its configuration stands:
// it is asked at each of their lanes' steps.
type policies struct {
	schedule retry.Schedule                // of a bot that has none of its own
	circuit  func(bot string) lane.Circuit // nil: there are none

	mu   sync.RWMutex
	made map[string]madePolicy
}

type madePolicy struct {
	config *chat.Bot
	policy lane.Policy
}

func (p *policies) of(b *chat.Bot) lane.Policy {
	p.mu.RLock()
	m := p.made[b.ID]
	p.mu.RUnlock()
	if m.config == b {
		return m.policy
	}
	m = madePolicy{b, lane.Policy{
		Schedule: p.schedule, MaxInFlight: b.MaxInFlight, LastWord: b.Fallback != "", Closed: b.Paused,
	}}
	if len(b.Retry) > 0 {
		if own, err := retry.Of(b.Retry); err == nil { // checked when it was set
			m.policy.Schedule = own
		}
	}
	if p.circuit != nil {
		m.policy.Circuit = p.circuit(b.ID)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made[b.ID] = m
	return m.policy
}

// forget drops a bot that does not exist any more.
func (p *policies) forget(bot string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.made, bot)
}
