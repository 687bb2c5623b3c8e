package lane_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
)

// BenchmarkHandOff is one message's way through a hot lane: delivered, routed,
// handled at once, marked, acknowledged; the store costs nothing.
func BenchmarkHandOff(b *testing.B) {
	for name, lanes := range map[string]int{"1 lane": 1, "1000 lanes": 1000, "10000 lanes": 10_000} {
		b.Run(name, func(b *testing.B) { benchHandOff(b, lanes, lane.Policy{MaxInFlight: 256}) })
	}
}

// BenchmarkHandOffHealth is the same at a destination with a circuit, and a cap
// that follows what it takes.
func BenchmarkHandOffHealth(b *testing.B) {
	circuit := benchCircuit{health.NewCircuit(health.CircuitOptions{})}
	benchHandOff(b, 1000, lane.Policy{MaxInFlight: 256, MinInFlight: 255, Circuit: circuit})
}

// benchCircuit is a circuit that nobody shares.
type benchCircuit struct{ *health.Circuit }

func (c benchCircuit) Admit(_ context.Context, now time.Time) (health.Pass, bool) {
	return c.Circuit.Admit(now)
}

func benchHandOff(b *testing.B, lanes int, policy lane.Policy) {
	b.Helper()
	bench := &benchStage{
		policy: policy,
		total:  b.N, left: b.N, done: make(chan struct{}), keys: make([]chat.ConversationKey, lanes),
		inHand: make(chan struct{}, min(8*lanes, 200)), // no lane overflows
	}
	for i := range bench.keys {
		bench.keys[i] = chat.KeyOf("c", strconv.Itoa(i))
	}
	engine := lane.New(lane.Options{
		Stage: chat.StageBot, Marks: bench, Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
		Open: func(context.Context, int) (lane.Store, error) { return benchStore{stage: bench}, nil },
	}, bench)
	ctx, cancel := context.WithCancelCause(b.Context())
	b.ReportAllocs()
	b.ResetTimer()
	stopped := make(chan error, 1)
	go func() { stopped <- engine.Run(ctx, bench) }()
	<-bench.done
	b.StopTimer()
	cancel(partition.ErrHandOver)
	require.NoError(b, <-stopped)
}

// benchStore is a partition in which nothing is ever parked.
type benchStore struct {
	lane.Store
	stage *benchStage
}

func (s benchStore) Open(context.Context, uint64) (lane.Source, error) { return s.stage, nil }
func (benchStore) Lanes(context.Context) ([]lane.ParkedLane, error)    { return nil, nil }

// benchStage is a handler, a ledger, an owner and a source.
type benchStage struct {
	policy lane.Policy
	keys   []chat.ConversationKey
	total  int
	sent   int
	inHand chan struct{}

	mu   sync.Mutex
	left int
	done chan struct{}
}

func (s *benchStage) Run(ctx context.Context, hold func(context.Context, partition.Lease) error) error {
	return hold(ctx, s)
}

func (*benchStage) Stage() chat.Stage            { return chat.StageBot }
func (*benchStage) Partition() int               { return 0 }
func (*benchStage) Epoch() uint64                { return 1 }
func (*benchStage) Deadline() time.Time          { return time.Now().Add(time.Hour) }
func (*benchStage) Verify(context.Context) error { return nil }
func (*benchStage) Careful() bool                { return false }

func (*benchStage) Suspects() ([]partition.Work, int)                    { return nil, 0 }
func (*benchStage) NoteInFlight(context.Context, []partition.Work) error { return nil }

func (*benchStage) Close(context.Context, bool) error                      { return nil }
func (*benchStage) Forget(uint64)                                          {}
func (*benchStage) HeldUp(time.Time) (uint64, bool)                        { return 0, false }
func (*benchStage) Settle(context.Context, string, chat.Ordinal) error     { return nil }
func (*benchStage) Ended(*lane.Task, *chat.Attempt, chat.Outcome)          {}
func (*benchStage) Destination(group string) string                        { return group }
func (s *benchStage) Policy(string) lane.Policy                            { return s.policy }
func (*benchStage) Paused(string) string                                   { return "" }
func (*benchStage) Handle(context.Context, *lane.Task) lane.Verdict        { return lane.Done() }
func (*benchStage) Expire(context.Context, *lane.Task) lane.Verdict        { return lane.Expired() }
func (*benchStage) Superseded(context.Context, *lane.Task) bool            { return false }
func (*benchStage) Restore(*lane.Message, string) (t lane.Target, _ error) { return t, nil }

func (*benchStage) Load(context.Context, string) (mark chat.Ordinal, ok bool, _ error) {
	return mark, false, nil
}

func (s *benchStage) Next(ctx context.Context) (*lane.Delivery, error) {
	if s.sent == s.total {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s.inHand <- struct{}{}
	s.sent++
	return &lane.Delivery{Message: lane.Message{Seq: uint64(s.sent)}, Number: uint64(s.sent), Ack: s.ack}, nil
}

func (s *benchStage) ack() {
	<-s.inHand
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left == 0 {
		close(s.done)
	}
}

func (s *benchStage) Route(_ context.Context, m *lane.Message) ([]lane.Target, error) {
	return []lane.Target{{
		Lane:  lane.ID{Group: "e", Key: s.keys[m.Seq%uint64(len(s.keys))]},
		Place: chat.Ordinal{Epoch: 1, Counter: m.Seq},
	}}, nil
}
