package botworker

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/event"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/session"
	"github.com/parleyhq/parley/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a bot whose runs are counted. Without a script it says the text
// back, twice.
type scripted struct {
	mu     sync.Mutex
	script func(ctx context.Context, t *bot.Turn) (*bot.Answer, error)
	turns  []*bot.Turn
}

func (s *scripted) Respond(ctx context.Context, t *bot.Turn) (*bot.Answer, error) {
	s.mu.Lock()
	s.turns = append(s.turns, t)
	script := s.script
	s.mu.Unlock()
	if script != nil {
		return script(ctx, t)
	}
	return says(t, "1: "+textOf(t.Input), "2: "+textOf(t.Input)), nil
}

func (s *scripted) runs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.turns)
}

func (s *scripted) last() *bot.Turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turns[len(s.turns)-1]
}

func textOf(in chat.Input) string {
	var body chat.TextInput
	_ = json.Unmarshal(in.Body, &body) // what has no text has none
	return body.Text
}

func says(t *bot.Turn, texts ...string) *bot.Answer {
	a := &bot.Answer{Session: t.Session}
	for _, text := range texts {
		a.Outputs = append(a.Outputs, bot.Output{Message: chat.Message{Text: text}})
	}
	return a
}

// faults stands between the handler and the broker: it notes what passes, and
// fails when it is told to.
type faults struct {
	Sessions
	Publisher
	mu        sync.Mutex
	published []broker.Message
	publish   func(n int) error // for the n-th publish, from 0
	attempts  int
	loads     int
	save      func() error // in place of a save, unless it returns nil
}

func (f *faults) Load(ctx context.Context, key chat.ConversationKey) (*chat.Session, uint64, error) {
	f.mu.Lock()
	f.loads++
	f.mu.Unlock()
	return f.Sessions.Load(ctx, key)
}

func (f *faults) Save(ctx context.Context, key chat.ConversationKey, rec *chat.Session, expected uint64) (uint64, error) {
	if f.save != nil {
		if err := f.save(); err != nil {
			return 0, err
		}
	}
	return f.Sessions.Save(ctx, key, rec, expected)
}

func (f *faults) Publish(ctx context.Context, m broker.Message) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.publish != nil {
		n := f.attempts
		f.attempts++
		if err := f.publish(n); err != nil {
			return 0, err
		}
	}
	seq, err := f.Publisher.Publish(ctx, m)
	if err == nil {
		f.published = append(f.published, m)
	}
	return seq, err
}

// take returns what was published since it was called last.
func (f *faults) take(t *testing.T) (data [][]byte, messages []*chat.BotMessage) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.published {
		m, err := wire.DecodeBotMessage(p.Data)
		require.NoError(t, err)
		data, messages = append(data, p.Data), append(messages, m)
	}
	f.published = nil
	return data, messages
}

// journalled keeps the journal's turns.
type journalled struct {
	mu    sync.Mutex
	turns []*chat.Turn
}

func (j *journalled) Flush(context.Context) error { return nil }

func (j *journalled) Turn(t *chat.Turn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.turns = append(j.turns, t)
}

// raised keeps the events.
type raised struct {
	mu     sync.Mutex
	events []event.Event
}

