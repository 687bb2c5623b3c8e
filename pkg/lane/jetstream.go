package lane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// ackWait is how long a lost acknowledgement keeps a settled message in the work
// queue. It has nothing to do with how long an attempt may take: the engine knows
// what it has in hand, and rewinds when it takes over.
const ackWait = 30 * time.Second

// pullSize is how many deliveries are asked for at a time.
const pullSize = 256

// JetStream is the Store over streams and a consumer.
type JetStream struct {
	conn      *broker.Conn
	stage     chat.Stage
	partition int
	parked    jetstream.Stream
	// Sole says that this process alone writes and reads the work queue, over
	// this one connection: it is then read without a consumer.
	Sole bool
}

// NewJetStream opens a partition's store. The streams must exist.
func NewJetStream(ctx context.Context, conn *broker.Conn, stage chat.Stage, partition int) (*JetStream, error) {
	parked, err := conn.JS.Stream(ctx, topology.ParkedStream(stage))
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", topology.ParkedStream(stage), err)
	}
	return &JetStream{conn: conn, stage: stage, partition: partition, parked: parked}, nil
}

// Open implements Store.
func (s *JetStream) Open(ctx context.Context, epoch uint64) (Source, error) {
	stream, err := s.conn.JS.Stream(ctx, topology.HotStream(s.stage, s.partition))
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", topology.HotStream(s.stage, s.partition), err)
	}
	if err := deleteOlder(ctx, stream, epoch); err != nil {
		return nil, err
	}
	if s.Sole {
		return newTail(ctx, s.conn, stream), nil
	}
	reconnected := s.conn.NATS.StatusChanged(nats.CONNECTED)
	src, err := s.consume(ctx, stream, topology.ConsumerName(epoch, nuid.Next()))
	if err != nil {
		s.conn.NATS.RemoveStatusListener(reconnected)
		return nil, err
	}
	src.watch(s.conn.NATS, reconnected)
	return src, nil
}

func (s *JetStream) consume(ctx context.Context, stream jetstream.Stream, name string) (*source, error) {
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Name:          name,
		Durable:       name,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: window + 2*pullSize,
		MemoryStorage: true,
	})
	if err != nil {
		return nil, fmt.Errorf("creating consumer %s: %w", name, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(pullSize))
	if err != nil {
		return nil, fmt.Errorf("consuming %s: %w", name, err)
	}
	return &source{conn: s.conn, stream: stream, name: name, messages: messages}, nil
}

// deleteOlder deletes the consumers of this epoch (a former start of this
// owner) and below; seeing a higher one it changes nothing.
func deleteOlder(ctx context.Context, stream jetstream.Stream, epoch uint64) error {
	var older []string
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		e, ok := topology.ConsumerEpoch(name)
		if ok && e > epoch {
			return fmt.Errorf("consumer %s, epoch %d: %w", name, epoch, ErrFenced)
		}
		older = append(older, name)
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("listing consumers: %w", err)
	}
	for _, name := range older {
		if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("deleting consumer %s: %w", name, err)
		}
	}
	return nil
}

type source struct {
	conn     *broker.Conn
	stream   jetstream.Stream
	name     string
	messages jetstream.MessagesContext
	unwatch  func()
	lost     atomic.Bool // the connection was, and is back
}

// errReconnected ends a source: a server that was started again has no
// consumers in memory, and acknowledgements were lost with the connection.
// Without a look at the connection that shows after missed heartbeats, and in
// what is lost after ackWait.
var errReconnected = errors.New("the connection was lost, and is back")

// watch ends the source when the connection is back after it was lost.
func (s *source) watch(conn *nats.Conn, reconnected chan nats.Status) {
	s.unwatch = sync.OnceFunc(func() { conn.RemoveStatusListener(reconnected) })
	go func() {
		if _, ok := <-reconnected; ok { // closed by unwatch
			s.lost.Store(true)
			s.messages.Stop()
		}
	}()
}

