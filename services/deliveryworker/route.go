package deliveryworker

import (
	"fmt"
	"net/url"
	"sync"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/webhook"
)

// route is what an endpoint's configuration comes to: parsed once, used for
// every message until the configuration changes.
type route struct {
	config *chat.Endpoint
	url    *url.URL
	keys   []*webhook.Key
	policy lane.Policy
	err    error // why nothing can be sent
}

type routes struct {
	guard *webhook.Guard
	known sync.Map // endpoint id → *route
}

func newRoutes(guard *webhook.Guard) *routes { return &routes{guard: guard} }

// of returns the route of an endpoint; the snapshot keeps the same pointer for
// as long as the endpoint stays as it is.
func (r *routes) of(e *chat.Endpoint) *route {
	if known, ok := r.known.Load(e.ID); ok {
		if made := known.(*route); made.config == e { // nothing else is stored
			return made
		}
	}
	made := r.build(e)
	r.known.Store(e.ID, made)
	return made
}

// forget drops the route of an endpoint that is removed, with its keys.
func (r *routes) forget(endpoint string) { r.known.Delete(endpoint) }

func (r *routes) build(e *chat.Endpoint) *route {
	made := &route{config: e, policy: lane.Policy{
		Hold: e.OnExhausted == "hold", MaxInFlight: e.MaxInFlight, Closed: e.Disabled,
	}}
	if e.RateLimit != nil {
		made.policy.Rate = *e.RateLimit
	}
	var err error
	if made.policy.Schedule, err = retry.Of(e.Retry); err != nil {
		made.policy.Schedule, made.err = retry.Default(), fmt.Errorf("the endpoint's retry schedule: %w", err)
	}
	if made.keys, err = webhook.ParseSecrets(e.Secrets); err != nil {
		made.err = fmt.Errorf("the endpoint's signing secrets: %w", err)
	}
	if made.url, err = r.guard.ParseURL(e.URL); err != nil {
		made.err = fmt.Errorf("the endpoint's URL: %w", err)
	}
	return made
}
