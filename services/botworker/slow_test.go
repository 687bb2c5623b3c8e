package botworker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// One conversation has 10,000 messages waiting on a bot that takes a second for
// each. The others of its partition don't notice: neither behind them in the
// work queue, nor once they are parked, after a take-over.
func TestSlowConversationHoldsNobodyUp(t *testing.T) {
	const waiting, others, each = 10_000, 40, 5
	r := newRig(t)
	slowKey := chat.KeyOf(channel, "slow")
	part := slowKey.Partition(r.h.Partitions)
	var neighbours []string
	for i := 0; len(neighbours) < others; i++ {
		name := fmt.Sprint("c", i)
		if chat.KeyOf(channel, name).Partition(r.h.Partitions) == part {
			neighbours = append(neighbours, name)
		}
	}
	var mu sync.Mutex
	slow := 0
	r.bot.script = func(ctx context.Context, turn *bot.Turn) (*bot.Answer, error) {
		if textOf(turn.Input) != "slow" {
			return says(turn, textOf(turn.Input)), nil
		}
		mu.Lock()
		slow++
		mu.Unlock()
		select {
		case <-time.After(time.Second):
			return says(turn, "at last"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	publish := func(name, text string) func() error {
		key := chat.KeyOf(channel, name)
		m := broker.Message{Subject: topology.HotSubject(chat.StageUser, part, channel, key), Data: r.said(name, text).Data}
		return func() error {
			_, err := r.conn.Publish(t.Context(), m)
			return err
		}
	}
	// talk has the others talk while the service runs, and says how long that
	// took and how many turns of the slow one began meanwhile.
	talk := func() (time.Duration, int) {
		mu.Lock()
		slow = 0
		mu.Unlock()
		journal := &finished{left: others * each, processed: map[string]int{}, done: make(chan struct{})}
		for range each {
			for _, name := range neighbours {
				require.NoError(t, publish(name, "hello")())
			}
		}
		begun, took := time.Now(), make(chan time.Duration, 1)
		go func() {
			<-journal.done
			took <- time.Since(begun)
		}()
		run(t, r, &without{journal, "slow"}, journal.done)
		mu.Lock()
		defer mu.Unlock()
		return <-took, slow
	}
	alone, _ := talk()
	var g errgroup.Group
	g.SetLimit(64)
	for range waiting {
		g.Go(publish("slow", "slow"))
	}
	require.NoError(t, g.Wait())
	behind, turns := talk()
	t.Logf("%d messages of others took %s alone, %s behind %d slow ones, of which %d began", others*each, alone, behind, waiting, turns)
	require.LessOrEqual(t, turns, 10)

	stream, err := r.conn.JS.Stream(t.Context(), topology.ParkedStream(chat.StageUser))
	require.NoError(t, err)
	require.Greater(t, stream.CachedInfo().State.Msgs, uint64(waiting/2), "they were parked to let the others through")
	after, turns := talk()
	t.Logf("after a take-over they took %s, and %d slow ones began", after, turns)
	require.LessOrEqual(t, turns, 4)
}

// without leaves a conversation's turns out of a journal.
type without struct {
	*finished
	conversation string
}

func (w *without) Turn(t *chat.Turn) {
	if t.Input.ConversationID != w.conversation {
		w.finished.Turn(t)
	}
}
