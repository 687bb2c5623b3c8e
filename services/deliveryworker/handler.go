package deliveryworker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/event"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/tracing"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/wire"
)

// reasonEndpointRemoved is why the delivery stage gives a message up at once.
const reasonEndpointRemoved = "endpoint_removed"

// sessionTimeout bounds the look at a session: it holds a place at the endpoint.
const sessionTimeout = 2 * time.Second

var errSessionTimeout = errors.New("the session could not be read within " + sessionTimeout.String())

// flushTimeout bounds the wait for the journal, which holds up a lane.
const flushTimeout = 5 * time.Second

var errFlushTimeout = errors.New("the journal was not written within " + flushTimeout.String())

// answeredGone is why an endpoint that answered 410 is disabled.
const answeredGone = "answered 410 Gone"

// handler is the delivery stage's lane.Handler. A lane's group and its
// destination are the endpoint.
type handler struct {
	Options
	routes   *routes
	metrics  *metrics
	jumps    jumps
	attempts lane.Attempts
}

func newHandler(o Options) *handler {
	h := &handler{
		Options: o, metrics: newMetrics(o.Metrics),
		jumps: jumps{last: map[chat.ConversationKey]chat.Ordinal{}},
		attempts: lane.Attempts{
			Tracer: o.Tracer, Log: o.Attempts, Stage: chat.StageBot, Destination: "endpoint",
			Kind: trace.SpanKindClient, Span: http.MethodPost,
		},
	}
	h.routes = newRoutes(o.Guard, h.circuitOf)
	return h
}

// open opens a partition's store. What is remembered of its counters may be
// from before another worker had it.
func (h *handler) open(ctx context.Context, partition int) (lane.Store, error) {
	h.jumps.forget()
	return h.Open(ctx, partition)
}

// Route implements lane.Handler: the fan-out.
func (h *handler) Route(ctx context.Context, m *lane.Message) ([]lane.Target, error) {
	bm, err := wire.DecodeBotMessage(m.Data)
	if err != nil {
		return nil, err
	}
	if err := h.Directory.Reach(ctx, bm.ConfigRevision); err != nil {
		return nil, err
	}
	key := bm.Key() // a hash
	if bm.Event == chat.EventMessage && m.Replay == nil && h.jumps.seen(key, bm.Ordinal) {
		h.metrics.jumps.Inc()
		h.Log.Error("a conversation's counter jumped", zap.String("message", bm.ID), lane.TraceID(bm.Traceparent), zap.Uint64("counter", bm.Ordinal.Counter))
	}
	if r := m.Replay; r != nil && r.To != "" { // whatever it subscribes to by now
		return []lane.Target{target(m, bm, key, r.To)}, nil
	}
	endpoints := h.Directory.Snapshot().EndpointsOf(bm.ChannelID)
	targets := make([]lane.Target, 0, len(endpoints))
	for _, e := range endpoints {
		if e.Wants(bm.Event) {
			targets = append(targets, target(m, bm, key, e.ID))
		} else {
			h.ended(bm, &chat.Delivery{EndpointID: e.ID, Outcome: chat.OutcomeFiltered})
		}
	}
	if len(endpoints) == 0 {
		h.ended(bm, &chat.Delivery{Outcome: chat.OutcomeUnrouted})
	}
	return targets, nil
}

// Restore implements lane.Handler.
func (h *handler) Restore(m *lane.Message, endpoint string) (lane.Target, error) {
	bm, err := wire.DecodeBotMessage(m.Data)
	if err != nil {
		return lane.Target{}, err
	}
	return target(m, bm, bm.Key(), endpoint), nil
}

func target(m *lane.Message, bm *chat.BotMessage, key chat.ConversationKey, endpoint string) lane.Target {
	t := lane.Target{
		Lane: lane.ID{Group: endpoint, Key: key}, Place: bm.Ordinal,
		ChannelID: bm.ChannelID, ConversationID: bm.ConversationID, MessageID: bm.ID,
		Created: bm.CreatedAt, Expires: bm.ExpiresAt, Supersede: bm.Supersede,
		Traceparent: cmp.Or(m.Traceparent, bm.Traceparent), Content: bm,
	}
	if bm.Event == chat.EventMessage {
		t.Counter = bm.Ordinal.Counter // an event has that of the message before it
	}
	if bm.Ordinal.IsZero() {
		t.Place = chat.Ordinal{Counter: m.Seq, InputAt: m.Time.UnixMilli()}
	}
	return t
}

