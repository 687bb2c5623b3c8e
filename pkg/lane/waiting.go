package lane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Waiting reads what is parked, for operators, and takes their commands to the
// lanes' owners, whichever processes those are.
type Waiting struct {
	conn       *broker.Conn
	partitions int

	mu      sync.Mutex
	streams map[chat.Stage]jetstream.Stream // once they were asked for
	bucket  jetstream.KeyValue              // the same
}

// NewWaiting makes a Waiting; the streams must exist.
func NewWaiting(conn *broker.Conn, partitions int) *Waiting {
	return &Waiting{conn: conn, partitions: partitions, streams: map[chat.Stage]jetstream.Stream{}}
}

func (w *Waiting) stream(ctx context.Context, stage chat.Stage) (jetstream.Stream, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := w.streams[stage]; ok {
		return s, nil
	}
	s, err := w.conn.JS.Stream(ctx, topology.ParkedStream(stage))
	if err != nil {
		return nil, unavailable(err)
	}
	w.streams[stage] = s
	return s, nil
}

func (w *Waiting) commands(ctx context.Context) (kv jetstream.KeyValue, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bucket == nil {
		w.bucket, err = openCommands(ctx, w.conn)
	}
	return w.bucket, err
}

// store is how the lane's owner reads it.
func (w *Waiting) store(ctx context.Context, p *Parked) (*JetStream, error) {
	s, err := w.stream(ctx, p.Stage)
	if err != nil {
		return nil, err
	}
	return &JetStream{conn: w.conn, stage: p.Stage, partition: p.ID.Key.Partition(w.partitions), parked: s}, nil
}

const (
	// maxStates is how many state records are read at most to count or to find
	// lanes by them.
	maxStates = 50_000
	// statesRead is how many are read at a time.
	statesRead = 500
	// lanesAtOnce is how many lanes are looked at at once.
	lanesAtOnce = 16
)

// Parked is a parked lane as an operator sees it.
type Parked struct {
	Stage    chat.Stage
	ID       ID
	Messages uint64
	// Head is the first message; nil where it was settled while the lane was read.
	Head *Head
	// State is what came of the head so far; nil: nothing.
	State *chat.LaneState
	// Command is what is asked of the lane and not done yet; nil: nothing.
	Command *Command
}

// Head is the message that a parked lane waits with. What can't be decoded has
// times alone.
type Head struct {
	MessageID, ChannelID, ConversationID string
	AcceptedAt                           time.Time // by the work queue
	ParkedAt                             time.Time
	Supersede                            bool // it asks to be superseded, whatever its endpoint does
	place                                uint64
}

// Name returns the lane's name among those of all stages.
func (p *Parked) Name() string { return string(p.Stage) + "." + p.ID.String() }

// ParseName takes a lane's name apart.
func ParseName(name string) (stage chat.Stage, id ID, err error) {
	parts := strings.Split(name, ".")
	if len(parts) == 3 && (parts[0] == string(chat.StageUser) || parts[0] == string(chat.StageBot)) && chat.ValidateID("group", parts[1]) == nil {
		if id.Key, err = chat.ParseConversationKey(parts[2]); err == nil {
			id.Group = parts[1]
			return chat.Stage(parts[0]), id, nil
		}
	}
	return "", ID{}, fmt.Errorf("%q is no lane: give the name that the list shows", name)
}

// ErrNotParked means that a lane has nothing parked.
var ErrNotParked = errors.New("no such lane is parked: it may have been emptied")

// Filter says which parked lanes are meant; an empty field means all. A group is
// an endpoint at the bot stage, and a channel at the user stage.
type Filter struct {
	Stage chat.Stage
	Group string
	Held  bool // only those that wait for an operator
}

// List returns lanes by name, at most limit, from behind a name on; next is what
// after takes for the part behind, empty at the end. It counts all lanes that
// the filter matches. The error wraps broker.ErrUnavailable.
func (w *Waiting) List(ctx context.Context, f Filter, after string, limit int) (lanes []Parked, next string, err error) {
	if lanes, err = w.find(ctx, f); err != nil {
		return nil, "", err
	}
	slices.SortFunc(lanes, func(a, b Parked) int { return cmp.Compare(a.Name(), b.Name()) })
	for len(lanes) > 0 && lanes[0].Name() <= after {
		lanes = lanes[1:]
	}
	if len(lanes) > limit {
		lanes = lanes[:limit]
		next = lanes[limit-1].Name()
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lanesAtOnce)
	for i := range lanes {
		g.Go(func() error { return w.look(ctx, &lanes[i]) })
	}
	return lanes, next, unavailable(g.Wait())
}

// Get returns a parked lane, or ErrNotParked; another error wraps
// broker.ErrUnavailable.
func (w *Waiting) Get(ctx context.Context, stage chat.Stage, id ID) (*Parked, error) {
	stream, err := w.stream(ctx, stage)
	if err != nil {
		return nil, err
	}
	subject, _ := topology.LaneSubjects(stage, id.Key.Partition(w.partitions), id.Group, id.Key)
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return nil, unavailable(err)
	}
	p := &Parked{Stage: stage, ID: id, Messages: info.State.Subjects[subject]}
	if p.Messages == 0 {
		return nil, ErrNotParked
	}
	return p, unavailable(w.look(ctx, p))
}