func (s *source) Next(ctx context.Context) (*Delivery, error) {
	msg, err := s.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		if s.lost.Load() {
			err = errReconnected
		}
		return nil, fmt.Errorf("consumer %s: %w", s.name, err)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", s.name, err)
	}
	d := &Delivery{
		Message: Message{Seq: meta.Sequence.Stream, Time: meta.Timestamp, Data: msg.Data()},
		Number:  meta.Sequence.Consumer,
		Ack:     func() { s.conn.AfterSync(func() { _ = msg.Ack() }) },
	}
	if h := msg.Headers(); h != nil {
		d.Replay, d.Traceparent = replayOf(h), traceparentOf(h)
	}
	return d, nil
}

// Forget implements Source: an acknowledgement removes at once.
func (s *source) Forget(uint64) {}

// HeldUp implements Source: a message is removed whatever stands before it.
func (s *source) HeldUp(time.Time) (uint64, bool) { return 0, false }

func (s *source) Close(ctx context.Context, release bool) error {
	s.unwatch()
	s.messages.Stop()
	if !release {
		return nil
	}
	if err := s.conn.Sync(ctx); err != nil { // acknowledgements may wait for that
		return err
	}
	if err := s.stream.DeleteConsumer(ctx, s.name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("deleting consumer %s: %w", s.name, err)
	}
	return nil
}

// Lanes implements Store.
func (s *JetStream) Lanes(ctx context.Context) ([]ParkedLane, error) {
	messages, states := topology.LaneFilters(s.stage, s.partition)
	counts, err := s.subjects(ctx, messages)
	if err != nil {
		return nil, err
	}
	withState, err := s.subjects(ctx, states)
	if err != nil {
		return nil, err
	}
	found := make(map[ID]ParkedLane, len(counts))
	for subject, n := range counts {
		id, err := laneOf(subject)
		if err != nil {
			return nil, err
		}
		found[id] = ParkedLane{ID: id, Messages: n}
	}
	for subject := range withState { // some may have outlived their messages
		id, err := laneOf(subject)
		if err != nil {
			return nil, err
		}
		found[id] = ParkedLane{ID: id, Messages: found[id].Messages, HasState: true}
	}
	return slices.Collect(maps.Values(found)), nil
}

func laneOf(subject string) (ID, error) {
	group, key, err := topology.ParseLaneSubject(subject)
	if err != nil {
		return ID{}, fmt.Errorf("listing parked lanes: %w", err)
	}
	return ID{Group: group, Key: key}, nil
}

func (s *JetStream) subjects(ctx context.Context, filter string) (map[string]uint64, error) {
	info, err := s.parked.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", filter, err)
	}
	return info.State.Subjects, nil
}

func (s *JetStream) subjectsOf(id ID) (messages, state string) {
	return topology.LaneSubjects(s.stage, s.partition, id.Group, id.Key)
}

// Append implements Store.
func (s *JetStream) Append(ctx context.Context, id ID, m *Message) (uint64, error) {
	subject, _ := s.subjectsOf(id)
	headers := map[string]string{}
	if m.Replay != nil {
		headers = m.Replay.Headers()
	}
	if m.Traceparent != "" {
		headers[topology.HeaderTraceparent] = m.Traceparent
	}
	headers[topology.HeaderSeq] = strconv.FormatUint(m.Seq, 10)
	headers[topology.HeaderTime] = strconv.FormatInt(m.Time.UnixNano(), 10)
	return s.conn.Publish(ctx, broker.Message{Subject: subject, Data: m.Data, Headers: headers, Later: true})
}

// Next implements Store.
func (s *JetStream) Next(ctx context.Context, id ID, from uint64, most int) ([]ParkedMessage, error) {
	subject, _ := s.subjectsOf(id)
	if most > 1 && s.parked.CachedInfo().Config.AllowDirect {
		return s.nextDirect(ctx, subject, from, most)
	}
	// The server takes a start of 0 for "no start given".
	raw, err := s.parked.GetMsg(ctx, max(from, 1), jetstream.WithGetMsgSubject(subject))
	m, err := s.parkedMessage(ctx, raw, err)
	if m == nil || err != nil {
		return nil, err
	}
	return []ParkedMessage{*m}, nil
}

