package deliveryworker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/webhook"
)

// Circuit is an endpoint's, shared by all workers; *health.Destination is one.
type Circuit interface {
	lane.Circuit
	// Failing is what is known of an endpoint that fails; Enabled and Off are
	// left out.
	Failing() health.Failing
	// Warn notes that the warning is given, and reports whether to give it.
	Warn(ctx context.Context, now, enabled time.Time, after time.Duration) (bool, error)
}

// minInFlight is how far an endpoint's cap may fall.
const minInFlight = 1

// checkEvery is how often endpoints that fail are looked at.
const checkEvery = time.Minute

// tellingCircuit is one that tells when an endpoint recovers of which a warning was
// given.
type tellingCircuit struct {
	Circuit
	recovered func()
}

// Report implements lane.Circuit.
func (w *tellingCircuit) Report(now time.Time, p health.Pass, o health.Outcome) health.Change {
	warned := p.Probe() && !w.Failing().Warned.IsZero()
	change := w.Circuit.Report(now, p, o)
	if warned && change == health.Reclosed {
		w.recovered()
	}
	return change
}

// circuitOf is an endpoint's circuit, nil where there is none.
func (h *handler) circuitOf(e *chat.Endpoint) lane.Circuit {
	if h.Circuits == nil {
		return nil
	}
	return &tellingCircuit{Circuit: h.Circuits(e.ID), recovered: func() {
		h.metrics.recovered.Inc()
		h.tell(chat.EventEndpointRecovered, e, "an attempt succeeded")
	}}
}

// tell tells of an endpoint, whoever asked for it and the log.
func (h *handler) tell(kind string, e *chat.Endpoint, reason string) {
	h.Log.Warn(kind, zap.String("endpoint", e.ID), zap.String("channel", e.ChannelID), zap.String("reason", reason))
	h.Events.RaiseEndpoint(kind, e.ChannelID, e.ID, reason)
}

// watchFailing looks, now and then, whether endpoints do nothing but fail.
func (h *handler) watchFailing(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.judgeFailing(ctx, now)
		}
	}
}

// judgeFailing warns of endpoints that do nothing but fail, or disables them.
func (h *handler) judgeFailing(ctx context.Context, now time.Time) {
	if h.Circuits == nil {
		return
	}
	snapshot := h.Directory.Snapshot()
	for id := range h.routes.all() {
		if e, ok := snapshot.Endpoint(id); ok {
			h.judgeEndpoint(ctx, e, now)
		}
	}
}

func (h *handler) judgeEndpoint(ctx context.Context, e *chat.Endpoint, now time.Time) {
	c, after := h.Circuits(e.ID), h.disableAfter(e)
	f := c.Failing()
	f.Enabled, f.Off = e.EnabledAt, e.Closed() != ""
	since := fmt.Sprintf("nothing but failures since %s (%d attempts)", f.Since.UTC().Format(time.RFC3339), f.Failures)
	switch f.Decide(now, after) {
	case health.Warn:
		tell, err := c.Warn(ctx, now, f.Enabled, after)
		switch {
		case err != nil && !errors.Is(err, broker.ErrUnavailable):
			h.Log.Warn("a warning of an endpoint that fails could not be noted", zap.String("endpoint", e.ID), zap.Error(err))
		case tell:
			h.metrics.warned.Inc()
			h.tell(chat.EventEndpointFailing, e, fmt.Sprintf("%s; it is disabled after %s of them", since, after))
		}
	case health.Disable:
		h.disable(ctx, e, disabledFailing, since)
	case health.Nothing:
	}
}

// disableAfter is for how long an endpoint may do nothing but fail; 0: for ever.
func (h *handler) disableAfter(e *chat.Endpoint) time.Duration {
	if e.DisableAfter != 0 {
		return max(0, e.DisableAfter.Std())
	}
	return h.DisableAfter
}

// disable closes an endpoint. Where that fails the next attempt, or the next look
// at it, will call for it again.
func (h *handler) disable(ctx context.Context, e *chat.Endpoint, why, reason string) {
	snapshot := h.Directory.Snapshot()
	if now, _ := snapshot.Endpoint(e.ID); now != e {
		return // disabled already, or changed since
	}
	revision, _ := snapshot.RecordRevision(registry.KindEndpoint, e.ID)
	off := *e
	off.Disabled = reason
	_, _, err := h.Directory.PutEndpoint(ctx, off, registry.Expect(revision))
	switch {
	case errors.Is(err, registry.ErrConflict): // another worker has, or somebody changed it
	case err != nil:
		h.Log.Warn("an endpoint could not be disabled", zap.String("endpoint", e.ID), zap.String("reason", reason), zap.Error(err))
	default:
		h.metrics.disabled[why].Inc()
		h.tell(chat.EventEndpointDisabled, e, reason)
	}
}

// saysOf is what an attempt says of its endpoint.
func saysOf(class webhook.Class, err error) health.Outcome {
	switch {
	case class == webhook.Delivered:
		return health.Succeeded
	case class == webhook.Throttled:
		return health.Throttled
	case webhook.KindOf(err) == webhook.KindTimeout:
		return health.TimedOut
	}
	return health.Failed
}
