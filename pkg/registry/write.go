package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Errors of writes; the error returned wraps one of them, or is a
// *chat.ValidationError, or wraps broker.ErrFull or broker.ErrUnavailable.
var (
	ErrExists   = errors.New("it exists already")
	ErrNotFound = errors.New("there is no such record")
	ErrConflict = errors.New("it was changed meanwhile: read it again and repeat the change")
	ErrInUse    = errors.New("it is in use")
)

// Expect is what a write takes the record to be: Absent, Present, Any, or the
// record's revision.
type Expect uint64

// What a write may expect, besides a revision.
const (
	Absent  Expect = 0                  // else ErrExists
	Present Expect = math.MaxUint64 - 1 // else ErrNotFound
	Any     Expect = math.MaxUint64
)

func (x Expect) check(revision uint64, exists bool) error {
	switch {
	case x == Any:
		return nil
	case x == Absent && exists:
		return ErrExists
	case x == Absent:
		return nil
	case !exists:
		return ErrNotFound
	case x != Present && uint64(x) != revision:
		return ErrConflict
	}
	return nil
}

// PutChannel writes a channel and returns the new revision. Its bot must exist.
func (r *Registry) PutChannel(ctx context.Context, c chat.Channel, expect Expect) (uint64, error) {
	if err := ValidateChannel(&c); err != nil {
		return 0, err
	}
	return r.write(ctx, KindChannel, c.ID, expect, func(s *Snapshot) ([]byte, error) {
		if _, ok := s.Bot(c.BotID); !ok {
			return nil, invalid("/botId", fmt.Sprintf("there is no bot %q: create it first, or name another", c.BotID))
		}
		if old, ok := s.Channel(c.ID); ok {
			c.ManagedBy = cmp.Or(c.ManagedBy, old.ManagedBy)
		}
		return encode(keyOf(KindChannel, c.ID), c)
	})
}

// PutEndpoint writes an endpoint and returns it as it is stored, with the
// signing secret that was made where none was given and without those that sign
// no more, and the new revision. Its channel must exist and can't be changed
// later.
func (r *Registry) PutEndpoint(ctx context.Context, e chat.Endpoint, expect Expect) (chat.Endpoint, uint64, error) {
	if len(e.Secrets) == 0 && r.opts.NewSecret != nil {
		e.Secrets = []chat.Secret{r.opts.NewSecret()}
	}
	e.Prune(time.Now())
	if err := r.CheckEndpoint(&e); err != nil {
		return chat.Endpoint{}, 0, err
	}
	revision, err := r.write(ctx, KindEndpoint, e.ID, expect, func(s *Snapshot) ([]byte, error) {
		if _, ok := s.Channel(e.ChannelID); !ok {
			return nil, invalid("/channelId", fmt.Sprintf("there is no channel %q: create it first, or name another", e.ChannelID))
		}
		if old, ok := s.Endpoint(e.ID); ok {
			if old.ChannelID != e.ChannelID {
				return nil, invalid("/channelId", OtherChannel(old.ChannelID))
			}
			e.ManagedBy = cmp.Or(e.ManagedBy, old.ManagedBy)
		}
		e.EnabledAt = enabledAt(s, &e, time.Now())
		return r.opts.Sealer.encodeEndpoint(&e)
	})
	return e, revision, err
}

// OtherChannel says that an endpoint stays where it is.
func OtherChannel(channelID string) string {
	return fmt.Sprintf("the endpoint belongs to channel %q, which can't change: create another endpoint", channelID)
}

// enabledAt is since when an endpoint's failures say something of what it is now.
func enabledAt(s *Snapshot, e *chat.Endpoint, now time.Time) time.Time {
	old, ok := s.Endpoint(e.ID)
	if !ok || old.URL != e.URL || old.Closed() != "" && e.Closed() == "" {
		return now.UTC().Truncate(time.Millisecond)
	}
	return old.EnabledAt
}

// PutBot writes a bot and returns it as it is stored, an http bot with its
// signing secrets as an endpoint's, and the new revision.
func (r *Registry) PutBot(ctx context.Context, b chat.Bot, expect Expect) (chat.Bot, uint64, error) {
	if b.Kind == BotHTTP && len(b.Secrets) == 0 && r.opts.NewSecret != nil {
		b.Secrets = []chat.Secret{r.opts.NewSecret()}
	}
	b.Prune(time.Now())
	if err := r.CheckBot(&b); err != nil {
		return chat.Bot{}, 0, err
	}
	revision, err := r.write(ctx, KindBot, b.ID, expect, func(s *Snapshot) ([]byte, error) {
		if old, ok := s.Bot(b.ID); ok {
			b.ManagedBy = cmp.Or(b.ManagedBy, old.ManagedBy)
		}
		return r.opts.Sealer.encodeBot(&b)
	})
	return b, revision, err
}

// PutToken writes a token's record and returns the new revision. A channel's
// token needs its channel.
func (r *Registry) PutToken(ctx context.Context, t chat.Token, expect Expect) (uint64, error) {
	if err := r.CheckToken(&t); err != nil {
		return 0, err
	}
	return r.write(ctx, KindToken, t.ID, expect, func(s *Snapshot) ([]byte, error) {
		if _, ok := s.Channel(t.ChannelID); !ok && !t.Ops {
			return nil, invalid("/channelId", fmt.Sprintf("there is no channel %q: create it first, or name another", t.ChannelID))
		}
		return encode(keyOf(KindToken, t.ID), t)
	})
}

// CheckEndpoint reports what PutEndpoint would find wrong with the endpoint itself:
// a *chat.ValidationError, or nil. CheckBot and CheckToken do the same.
func (r *Registry) CheckEndpoint(e *chat.Endpoint) error {
	return ValidateEndpoint(e, r.opts.URLCheck)
}

