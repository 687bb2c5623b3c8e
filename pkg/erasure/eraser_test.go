package erasure_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/erasure"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const long = 30 * time.Second

var anna = erasure.Conversation{ChannelID: "shop", ID: "anna", Endpoints: []string{"crm", "archive"}}

// rig is a broker with something of a conversation in each place.
type rig struct {
	t        *testing.T
	conn     *broker.Conn
	sessions *session.Store
	eraser   *erasure.Eraser
	key      chat.ConversationKey
	// commands are what owners were told, when they are there.
	commands chan lane.Command
}

func newRig(t *testing.T) *rig {
	t.Helper()
	conn := brokertest.New(t)
	letters, err := deadletter.New(t.Context(), conn)
	require.NoError(t, err)
	sessions, err := session.New(t.Context(), conn, brokertest.Layout.Partitions)
	require.NoError(t, err)
	r := &rig{
		t: t, conn: conn, sessions: sessions, key: chat.KeyOf("shop", "anna"), commands: make(chan lane.Command, 100),
		eraser: erasure.New(conn, lane.NewWaiting(conn, brokertest.Layout.Partitions), letters, sessions),
	}
	for _, conversation := range []string{"anna", "ben"} {
		key := chat.KeyOf("shop", conversation)
		at := time.UnixMilli(1_700_000_000_000)
		require.NoError(t, letters.Write(t.Context(), &chat.DeadLetter{
			MessageID: chat.NewMessageID(at, key, 1), Stage: chat.StageBot, ChannelID: "shop", Destination: "crm", ConversationID: conversation, Data: []byte("x"),
		}))
		r.publish(topology.JournalSubject("shop", key))
		r.publish(topology.JournalSubject("shop", key))
		_, err := sessions.Save(t.Context(), key, &chat.Session{ChannelID: "shop", ConversationID: conversation, Epoch: 7, Counter: 3}, 0)
		require.NoError(t, err)
		parked, _ := topology.LaneSubjects(chat.StageBot, key.Partition(brokertest.Layout.Partitions), "former", key)
		_, err = conn.Publish(t.Context(), broker.Message{Subject: parked, Data: []byte("x"), Headers: map[string]string{topology.HeaderSeq: "1", topology.HeaderTime: "1"}})
		require.NoError(t, err)
	}
	return r
}

func (r *rig) publish(subject string) {
	r.t.Helper()
	_, err := r.conn.Publish(r.t.Context(), broker.Message{Subject: subject, Data: []byte("x")})
	require.NoError(r.t, err)
}

// own stands for the owners of both stages: each command is carried out by do.
func (r *rig) own(do func(chat.Stage, *lane.Command)) {
	ctx, cancel := context.WithCancel(r.t.Context())
	r.t.Cleanup(cancel)
	for _, stage := range []chat.Stage{chat.StageUser, chat.StageBot} {
		commands := lane.NewJetStreamCommands(r.conn, stage, r.key.Partition(brokertest.Layout.Partitions))
		ended := make(chan error, 1)
		go func() {
			ended <- commands.Follow(ctx, func(c *lane.Command) {
				do(stage, c)
				r.commands <- *c
				if err := commands.Done(ctx, c); err != nil && ctx.Err() == nil {
					r.t.Error(err)
				}
			})
		}()
		r.t.Cleanup(func() {
			cancel()
			require.Error(r.t, <-ended) // the context, or that the watch has ended with it
		})
	}
}

func (r *rig) eraseSession(c *lane.Command) {
	rec, revision, err := r.sessions.Load(r.t.Context(), c.Lane.Key)
	if err == nil {
		_, err = r.sessions.Save(r.t.Context(), c.Lane.Key, rec.Erase(chat.Ordinal{Counter: c.Hot, InputAt: c.HotAt}), revision)
	}
	if err != nil {
		r.t.Error(err)
	}
}

func (r *rig) taken() (all []lane.Command) {
	for {
		select {
		case c := <-r.commands:
			all = append(all, c)
		default:
			return all
		}
	}
}

func TestErase(t *testing.T) {
	r := newRig(t)
	there := erasure.Report{JournalEntries: 2, DeadLetters: 1, ParkedMessages: 1, Session: true}
	got, err := r.eraser.Count(t.Context(), anna)
	require.NoError(t, err)
	require.Equal(t, there, got)

	r.own(func(stage chat.Stage, c *lane.Command) {
		if stage == chat.StageUser {
			r.eraseSession(c)
		}
	})
	got, err = r.eraser.Erase(t.Context(), anna, "ada", long)
	require.NoError(t, err)
	require.Equal(t, there, got)
	require.True(t, got.Complete())
	groups := map[string]lane.Command{}
	for _, c := range r.taken() {
		require.Equal(t, lane.Erase, c.Action)
		require.Equal(t, "ada", c.By)
		require.Equal(t, r.key, c.Lane.Key)
		groups[c.Lane.Group] = c
	}
	require.Len(t, groups, 4)
	require.Zero(t, groups["shop"].Epoch)
	require.EqualValues(t, 7, groups["crm"].Epoch, "of the session that was erased")
	require.EqualValues(t, 7, groups["archive"].Epoch)
	require.NotZero(t, groups["former"].UpTo, "a lane of an endpoint that the channel has no more")
	rec, _, err := r.sessions.Load(t.Context(), r.key)
	require.NoError(t, err)
	require.True(t, rec.Erased())

	got, err = r.eraser.Count(t.Context(), anna)
	require.NoError(t, err)
	require.Equal(t, erasure.Report{ParkedMessages: 1}, got, "its owner would have ended that")
	got, err = r.eraser.Count(t.Context(), erasure.Conversation{ChannelID: "shop", ID: "ben"})
	require.NoError(t, err)
	require.Equal(t, there, got, "another conversation")
}

