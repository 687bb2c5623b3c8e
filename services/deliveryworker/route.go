package deliveryworker

import (
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/webhook"
)

// route is what an endpoint's configuration comes to: made once, used for every
// message until the configuration changes.
type route struct {
	config *chat.Endpoint
	target *webhook.Target // nil where err is set
	policy lane.Policy
	err    error // why nothing can be sent
}

type routes struct {
	guard *webhook.Guard
	// circuit is an endpoint's, or nil.
	circuit func(*chat.Endpoint) lane.Circuit

	known sync.Map   // endpoint id → *route
	mu    sync.Mutex // orders changes of known
}

func newRoutes(guard *webhook.Guard, circuit func(*chat.Endpoint) lane.Circuit) *routes {
	return &routes{guard: guard, circuit: circuit}
}

// all are the endpoints that have a route.
func (r *routes) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		r.known.Range(func(id, _ any) bool { return yield(id.(string)) })
	}
}

// of returns the route of an endpoint; the snapshot keeps the same pointer for
// as long as the endpoint stays as it is.
func (r *routes) of(e *chat.Endpoint) *route {
	if made := r.find(e.ID); made != nil && made.config == e {
		return made
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	former := r.find(e.ID)
	if former != nil && former.config == e {
		return former
	}
	made := r.build(e, former)
	r.known.Store(e.ID, made)
	return made
}

func (r *routes) find(endpoint string) *route {
	if known, ok := r.known.Load(endpoint); ok {
		return known.(*route) // nothing else is stored
	}
	return nil
}

// change takes up an endpoint's new configuration, nil for one that is removed:
// what the former one held, connections and keys, is dropped now and not at the
// next message.
func (r *routes) change(endpoint string, e *chat.Endpoint) {
	switch {
	case e == nil:
		r.forget(endpoint)
	case r.find(endpoint) != nil:
		r.of(e)
	}
}

// forget drops the route of an endpoint that is removed.
func (r *routes) forget(endpoint string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.known.LoadAndDelete(endpoint); ok {
		known.(*route).close()
	}
}

// close drops all routes.
func (r *routes) close() {
	r.known.Range(func(id, _ any) bool {
		r.forget(id.(string))
		return true
	})
}

func (r *route) close() {
	if r.target != nil {
		r.target.Close()
	}
}

// build makes a route, with the connections and the token of the former one
// where their settings have not changed; former may be nil.
func (r *routes) build(e *chat.Endpoint, former *route) *route {
	made := &route{config: e, policy: lane.Policy{
		Hold: e.OnExhausted == "hold", MaxInFlight: e.MaxInFlight, Closed: e.Closed(), ExpireAfter: e.ExpireAfter.Std(),
		Supersede: e.Supersede, MinInFlight: minInFlight, Circuit: r.circuit(e),
	}}
	var target *webhook.Target
	if former != nil {
		target = former.target
	}
	made.target, made.err = webhook.NewTarget(e.URL, &e.Sending, r.guard, target)
	if e.RateLimit != nil {
		made.policy.Rate = *e.RateLimit
	}
	var err error
	if made.policy.Schedule, err = retry.Of(e.Retry); err != nil {
		made.policy.Schedule = retry.Default()
		made.err = errors.Join(made.err, fmt.Errorf("the endpoint's retry schedule: %w", err))
	}
	return made
}
