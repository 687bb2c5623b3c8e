package ops

import (
	"cmp"
	"slices"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/pkg/topology"
)

// Circuits is what workers share of destinations that fail; *health.Board is one.
type Circuits interface {
	Records() map[string]health.Record
	Record(key string) (health.Record, bool)
}

// maxCircuits is how many circuits a status shows.
const maxCircuits = 100

// circuitOf shows a record.
func circuitOf(r *health.Record, now time.Time) *Circuit {
	return &Circuit{
		State: r.State(now).String(), Since: timeOf(r.At), Failures: r.Failures, FailingSince: timeOf(r.FailingSince),
		NextProbe: timeOf(r.NextProbe), LastSuccess: timeOf(r.LastSuccess), LastFailure: timeOf(r.LastFailure), Warned: timeOf(r.Warned),
	}
}

// timeOf is a time that is left out where there is none.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}

// withHealth adds to an endpoint how it does.
func (s *Service) withHealth(e Endpoint) Endpoint {
	e.Health = &Circuit{State: health.Closed.String()}
	if s.Circuits == nil {
		return e
	}
	if r, ok := s.Circuits.Record(topology.HealthKey(chat.StageBot, e.ID)); ok {
		e.Health = circuitOf(&r, s.Now())
	}
	return e
}

// openCircuits are those that aren't closed, the longest failing first.
func (s *Service) openCircuits() []Circuit {
	out := []Circuit{}
	if s.Circuits == nil {
		return out
	}
	now := s.Now()
	for key, r := range s.Circuits.Records() {
		if !r.Open {
			continue
		}
		c := circuitOf(&r, now)
		c.Stage, c.Destination = topology.ParseHealthKey(key)
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Circuit) int {
		return cmp.Or(orZero(a.FailingSince).Compare(orZero(b.FailingSince)), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Destination, b.Destination))
	})
	return out[:min(len(out), maxCircuits)]
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