// CheckBot is described at CheckEndpoint.
func (r *Registry) CheckBot(b *chat.Bot) error {
	return ValidateBot(b, r.opts.FlowCheck, r.opts.URLCheck)
}

// CheckToken is described at CheckEndpoint.
func (*Registry) CheckToken(t *chat.Token) error {
	var p chat.Problems
	checkID(&p, "/id", "token", t.ID)
	checkName(&p, t.Name)
	if t.Ops == (t.ChannelID != "") {
		p.Add("/channelId", "a token opens a channel or the ops API: give one of the two")
	}
	return p.Err()
}

// DeleteChannel removes a channel that has neither endpoints nor tokens left
// (else ErrInUse), and returns the new revision.
func (r *Registry) DeleteChannel(ctx context.Context, id string, expect Expect) (uint64, error) {
	return r.remove(ctx, KindChannel, id, expect, func(s *Snapshot) error {
		var users []string
		for _, e := range s.EndpointsOf(id) {
			users = append(users, "endpoint "+e.ID)
		}
		for _, t := range s.Tokens() {
			if t.ChannelID == id {
				users = append(users, "token "+t.ID)
			}
		}
		return inUse(users)
	})
}

// DeleteBot removes a bot that serves no channel (else ErrInUse), and returns
// the new revision.
func (r *Registry) DeleteBot(ctx context.Context, id string, expect Expect) (uint64, error) {
	return r.remove(ctx, KindBot, id, expect, func(s *Snapshot) error {
		var users []string
		for _, c := range s.ChannelsOfBot(id) {
			users = append(users, "channel "+c.ID)
		}
		return inUse(users)
	})
}

// DeleteEndpoint removes an endpoint, whose waiting messages become dead
// letters, and returns the new revision.
func (r *Registry) DeleteEndpoint(ctx context.Context, id string, expect Expect) (uint64, error) {
	return r.remove(ctx, KindEndpoint, id, expect, func(*Snapshot) error { return nil })
}

// DeleteToken removes a token and returns the new revision.
func (r *Registry) DeleteToken(ctx context.Context, id string, expect Expect) (uint64, error) {
	return r.remove(ctx, KindToken, id, expect, func(*Snapshot) error { return nil })
}

// inUse names the users of what is to be removed, at most ten.
func inUse(users []string) error {
	if len(users) == 0 {
		return nil
	}
	const most = 10
	named := slices.Clone(users[:min(len(users), most)])
	if more := len(users) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("%w by %s: delete those first", ErrInUse, strings.Join(named, ", "))
}

func invalid(pointer, detail string) error {
	return &chat.ValidationError{Problems: []chat.Problem{{Pointer: pointer, Detail: detail}}}
}

func (r *Registry) remove(ctx context.Context, kind Kind, id string, expect Expect, check func(*Snapshot) error) (uint64, error) {
	if expect == Any || expect == Absent {
		expect = Present
	}
	return r.write(ctx, kind, id, expect, func(s *Snapshot) ([]byte, error) { return nil, check(s) })
}

// written is a write of this process, as the watch will show it.
type written struct {
	key      string
	value    []byte // nil: deleted
	revision uint64
}

func (w written) Key() string      { return w.key }
func (w written) Value() []byte    { return w.value }
func (w written) Revision() uint64 { return w.revision }

func (w written) Operation() jetstream.KeyValueOp {
	if w.value == nil {
		return jetstream.KeyValueDelete
	}
	return jetstream.KeyValuePut
}

// write judges a change against the latest snapshot and stores it if that is
// still the latest; else it judges anew. A nil value deletes.
func (r *Registry) write(ctx context.Context, kind Kind, id string, expect Expect, build func(*Snapshot) ([]byte, error)) (uint64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, leaderTimeout, errLeaderSlow)
	defer cancel()
	key := keyOf(kind, id)
	for {
		snap, err := r.catchUp(ctx)
		if err != nil {
			return 0, fmt.Errorf("%s %q: %w", kind, id, err)
		}
		if err := expect.check(snap.RecordRevision(kind, id)); err != nil {
			return 0, fmt.Errorf("%s %q: %w", kind, id, err)
		}
		value, err := build(snap)
		if err != nil {
			return 0, fmt.Errorf("%s %q: %w", kind, id, err)
		}
		revision, stored, err := r.publish(ctx, key, value, snap.revision)
		if err != nil {
			return 0, fmt.Errorf("%s %q: %w", kind, id, err)
		}
		if stored {
			r.applyAll([]entry{written{key: key, value: value, revision: revision}})
			return revision, nil
		}
	}
}

// publish stores a value if the bucket is still at the revision; stored is
// false when it is not.
func (r *Registry) publish(ctx context.Context, key string, value []byte, at uint64) (revision uint64, stored bool, err error) {
	msg := nats.NewMsg(topology.ConfigSubject(key))
	msg.Data = value
	if value == nil {
		msg.Header.Set(topology.HeaderKVOperation, topology.KVDelete)
	}
	ack, err := r.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequence(at))
	if err == nil && r.opts.Sync != nil {
		err = r.opts.Sync(ctx, topology.BucketStream(topology.BucketConfig))
	}
	if err == nil {
		return ack.Sequence, true, nil
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	if ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return 0, false, nil
	}
	if kind := broker.KindOf(err); errors.Is(kind, broker.ErrFull) {
		return 0, false, fmt.Errorf("%w: give it a larger store: %w", kind, err)
	}
	return 0, false, fmt.Errorf("%w: whether it is stored is not known: %w", broker.ErrUnavailable, err)
}
