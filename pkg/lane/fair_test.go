package lane_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/topology"
)

// inPartition returns n conversations of partition 0.
func inPartition(name string, n int) (out []string) {
	for i := 0; len(out) < n; i++ {
		if conv := name + strconv.Itoa(i); chat.KeyOf("c", conv).Partition(brokertest.Layout.Partitions) == 0 {
			out = append(out, conv)
		}
	}
	return out
}

// Groups that share a destination take turns at it: who comes behind a hundred
// lanes of another waits for one of them.
func TestGroupsTakeTurns(t *testing.T) {
	r := newRig(t)
	r.handler.shared = "bot"
	r.handler.policy["bot"] = lane.Policy{Schedule: quick, MaxInFlight: 1}
	step := make(chan struct{})
	var mu sync.Mutex
	var order []string
	for _, group := range []string{"loud", "calm"} {
		r.handler.script[group] = func(task *lane.Task) lane.Verdict {
			<-step
			mu.Lock()
			defer mu.Unlock()
			order = append(order, task.Lane.Group)
			return lane.Done()
		}
	}
	r.start()
	const loud, calm = 100, 3
	for _, conv := range inPartition("l", loud) {
		r.publish("loud", conv, 1)
	}
	for _, conv := range inPartition("c", calm+1) { // the last says that those before stand in line
		r.publish("calm", conv, 1)
	}
	r.handler.await(t, func() bool { return r.handler.routed == loud+calm+1 })
	for range loud + calm + 1 {
		step <- struct{}{}
	}
	r.handler.await(t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == loud+calm+1 })
	for i := range calm {
		at := nth(order, "calm", i)
		require.LessOrEqual(t, at, 2+2*i, "one was at work, one had its turn: %v", order[:10])
	}
	r.requireEmpty()
}

func nth(order []string, group string, n int) int {
	for i, g := range order {
		if g == group {
			if n == 0 {
				return i
			}
			n--
		}
	}
	return -1
}

// BenchmarkNeighbour is how long a channel's messages take at a bot that takes
// 20 ms and 64 at once, alone, and beside a burst of 10,000 conversations of
// another channel.
func BenchmarkNeighbour(b *testing.B) {
	for _, burst := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("burst %d", burst), func(b *testing.B) {
			for b.Loop() {
				took := neighbour(b, burst)
				b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-p50")
				b.ReportMetric(float64(took[len(took)*9/10].Milliseconds()), "ms-p90")
				b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "ms-max")
			}
		})
	}
}

// shared is a bot that two channels use.
type shared struct {
	*handler
	handled func(t *lane.Task)
}

func (s *shared) Policy(string) lane.Policy { return lane.Policy{Schedule: quick, MaxInFlight: 64} }

func (s *shared) Handle(ctx context.Context, t *lane.Task) lane.Verdict {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	s.handled(t)
	return lane.Done()
}

// neighbour measures 100 messages of a channel, one each 25 ms from 200 ms after
// the burst on; sorted.
func neighbour(b *testing.B, burst int) []time.Duration {
	b.Helper()
	const measured = 100
	conn := brokertest.New(b)
	var mu sync.Mutex
	sent, took := map[string]time.Time{}, []time.Duration{}
	left, done := burst+measured, make(chan struct{})
	h := &shared{handler: newHandler(), handled: func(t *lane.Task) {
		mu.Lock()
		defer mu.Unlock()
		if t.Lane.Group == "calm" {
			took = append(took, time.Since(sent[t.ConversationID]))
		}
		if left--; left == 0 {
			close(done)
		}
	}}
	h.shared = "bot"
	owner, err := partition.NewSole(b.Context(), conn.JS, chat.StageBot, brokertest.Layout.Partitions, "bench")
	require.NoError(b, err)
	memory := &memory{marks: map[string]chat.Ordinal{}}
	engine := lane.New(lane.Options{
		Stage: chat.StageBot, Marks: memory, Graveyard: memory, Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
		Open: func(ctx context.Context, p int) (lane.Store, error) {
			store, err := lane.NewJetStream(ctx, conn, chat.StageBot, p)
			if err == nil {
				store.Sole = true
			}
			return store, err
		},
	}, h)
	publish := func(group, conv string) {
		key := chat.KeyOf("c", conv)
		_, err := conn.Publish(b.Context(), broker.Message{
			Subject: topology.HotSubject(chat.StageBot, key.Partition(brokertest.Layout.Partitions), "c", key),
			Data:    fmt.Appendf(nil, "%s %s 1", group, conv),
		})
		require.NoError(b, err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	stopped := make(chan error, 1)
	for i := range burst {
		publish("loud", "l"+strconv.Itoa(i))
	}
	go func() { stopped <- engine.Run(ctx, owner) }()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for i := range measured {
		<-tick.C
		conv := "c" + strconv.Itoa(i)
		mu.Lock()
		sent[conv] = time.Now()
		mu.Unlock()
		publish("calm", conv)
	}
	<-done
	cancel()
	require.NoError(b, <-stopped)
	slices.Sort(took)
	return took
}