func (s *JetStream) nextDirect(ctx context.Context, subject string, from uint64, most int) ([]ParkedMessage, error) {
	found, err := s.conn.ReadNext(ctx, topology.ParkedStream(s.stage), subject, from, most)
	if err != nil {
		_, err = s.parkedMessage(ctx, nil, err)
		return nil, err
	}
	out := make([]ParkedMessage, 0, len(found))
	for i := range found {
		m, err := s.parkedMessage(ctx, &found[i], nil)
		if err != nil {
			if i > 0 { // it is another's turn first
				break
			}
			return nil, err
		}
		out = append(out, *m)
	}
	return out, nil
}

// Last implements Store.
func (s *JetStream) Last(ctx context.Context, id ID) (*ParkedMessage, error) {
	subject, _ := s.subjectsOf(id)
	raw, err := s.parked.GetLastMsgForSubject(ctx, subject)
	return s.parkedMessage(ctx, raw, err)
}

func (s *JetStream) parkedMessage(ctx context.Context, raw *jetstream.RawStreamMsg, err error) (*ParkedMessage, error) {
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // documented: none
	}
	if err != nil {
		_, _ = s.parked.Info(ctx) // how the stream may be read can have changed
		return nil, fmt.Errorf("reading the parked stream: %w", err)
	}
	seq, err := strconv.ParseUint(raw.Header.Get(topology.HeaderSeq), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("parked message %d: header %s: %w", raw.Sequence, topology.HeaderSeq, err)
	}
	nanos, err := strconv.ParseInt(raw.Header.Get(topology.HeaderTime), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("parked message %d: header %s: %w", raw.Sequence, topology.HeaderTime, err)
	}
	return &ParkedMessage{
		Message: Message{
			Seq: seq, Time: time.Unix(0, nanos), Data: raw.Data,
			Replay: replayOf(raw.Header), Traceparent: traceparentOf(raw.Header),
		},
		ParkedSeq: raw.Sequence,
		ParkedAt:  raw.Time,
	}, nil
}

// Remove implements Store.
func (s *JetStream) Remove(ctx context.Context, id ID, upTo uint64) error {
	if err := s.conn.Sync(ctx); err != nil { // what says that they are settled
		return err
	}
	subject, _ := s.subjectsOf(id)
	err := s.parked.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(upTo+1))
	if err != nil {
		return fmt.Errorf("removing settled messages of a parked lane: %w", err)
	}
	return nil
}

// State implements Store.
func (s *JetStream) State(ctx context.Context, id ID) (*chat.LaneState, error) {
	_, subject := s.subjectsOf(id)
	raw, err := s.parked.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // documented: none
	}
	if err != nil {
		return nil, fmt.Errorf("reading a lane's state: %w", err)
	}
	return wire.DecodeLaneState(raw.Data)
}

// PutState implements Store.
func (s *JetStream) PutState(ctx context.Context, id ID, state *chat.LaneState) error {
	_, subject := s.subjectsOf(id)
	data, err := wire.EncodeLaneState(state)
	if err != nil {
		return fmt.Errorf("encoding a lane's state: %w", err)
	}
	_, err = s.conn.Publish(ctx, broker.Message{Subject: subject, Data: data, Rollup: true, Later: true})
	return err
}

// DropState implements Store.
func (s *JetStream) DropState(ctx context.Context, id ID) error {
	if err := s.conn.Sync(ctx); err != nil {
		return err
	}
	_, subject := s.subjectsOf(id)
	if err := s.parked.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		return fmt.Errorf("removing a lane's state: %w", err)
	}
	return nil
}
