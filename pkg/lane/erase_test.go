package lane_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/retry"
)

// erasing means a conversation of the rig.
func (r *rig) erasing(conv string, groups ...string) lane.Erasing {
	r.t.Helper()
	e, err := r.waiting().UpToNow(r.t.Context(), lane.Erasing{Stage: chat.StageBot, ChannelID: "c", Key: chat.KeyOf("c", conv), Groups: groups, By: "ada"})
	require.NoError(r.t, err)
	return e
}

// erase has it erased in so many lanes.
func (r *rig) erase(e lane.Erasing, lanes int) {
	r.t.Helper()
	got, err := r.waiting().Erase(r.t.Context(), e, long)
	require.NoError(r.t, err)
	require.Equal(r.t, lane.Commanded{Lanes: lanes, Done: lanes}, got)
}

// endings is how often messages ended so.
func (h *handler) endings(o chat.Outcome) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended[o]
}

// TestErase: all that waits ends without a dead letter or a state record, and
// nothing else; the conversation goes on with what comes later.
func TestErase(t *testing.T) {
	withEachSource(t, func(r *rig) {
		mend := r.failing("e")
		r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Hour}}
		r.start()
		for i := range 20 {
			r.publish("e", "a", i+1)
			r.publish("e", "b", i+1)
		}
		r.awaitParked("e", "a", 20)
		r.awaitParked("e", "b", 20)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeRetry] == 2 })
		n, err := r.waiting().CountParked(r.t.Context(), chat.StageBot, chat.KeyOf("c", "a"))
		require.NoError(r.t, err)
		require.EqualValues(r.t, 20, n)

		r.erase(r.erasing("a"), 1)
		require.Equal(r.t, 20, r.handler.endings(chat.OutcomeDiscarded))
		require.Empty(r.t, r.memory.letters)
		require.Equal(r.t, []string{"e b"}, r.parkedNames())
		mend()
		r.publish("e", "a", 21)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 1 })
		require.Equal(r.t, []uint64{21}, r.handler.seen["e a"])
		r.command("e", "b", lane.RetryNow)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 21 })
		require.Equal(r.t, upTo(20), r.handler.seen["e b"])
		r.erase(r.erasing("a", "e", "f"), 2) // lanes that have nothing
		require.Equal(r.t, 20, r.handler.endings(chat.OutcomeDiscarded))
		r.requireEmpty()
	})
}

// parkedNames are the endpoints and conversations a and b of what is parked, by
// state or by message.
func (r *rig) parkedNames() (names []string) {
	for p := range brokertest.Layout.Partitions {
		store, err := lane.NewJetStream(r.t.Context(), r.conn, chat.StageBot, p)
		require.NoError(r.t, err)
		lanes, err := store.Lanes(r.t.Context())
		require.NoError(r.t, err)
		for _, l := range lanes {
			for _, conv := range []string{"a", "b"} {
				if l.ID.Key == chat.KeyOf("c", conv) {
					names = append(names, l.ID.Group+" "+conv)
				}
			}
		}
	}
	return names
}

// TestEraseWhatIsHot: what the work queue has, up to the place that was meant,
// and not what comes behind.
func TestEraseWhatIsHot(t *testing.T) {
	withEachSource(t, func(r *rig) {
		entered, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Hour}}
		r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
			once.Do(func() { close(entered); <-goOn })
			if task.Place.Counter == 2 {
				return lane.Retry(0, errors.New("no"))
			}
			return lane.Done()
		}
		r.start()
		for i := range 3 {
			r.publish("e", "a", i+1)
		}
		<-entered
		e := r.erasing("a")
		hot, before, err := r.waiting().Hot(r.t.Context(), chat.StageBot, "c", e.Key, e.UpTo)
		require.NoError(r.t, err)
		require.True(r.t, before)
		require.Positive(r.t, hot)
		e.Groups = []string{"e"}
		got, err := r.waiting().Erase(r.t.Context(), e, time.Millisecond)
		require.NoError(r.t, err)
		require.Equal(r.t, lane.Commanded{Lanes: 1}, got, "its owner has a hand in it")
		r.publish("e", "a", 4)
		close(goOn)
		r.erase(e, 1)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2 })
		require.Equal(r.t, []uint64{1, 4}, r.handler.seen["e a"])
		require.Equal(r.t, 2, r.handler.endings(chat.OutcomeDiscarded))
		r.requireEmpty()
		_, before, err = r.waiting().Hot(r.t.Context(), chat.StageBot, "c", e.Key, e.UpTo)
		require.NoError(r.t, err)
		require.False(r.t, before)
	})
}

