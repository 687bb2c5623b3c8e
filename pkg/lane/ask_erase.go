package lane

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Erasing says what of a conversation is to be erased at a stage.
type Erasing struct {
	Stage     chat.Stage
	ChannelID string
	Key       chat.ConversationKey
	// Groups are those whose lanes are asked, beside those that are parked: the
	// channel at the user stage, the channel's endpoints at the bot stage.
	Groups []string
	Epoch  uint64 // keeps messages of later sessions; 0: none
	By     string // a token's name
	// UpTo is a place in the work queue, parked the last of each parked lane; see
	// UpToNow.
	UpTo   uint64
	at     time.Time // its
	parked map[string]uint64
}

// UpToNow has e mean what the stage has of the conversation by now. The error wraps
// broker.ErrUnavailable.
func (w *Waiting) UpToNow(ctx context.Context, e Erasing) (Erasing, error) {
	groups, err := w.ofConversation(ctx, e.Stage, e.Key)
	if err != nil {
		return e, err
	}
	e.parked = map[string]uint64{}
	for group := range groups {
		p := &Parked{Stage: e.Stage, ID: ID{Group: group, Key: e.Key}}
		store, err := w.store(ctx, p)
		if err != nil {
			return e, err
		}
		last, err := store.Last(ctx, p.ID)
		if err != nil {
			return e, unavailable(err)
		}
		if last != nil {
			e.parked[group] = last.ParkedSeq
		}
	}
	info, err := w.hot(ctx, e.Stage, e.Key, "")
	if err != nil {
		return e, err
	}
	e.UpTo, e.at = info.State.LastSeq, info.State.LastTime
	return e, nil
}

// Erase asks the owners of a conversation's lanes to erase what e means, and
// waits for them for so long. It takes the place of whatever was asked of a lane
// before. What is still to be delivered to its owner may come to a lane after
// that: see Hot. The error wraps broker.ErrFull or broker.ErrUnavailable.
func (w *Waiting) Erase(ctx context.Context, e Erasing, wait time.Duration) (Commanded, error) {
	parked, err := w.ofConversation(ctx, e.Stage, e.Key)
	if err != nil {
		return Commanded{}, err
	}
	groups := slices.Sorted(maps.Keys(parked))
	groups = append(groups, e.Groups...)
	slices.Sort(groups)
	groups = slices.Compact(groups)
	if len(groups) == 0 {
		return Commanded{}, nil
	}
	lanes := make([]Parked, len(groups))
	for i, group := range groups {
		lanes[i] = Parked{Stage: e.Stage, ID: ID{Group: group, Key: e.Key}}
	}
	filter := topology.CommandConversationFilter(e.Stage, e.Key.Partition(w.partitions), e.Key)
	return w.commandEach(ctx, filter, lanes, wait, func(ctx context.Context, kv jetstream.KeyValue, all *asked, p *Parked) error {
		return w.askToErase(ctx, kv, all, p, e)
	})
}

func (w *Waiting) askToErase(ctx context.Context, kv jetstream.KeyValue, all *asked, p *Parked, e Erasing) error {
	c := Command{Action: Erase, UpTo: e.parked[p.ID.Group], Hot: e.UpTo, Epoch: e.Epoch, By: e.By, At: time.Now().UTC()}
	if e.UpTo > 0 {
		c.HotAt = e.at.UnixMilli()
	}
	value, err := json.Marshal(c)
	if err != nil {
		return err
	}
	key := w.commandKey(p)
	revision, err := kv.Put(ctx, key, value)
	if err != nil {
		return err
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	all.made[key] = revision
	return nil
}

// CountParked counts a conversation's parked messages at a stage. The error wraps
// broker.ErrUnavailable.
func (w *Waiting) CountParked(ctx context.Context, stage chat.Stage, key chat.ConversationKey) (n uint64, err error) {
	lanes, err := w.ofConversation(ctx, stage, key)
	for _, messages := range lanes {
		n += messages
	}
	return n, err
}

// ofConversation returns the groups of a conversation's parked lanes, with the
// messages of each.
func (w *Waiting) ofConversation(ctx context.Context, stage chat.Stage, key chat.ConversationKey) (map[string]uint64, error) {
	stream, err := w.stream(ctx, stage)
	if err != nil {
		return nil, err
	}
	_, filter := topology.ConversationFilters(stage, key.Partition(w.partitions), key)
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, unavailable(err)
	}
	groups := make(map[string]uint64, len(info.State.Subjects))
	for subject, n := range info.State.Subjects {
		id, err := laneOf(subject)
		if err != nil {
			return nil, unavailable(err)
		}
		groups[id.Group] = n
	}
	return groups, nil
}

// Hot counts the messages of a conversation that are in its work queue, and
// reports whether one of them stands at a place or before it: it is still to come
// to its lanes, under way there, or settled and not removed yet. The error wraps
// broker.ErrUnavailable.
func (w *Waiting) Hot(ctx context.Context, stage chat.Stage, channelID string, key chat.ConversationKey, upTo uint64) (n uint64, before bool, err error) {
	subject := topology.HotSubject(stage, key.Partition(w.partitions), channelID, key)
	info, err := w.hot(ctx, stage, key, subject)
	if err != nil {
		return 0, false, err
	}
	if n = info.State.Subjects[subject]; n == 0 {
		return 0, false, nil
	}
	stream, err := w.conn.JS.Stream(ctx, topology.HotStream(stage, key.Partition(w.partitions)))
	if err != nil {
		return 0, false, unavailable(err)
	}
	m, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(subject))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound): // removed since
		return n, false, nil
	case err != nil:
		return 0, false, unavailable(err)
	}
	return n, m.Sequence <= upTo, nil
}

// hot asks the leader of a conversation's work queue.
func (w *Waiting) hot(ctx context.Context, stage chat.Stage, key chat.ConversationKey, subject string) (*jetstream.StreamInfo, error) {
	stream, err := w.conn.JS.Stream(ctx, topology.HotStream(stage, key.Partition(w.partitions)))
	if err != nil {
		return nil, unavailable(err)
	}
	var opts []jetstream.StreamInfoOpt
	if subject != "" {
		opts = append(opts, jetstream.WithSubjectFilter(subject))
	}
	info, err := stream.Info(ctx, opts...)
	if err != nil {
		return nil, unavailable(err)
	}
	return info, nil
}