func (r *raised) Raise(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// rig is a handler on a real broker with real sessions and configuration.
type rig struct {
	t        *testing.T
	conn     *broker.Conn
	registry *registry.Registry
	sessions *session.Store
	faults   *faults
	bot      *scripted
	journal  *journalled
	events   *raised
	log      *zap.Logger
	metrics  *prometheus.Registry
	h        *handler
	seq      uint64
}

const (
	channel = "shop"
	botID   = "pizza"
)

func newRig(t *testing.T) *rig {
	t.Helper()
	conn := brokertest.New(t)
	sealer, err := registry.NewSealer(make([]byte, registry.KeySize))
	require.NoError(t, err)
	reg, err := registry.Open(t.Context(), conn.JS, registry.Options{Sealer: sealer})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- reg.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	_, _, err = reg.PutBot(t.Context(), chat.Bot{ID: botID, Kind: registry.BotEcho}, registry.Absent)
	require.NoError(t, err)
	_, err = reg.PutChannel(t.Context(), chat.Channel{ID: channel, BotID: botID}, registry.Absent)
	require.NoError(t, err)
	sessions, err := session.New(t.Context(), conn, brokertest.Layout.Partitions)
	require.NoError(t, err)
	r := &rig{
		t: t, conn: conn, registry: reg, sessions: sessions, bot: &scripted{}, journal: &journalled{}, events: &raised{}, log: zap.NewNop(),
		faults: &faults{Sessions: sessions, Publisher: conn},
	}
	r.restart()
	return r
}

func (r *rig) options() Options {
	r.metrics = prometheus.NewRegistry()
	return Options{
		Partitions: brokertest.Layout.Partitions, Timeout: time.Minute,
		Schedule: retry.Schedule{time.Millisecond, time.Millisecond},
		Open: func(ctx context.Context, p int) (lane.Store, error) {
			return lane.NewJetStream(ctx, r.conn, chat.StageUser, p)
		},
		Sessions: r.faults, Publisher: r.faults, Directory: r.registry, Journal: r.journal, Events: r.events,
		NewBot: func(*chat.Bot, bot.Bot) (bot.Bot, error) { return r.bot, nil }, Log: r.log, Metrics: r.metrics,
	}
}

// restart makes the handler anew: it remembers nothing.
func (r *rig) restart() { r.h = newHandler(r.options()) }

// said is a user message of a conversation as the work queue has it.
func (r *rig) said(conversation, text string, change ...func(*chat.UserMessage)) *lane.Message {
	r.t.Helper()
	r.seq++
	at := time.UnixMilli(1_700_000_000_000 + int64(r.seq))
	body, err := json.Marshal(chat.TextInput{Text: text})
	require.NoError(r.t, err)
	um := &chat.UserMessage{
		ID:        chat.NewMessageID(at, chat.KeyOf(channel, conversation), r.seq),
		ChannelID: channel, ConversationID: conversation, AcceptedAt: at,
		Input: chat.Input{Kind: chat.InputText, Body: body}, Traceparent: "00-" + strings.Repeat("a", 32) + "-" + strings.Repeat("b", 16) + "-01",
	}
	for _, c := range change {
		c(um)
	}
	data, err := wire.EncodeUserMessage(um)
	require.NoError(r.t, err)
	return &lane.Message{Seq: r.seq, Time: at, Data: data}
}

// ordered is a user message that holds actions from outside.
func (r *rig) ordered(conversation, actions string) *lane.Message {
	return r.said(conversation, "", func(um *chat.UserMessage) {
		um.Input = chat.Input{Kind: chat.InputActions, Body: []byte(actions)}
	})
}

func (r *rig) task(m *lane.Message) *lane.Task {
	r.t.Helper()
	targets, err := r.h.Route(r.t.Context(), m)
	require.NoError(r.t, err)
	require.Len(r.t, targets, 1)
	return &lane.Task{Target: targets[0], Message: m, Destination: r.h.Destination(targets[0].Lane.Group), Number: 1}
}

// handle routes a message and has it handled once.
func (r *rig) handle(m *lane.Message) string {
	r.t.Helper()
	return r.h.Handle(r.t.Context(), r.task(m)).String()
}

// session is a conversation's record as the broker has it.
func (r *rig) session(conversation string) *chat.Session {
	r.t.Helper()
	rec, _, err := r.sessions.Load(r.t.Context(), chat.KeyOf(channel, conversation))
	require.NoError(r.t, err)
	return rec
}

func texts(t *testing.T, messages []*chat.BotMessage) []string {
	t.Helper()
	var out []string
	for _, m := range messages {
		var msg chat.Message
		require.NoError(t, json.Unmarshal(m.Message, &msg))
		out = append(out, msg.Text)
	}
	return out
}