// TestEraseWithoutOwners: the rest is erased, and what is left is said; again, it
// is finished.
func TestEraseWithoutOwners(t *testing.T) {
	r := newRig(t)
	for range 2 {
		got, err := r.eraser.Erase(t.Context(), anna, "ada", time.Millisecond)
		require.NoError(t, err)
		require.Equal(t, 4, got.Lanes)
		require.False(t, got.Complete())
		require.True(t, got.Session)
	}
	got, err := r.eraser.Count(t.Context(), anna)
	require.NoError(t, err)
	require.Zero(t, got.DeadLetters+got.JournalEntries)
	r.own(func(stage chat.Stage, c *lane.Command) {
		if stage == chat.StageUser {
			r.eraseSession(c)
		}
	})
	got, err = r.eraser.Erase(t.Context(), anna, "ada", long)
	require.NoError(t, err)
	require.True(t, got.Complete())
}

// TestEraseWhatIsOnItsWay: the owners are told once more when it is through, and
// not about what came later.
func TestEraseWhatIsOnItsWay(t *testing.T) {
	r := newRig(t)
	hot := topology.HotSubject(chat.StageUser, r.key.Partition(brokertest.Layout.Partitions), "shop", r.key)
	r.publish(hot)
	stream, err := r.conn.JS.Stream(t.Context(), topology.HotStream(chat.StageUser, r.key.Partition(brokertest.Layout.Partitions)))
	require.NoError(t, err)
	got, err := r.eraser.Count(t.Context(), anna)
	require.NoError(t, err)
	require.EqualValues(t, 1, got.QueuedMessages)
	first := true
	r.own(func(stage chat.Stage, c *lane.Command) {
		if stage != chat.StageUser {
			return
		}
		r.eraseSession(c)
		if first {
			first = false
			r.publish(hot) // it begins a new conversation
			if err := stream.DeleteMsg(t.Context(), c.Hot); err != nil {
				t.Error(err)
			}
		}
	})
	got, err = r.eraser.Erase(t.Context(), anna, "ada", long)
	require.NoError(t, err)
	require.True(t, got.Complete())
	var told []uint64
	for _, c := range r.taken() {
		if c.Lane.Group == "shop" {
			told = append(told, c.Hot)
			require.NotZero(t, c.HotAt)
		}
	}
	require.Equal(t, []uint64{1, 1}, told)
	got, err = r.eraser.Count(t.Context(), anna)
	require.NoError(t, err)
	require.EqualValues(t, 1, got.QueuedMessages, "what came later is not meant")
}

// TestEraseWhatStays: a work queue that doesn't come through is named.
func TestEraseWhatStays(t *testing.T) {
	r := newRig(t)
	r.publish(topology.HotSubject(chat.StageUser, r.key.Partition(brokertest.Layout.Partitions), "shop", r.key))
	r.own(func(chat.Stage, *lane.Command) {})
	got, err := r.eraser.Erase(t.Context(), anna, "ada", time.Second)
	require.NoError(t, err)
	require.Equal(t, 1, got.Queues)
	require.False(t, got.Complete())
}

// TestTheNextSessionStays: where it has begun already, its messages are kept.
func TestTheNextSessionStays(t *testing.T) {
	r := newRig(t)
	r.own(func(stage chat.Stage, c *lane.Command) {
		if stage != chat.StageUser {
			return
		}
		r.eraseSession(c)
		rec, revision, err := r.sessions.Load(t.Context(), r.key)
		if err == nil {
			rec.ConversationID, rec.Epoch = "anna", rec.Epoch+5
			_, err = r.sessions.Save(t.Context(), r.key, rec, revision)
		}
		if err != nil {
			t.Error(err)
		}
	})
	got, err := r.eraser.Erase(t.Context(), anna, "ada", long)
	require.NoError(t, err)
	require.True(t, got.Complete())
	for _, c := range r.taken() {
		if c.Lane.Group != "shop" {
			require.EqualValues(t, 11, c.Epoch)
		}
	}
}

func TestUnreadableSession(t *testing.T) {
	r := newRig(t)
	_, err := r.conn.Publish(t.Context(), broker.Message{Subject: topology.SessionSubject(r.key.Partition(brokertest.Layout.Partitions), r.key), Data: []byte("\xff")})
	require.NoError(t, err)
	_, _, err = r.sessions.Load(t.Context(), r.key)
	require.ErrorIs(t, err, wire.ErrUndecodable)
	got, err := r.eraser.Count(t.Context(), anna)
	require.NoError(t, err)
	require.True(t, got.Session)
}

func TestUnavailable(t *testing.T) {
	r := newRig(t)
	r.conn.Close()
	_, err := r.eraser.Count(t.Context(), anna)
	require.ErrorIs(t, err, broker.ErrUnavailable)
	_, err = r.eraser.Erase(t.Context(), anna, "ada", time.Millisecond)
	require.ErrorIs(t, err, broker.ErrUnavailable)
}