func unavailable(err error) error {
	if err == nil || errors.Is(err, broker.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("reading parked lanes: %w: %w", broker.ErrUnavailable, err)
}

// find returns the lanes that a filter matches, with no more than their counts.
func (w *Waiting) find(ctx context.Context, f Filter) ([]Parked, error) {
	var lanes []Parked
	for _, stage := range []chat.Stage{chat.StageBot, chat.StageUser} {
		if f.Stage != "" && f.Stage != stage {
			continue
		}
		held := map[ID]bool{}
		if f.Held {
			if _, err := w.eachState(ctx, stage, topology.LaneStates(stage, f.Group), func(id ID, s *chat.LaneState) { held[id] = s.Held }); err != nil {
				return nil, err
			}
		}
		stream, err := w.stream(ctx, stage)
		if err != nil {
			return nil, err
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(topology.LaneMessages(stage, f.Group)))
		if err != nil {
			return nil, unavailable(err)
		}
		for subject, n := range info.State.Subjects {
			id, err := laneOf(subject)
			if err != nil {
				return nil, unavailable(err)
			}
			if !f.Held || held[id] {
				lanes = append(lanes, Parked{Stage: stage, ID: id, Messages: n})
			}
		}
	}
	return lanes, nil
}

// look reads a lane's head, its state, and what is asked of it.
func (w *Waiting) look(ctx context.Context, p *Parked) error {
	store, err := w.store(ctx, p)
	if err != nil {
		return err
	}
	found, err := store.Next(ctx, p.ID, 0, 1)
	if err != nil || len(found) == 0 {
		return err
	}
	p.Head = headOf(p.Stage, &found[0])
	state, err := store.State(ctx, p.ID)
	if err != nil && !errors.Is(err, wire.ErrUndecodable) { // its owner says so
		return err
	}
	if state != nil && state.HeadSeq == found[0].Seq {
		p.State = state
	}
	kv, err := w.commands(ctx)
	if err != nil {
		return err
	}
	entry, err := kv.Get(ctx, w.commandKey(p))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil
	case err != nil:
		return err
	}
	p.Command, _ = commandOf(entry) // what can't be read is nothing to its owner
	return nil
}

func (w *Waiting) commandKey(p *Parked) string {
	return topology.CommandKey(p.Stage, p.ID.Key.Partition(w.partitions), p.ID.Group, p.ID.Key)
}

func headOf(stage chat.Stage, m *ParkedMessage) *Head {
	h := &Head{AcceptedAt: m.Time, ParkedAt: m.ParkedAt, place: m.ParkedSeq}
	switch stage {
	case chat.StageUser:
		if um, err := wire.DecodeUserMessage(m.Data); err == nil {
			h.MessageID, h.ChannelID, h.ConversationID = um.ID, um.ChannelID, um.ConversationID
		}
	case chat.StageBot:
		if bm, err := wire.DecodeBotMessage(m.Data); err == nil {
			h.MessageID, h.ChannelID, h.ConversationID = bm.ID, bm.ChannelID, bm.ConversationID
			h.Supersede = bm.Supersede
		}
	}
	return h
}

// Held counts the lanes of a stage that wait for an operator; all is false where
// there are too many lanes that failed to look at each. The error wraps
// broker.ErrUnavailable.
func (w *Waiting) Held(ctx context.Context, stage chat.Stage) (held uint64, all bool, err error) {
	all, err = w.eachState(ctx, stage, topology.LaneStates(stage, ""), func(_ ID, s *chat.LaneState) {
		if s.Held {
			held++
		}
	})
	return held, all, err
}

// eachState calls found for the state records that a filter matches; all says
// whether it was for each. It reads at the stream's leader, where direct reads
// may lag.
func (w *Waiting) eachState(ctx context.Context, stage chat.Stage, filter string, found func(ID, *chat.LaneState)) (all bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("reading the states of lanes: %w: %w", broker.ErrUnavailable, err)
		}
	}()
	stream, err := w.stream(ctx, stage)
	if err != nil {
		return false, err
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return false, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = stream.DeleteConsumer(ctx, consumer.CachedInfo().Name) // else it goes by itself
	}()
	pending := consumer.CachedInfo().NumPending
	left := min(pending, maxStates)
	for left > 0 {
		batch, err := consumer.FetchNoWait(int(min(left, statesRead)))
		if err != nil {
			return false, err
		}
		n := uint64(0)
		for m := range batch.Messages() {
			n++
			id, err := laneOf(m.Subject())
			if err != nil {
				continue // none of ours
			}
			if state, err := wire.DecodeLaneState(m.Data()); err == nil { // else its owner says so
				found(id, state)
			}
		}
		if err := batch.Error(); err != nil {
			return false, err
		}
		if n == 0 { // some were replaced or dropped meanwhile
			break
		}
		left -= min(left, n)
	}
	return pending <= maxStates, ctx.Err()
}