func messageOf(t *lane.Task) *chat.BotMessage { return t.Content.(*chat.BotMessage) } // made by target

// Destination implements lane.Handler.
func (h *handler) Destination(endpoint string) string { return endpoint }

// Policy implements lane.Handler.
func (h *handler) Policy(endpoint string) lane.Policy {
	e, ok := h.Directory.Snapshot().Endpoint(endpoint)
	if !ok {
		return lane.Policy{Schedule: retry.Default()} // Handle says what to do
	}
	return h.routes.of(e).policy
}

// Paused implements lane.Handler: an endpoint is its own destination, and that
// is paused.
func (h *handler) Paused(string) string { return "" }

// Ended implements lane.Handler.
func (h *handler) Ended(t *lane.Task, a *chat.Attempt, outcome chat.Outcome) {
	if outcome == chat.OutcomeDiscarded {
		h.metrics.outcomes[outcome].Inc()
		return
	}
	bm := messageOf(t)
	d := &chat.Delivery{EndpointID: t.Destination, AttemptNumber: t.Number, Attempt: a, Outcome: outcome, Replay: t.Message.ReplayID()}
	if outcome == chat.OutcomeExpired {
		d.Reason = chat.ExpiredByTime
		if t.Superseded {
			d.Reason = chat.ExpiredSuperseded
		}
		h.metrics.expired[d.Reason].Inc()
	}
	h.ended(bm, d)
	if outcome == chat.OutcomeDelivered && bm.Event == chat.EventMessage && t.Message.Replay == nil {
		h.metrics.endToEnd.Observe(max(0, d.At.Sub(time.UnixMilli(bm.Ordinal.InputAt)).Seconds()))
	}
	h.raise(t, bm, d)
}

// erased has the journal write what it has of a conversation, before that is
// erased there.
func (h *handler) erased(ctx context.Context, _ lane.ID, _ chat.Ordinal) error {
	ctx, cancel := context.WithTimeoutCause(ctx, flushTimeout, errFlushTimeout)
	defer cancel()
	return h.Journal.Flush(ctx)
}

// raise tells who asked for it of a message that its endpoint won't get. Of an
// operational event that failed nothing is told, or one would make the next.
func (h *handler) raise(t *lane.Task, bm *chat.BotMessage, d *chat.Delivery) {
	if d.Outcome != chat.OutcomeDead && d.Outcome != chat.OutcomeExpired || chat.Operational(bm.Event) {
		return
	}
	e := event.Event{
		Kind: chat.EventDeliveryFailed, ChannelID: bm.ChannelID, EndpointID: t.Destination, MessageID: bm.ID,
		ConversationID: bm.ConversationID, Reason: t.GivenUp, Replay: t.Message.ReplayID(), At: time.Now(),
	}
	if d.Outcome == chat.OutcomeExpired {
		e.Reason = string(d.Outcome)
		if t.Superseded {
			e.Reason = d.Reason
		}
	}
	if a := d.Attempt; a != nil && (t.GivenUp == lane.ReasonExhausted || t.GivenUp == lane.ReasonWaited) {
		e.Error = a.Error // what the endpoint answered, and nothing of Parley's own
	}
	h.Events.Raise(e)
	if d.Outcome == chat.OutcomeDead {
		e.Kind = chat.EventDeadLetterCreated
		h.Events.Raise(e)
	}
}

// ended counts and journals what became of a message.
func (h *handler) ended(bm *chat.BotMessage, d *chat.Delivery) {
	h.metrics.outcomes[d.Outcome].Inc()
	d.At, d.ChannelID, d.ConversationID = time.Now(), bm.ChannelID, bm.ConversationID
	d.MessageID, d.Ordinal = bm.ID, bm.Ordinal
	h.Journal.Delivery(d)
}

// Expire implements lane.Handler: the marks know what was delivered.
func (h *handler) Expire(context.Context, *lane.Task) lane.Verdict { return lane.Expired() }

// Superseded implements lane.Handler: the session knows how far its conversation
// has come.
func (h *handler) Superseded(ctx context.Context, t *lane.Task) bool {
	bm := messageOf(t)
	if bm.Event != chat.EventMessage {
		return false
	}
	limited, cancel := context.WithTimeoutCause(ctx, sessionTimeout, errSessionTimeout)
	defer cancel()
	rec, _, err := h.Sessions.Load(limited, t.Lane.Key)
	if err != nil {
		if ctx.Err() == nil {
			h.metrics.unknown.Inc()
			h.Log.Warn("whether a message is superseded can't be found out: it is sent", zap.String("message", t.MessageID), lane.TraceID(t.Traceparent), zap.Error(err))
		}
		return false
	}
	return rec != nil && rec.Supersedes(bm)
}