// TestEraseTakesThePlaceOfACommand: and waits for the next owner.
func TestEraseTakesThePlaceOfACommand(t *testing.T) {
	withEachSource(t, func(r *rig) {
		mend := r.failing("e")
		r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Hour}}
		r.start()
		for i := range 3 {
			r.publish("e", "a", i+1)
		}
		r.awaitParked("e", "a", 3)
		r.stop()
		_, err := r.waiting().Command(r.t.Context(), chat.StageBot, idOf("e", "a"), lane.Skip, "ada", time.Millisecond)
		require.NoError(r.t, err)
		e := r.erasing("a")
		for range 2 {
			got, err := r.waiting().Erase(r.t.Context(), e, time.Millisecond)
			require.NoError(r.t, err)
			require.Equal(r.t, lane.Commanded{Lanes: 1}, got)
		}
		r.publish("e", "a", 4)
		mend()
		r.start()
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 1 })
		require.Equal(r.t, []uint64{4}, r.handler.seen["e a"])
		require.Equal(r.t, 3, r.handler.endings(chat.OutcomeDiscarded))
		require.Eventually(r.t, func() bool { return r.commands() == 0 }, long, 5*time.Millisecond)
		require.Empty(r.t, r.memory.letters)
		r.requireEmpty()
	})
}

// TestEraseOfASession: messages of a later one stay.
func TestEraseOfASession(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.handler.policy["e"] = lane.Policy{Schedule: quick, Closed: "paused"}
		r.handler.epochs = map[uint64]uint64{1: 5, 2: 5, 3: 6, 4: 6}
		r.start()
		for i := range 4 {
			r.publish("e", "a", i+1)
		}
		r.awaitParked("e", "a", 4)
		e := r.erasing("a", "e")
		e.Epoch = 5
		r.erase(e, 1)
		require.Equal(r.t, 2, r.handler.endings(chat.OutcomeDiscarded))
		r.handler.setPolicy("e", lane.Policy{Schedule: quick})
		r.engine.Wake("e")
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 2 })
		require.Equal(r.t, []uint64{3, 4}, r.handler.seen["e a"])
		r.requireEmpty()
	})
}

// TestEraseAsksTheStage: until it has done its part, and with the place that was
// erased; only then it is done.
func TestEraseAsksTheStage(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.failing("e")
		r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Hour}}
		var mu sync.Mutex
		var asked []string
		r.erased = func(id lane.ID, upTo chat.Ordinal) error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, fmt.Sprintf("%s %d", id.Group, upTo.Counter))
			if len(asked) == 1 {
				return errors.New("not yet")
			}
			return nil
		}
		r.start()
		r.publish("e", "a", 1)
		r.publish("e", "a", 2)
		r.awaitParked("e", "a", 2)
		r.erase(r.erasing("a", "e"), 1)
		r.erase(r.erasing("a", "e"), 1)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(r.t, []string{"e 2", "e 2", "e 2"}, asked)
		r.requireEmpty()
	})
}

// TestEraseOfWhatCannotBeRead: it makes no dead letter either.
func TestEraseOfWhatCannotBeRead(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.handler.policy["e"] = lane.Policy{Schedule: quick, Closed: "paused"}
		id := idOf("e", "a")
		store, err := lane.NewJetStream(r.t.Context(), r.conn, chat.StageBot, id.Key.Partition(brokertest.Layout.Partitions))
		require.NoError(r.t, err)
		for seq, data := range []string{"e a no-place", "e a 1"} {
			_, err = store.Append(r.t.Context(), id, &lane.Message{Seq: uint64(seq) + 1, Time: time.UnixMilli(1), Data: []byte(data)})
			require.NoError(r.t, err)
		}
		e := r.erasing("a")
		_, err = r.waiting().Erase(r.t.Context(), e, time.Millisecond)
		require.NoError(r.t, err)
		r.start()
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDiscarded] == 1 })
		require.Eventually(r.t, func() bool { return r.commands() == 0 }, long, 5*time.Millisecond)
		require.Empty(r.t, r.memory.letters)
		r.requireEmpty()
	})
}

// TestEraseTakesTheState: it tells of the message that was erased, also where
// others stay behind it.
func TestEraseTakesTheState(t *testing.T) {
	withEachSource(t, func(r *rig) {
		r.handler.epochs = map[uint64]uint64{1: 5, 2: 6}
		r.handler.policy["e"] = lane.Policy{Schedule: retry.Schedule{time.Hour}}
		entered, goOn := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(goOn) })
		defer release()
		r.handler.script["e"] = func(task *lane.Task) lane.Verdict {
			if task.Place.Counter == 1 {
				return lane.Retry(0, errors.New("what the endpoint answered"))
			}
			close(entered)
			<-goOn
			return lane.Done()
		}
		r.start()
		r.publish("e", "a", 1)
		r.publish("e", "a", 2)
		r.awaitParked("e", "a", 2)
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeRetry] == 1 })
		id := idOf("e", "a")
		store, err := lane.NewJetStream(r.t.Context(), r.conn, chat.StageBot, id.Key.Partition(brokertest.Layout.Partitions))
		require.NoError(r.t, err)
		state, err := store.State(r.t.Context(), id)
		require.NoError(r.t, err)
		require.NotNil(r.t, state)
		e := r.erasing("a")
		e.Epoch = 5
		r.erase(e, 1)
		<-entered
		state, err = store.State(r.t.Context(), id)
		require.NoError(r.t, err)
		require.Nil(r.t, state)
		release()
		r.handler.await(r.t, func() bool { return r.handler.ended[chat.OutcomeDelivered] == 1 })
		r.requireEmpty()
	})
}
