package lane

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Found is a message that is in a stage's streams: in its work queue, or in a
// parked lane.
type Found struct {
	Stage chat.Stage
	// Group is the parked lane's; empty in the work queue, where a message may
	// stand for a moment after it was settled.
	Group string
	User  *chat.UserMessage // at the user stage
	Bot   *chat.BotMessage  // at the bot stage
	At    time.Time         // when the work queue got it
	// ParkedAt, Ahead and State are of a parked lane: how many messages stand
	// before this one, and what came so far of one that is its head (else nil).
	ParkedAt time.Time
	Ahead    int
	State    *chat.LaneState
}

// lookedFor is how many messages of a conversation are looked at in one place.
const lookedFor = 1000

// Find returns the messages of a conversation that are wanted of those that
// wait, at both stages; exactly one of wanted's arguments is not nil. all is
// false where so much waits that not all was looked at. What can't be decoded is
// left out. The error wraps broker.ErrUnavailable.
func (w *Waiting) Find(ctx context.Context, key chat.ConversationKey, wanted func(*chat.UserMessage, *chat.BotMessage) bool) (found []Found, all bool, err error) {
	all = true
	for _, stage := range []chat.Stage{chat.StageUser, chat.StageBot} {
		for _, find := range []func(context.Context, chat.Stage, chat.ConversationKey, func(Found, []byte)) (bool, error){w.findHot, w.findParked} {
			complete, err := find(ctx, stage, key, func(f Found, data []byte) {
				if f.decode(data) && wanted(f.User, f.Bot) {
					found = append(found, f)
				}
			})
			if err != nil {
				return nil, false, unavailable(err)
			}
			all = all && complete
		}
	}
	return found, all, nil
}

// decode reports whether the message can be read.
func (f *Found) decode(data []byte) bool {
	var err error
	if f.Stage == chat.StageUser {
		f.User, err = wire.DecodeUserMessage(data)
	} else {
		f.Bot, err = wire.DecodeBotMessage(data)
	}
	return err == nil
}

// findHot looks into the conversation's work queue.
func (w *Waiting) findHot(ctx context.Context, stage chat.Stage, key chat.ConversationKey, visit func(Found, []byte)) (all bool, err error) {
	partition := key.Partition(w.partitions)
	stream, err := w.conn.JS.Stream(ctx, topology.HotStream(stage, partition))
	if err != nil {
		return false, err
	}
	subject, _ := topology.ConversationFilters(stage, partition, key)
	next := uint64(1)
	for range lookedFor {
		m, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		visit(Found{Stage: stage, At: m.Time}, m.Data)
		next = m.Sequence + 1
	}
	return false, nil
}

// findParked looks into the conversation's parked lanes: of the channel at the
// user stage, of each endpoint at the bot stage.
func (w *Waiting) findParked(ctx context.Context, stage chat.Stage, key chat.ConversationKey, visit func(Found, []byte)) (all bool, err error) {
	groups, err := w.ofConversation(ctx, stage, key)
	if err != nil {
		return false, err
	}
	all = true
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		complete, err := w.findInLane(ctx, stage, ID{Group: group, Key: key}, visit)
		if err != nil {
			return false, err
		}
		all = all && complete
	}
	return all, nil
}

func (w *Waiting) findInLane(ctx context.Context, stage chat.Stage, id ID, visit func(Found, []byte)) (all bool, err error) {
	store, err := w.store(ctx, &Parked{Stage: stage, ID: id})
	if err != nil {
		return false, err
	}
	state, err := store.State(ctx, id)
	if err != nil && !errors.Is(err, wire.ErrUndecodable) { // its owner says so
		return false, err
	}
	next := uint64(1)
	for n := 0; n < lookedFor; {
		messages, err := store.Next(ctx, id, next, statesRead)
		if err != nil {
			return false, err
		}
		if len(messages) == 0 {
			return true, nil
		}
		for i := range messages {
			m := &messages[i]
			f := Found{Stage: stage, Group: id.Group, At: m.Time, ParkedAt: m.ParkedAt, Ahead: n}
			if n == 0 && state != nil && state.HeadSeq == m.Seq {
				f.State = state
			}
			visit(f, m.Data)
			next, n = m.ParkedSeq+1, n+1
		}
	}
	return false, nil
}