// Handle implements lane.Handler: one POST.
func (h *handler) Handle(ctx context.Context, t *lane.Task) lane.Verdict {
	e, ok := h.Directory.Snapshot().Endpoint(t.Destination)
	if !ok {
		snapshot, err := h.Directory.CatchUp(ctx)
		if err != nil {
			return lane.Stall(fmt.Errorf("asking whether endpoint %s exists: %w", t.Destination, err))
		}
		if e, ok = snapshot.Endpoint(t.Destination); !ok {
			h.routes.forget(t.Destination)
			return lane.Dead(reasonEndpointRemoved, fmt.Errorf("endpoint %s does not exist any more", t.Destination))
		}
	}
	attempt := h.attempts.Begin(ctx, t)
	v := lane.Panicked()
	defer func() { attempt.End(ctx, &v) }()
	v = h.post(ctx, t, e, attempt.Span)
	return v
}

func (h *handler) post(ctx context.Context, t *lane.Task, e *chat.Endpoint, span tracing.Span) lane.Verdict {
	bm, r := messageOf(t), h.routes.of(e)
	if r.err != nil {
		// What this process is told to allow may be at fault.
		return lane.Retry(0, r.err).Saying(health.Interrupted).With(lane.Detail{Kind: string(webhook.KindRequest)})
	}
	request := r.target.Request()
	if bm.Event == chat.EventMessage {
		request.Body = webhook.RenderBody(bm.ConversationID, e.VerifyToken, bm.Message, bm.Ordinal.Counter, bm.NLP)
	} else {
		request.Body = webhook.RenderEvent(bm.Event, bm.CreatedAt, bm.ChannelID, e.VerifyToken, bm.Message)
		request.Event = bm.Event
	}
	request.MessageID, request.Attempt, request.Replay = bm.ID, t.Number, t.Message.ReplayID()
	request.Traceparent, request.Timeout = span.Traceparent(t.Traceparent), e.Timeout.Std()
	result := h.Client.Do(ctx, request)
	h.metrics.duration.Observe(result.Duration.Seconds())
	h.metrics.answered(&result)
	if span.On() {
		span.Set(tracing.Endpoint.String(e.ID))
		span.Set(webhook.SpanAttributes(&request, &result)...)
	}
	return h.judge(ctx, e, &result)
}

func (h *handler) judge(ctx context.Context, e *chat.Endpoint, result *webhook.Result) lane.Verdict {
	if result.Status == 0 && webhook.KindOf(result.Err) == webhook.KindInterrupted {
		return lane.Stall(result.Err).With(lane.Detail{Kind: string(webhook.KindInterrupted)})
	}
	after, _ := retry.ParseRetryAfter(result.RetryAfter, time.Now(), h.MaxRetryAfter)
	j := webhook.Judge(result.Status, result.Err, after)
	detail := lane.Detail{Status: result.Status, Excerpt: result.Excerpt, Kind: result.FailureKind()}
	if j.Class == webhook.Delivered {
		return lane.Done().With(detail)
	}
	if j.Class == webhook.Gone {
		h.disable(ctx, e, disabledGone, answeredGone)
	}
	return lane.Retry(j.RetryAfter, errors.New(j.Reason)).With(detail).Saying(saysOf(j.Class, result.Err))
}

// jumps watches the counters of conversations, before any filter.
type jumps struct {
	mu   sync.Mutex
	last map[chat.ConversationKey]chat.Ordinal
}

// forget forgets all counters: one that follows is a first one.
func (j *jumps) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.last)
}

// watched is how many conversations' counters are remembered.
const watched = 100_000

// seen notes an ordinal and reports whether it left one out.
func (j *jumps) seen(key chat.ConversationKey, o chat.Ordinal) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	last, ok := j.last[key]
	if ok && (o.Epoch < last.Epoch || o.Epoch == last.Epoch && o.Counter <= last.Counter) {
		return false // delivered again
	}
	if !ok && len(j.last) >= watched {
		clear(j.last)
	}
	j.last[key] = o
	return ok && o.Epoch == last.Epoch && o.Counter != last.Counter+1
}
