package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

// fakePipeline is the pipeline as a customer sees it: it answers 202 and then
// delivers what the bot answers, in order.
type fakePipeline struct {
	t        *testing.T
	customer *demoCustomer
	secret   chat.Secret
	respond  func(kind chat.InputKind, body json.RawMessage) []chat.Message
	from     uint64 // counter before the first message
	queue    chan []byte

	mu      sync.Mutex
	counter uint64
}

func (f *fakePipeline) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ConversationID string                             `json:"conversationId"`
		Message        map[chat.InputKind]json.RawMessage `json:"message"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for kind, body := range in.Message {
		for _, m := range f.respond(kind, body) {
			f.counter++
			message, _ := json.Marshal(m)
			f.queue <- webhook.RenderBody(in.ConversationID, "", message, f.from+f.counter, nil)
		}
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"messageId":"msg_1","conversationId":"anna"}`)
}

// run delivers what is queued, in order, until the queue is closed.
func (f *fakePipeline) run() {
	n := 0
	for body := range f.queue {
		n++
		resp, err := http.DefaultClient.Do(deliver(f.t, f.customer.url(), f.secret, fmt.Sprintf("msg_%d", n), string(body)))
		if err == nil {
			_ = resp.Body.Close()
		}
	}
}

// shop is a bot with every kind of choice.
func shop(kind chat.InputKind, body json.RawMessage) []chat.Message {
	var text chat.TextInput
	var postback chat.PostbackInput
	_ = json.Unmarshal(body, &text)
	_ = json.Unmarshal(body, &postback)
	switch {
	case kind == chat.InputIntro:
		return []chat.Message{{Text: "Welcome"}, {Text: "Hungry?", QuickReplies: []chat.QuickReply{{ContentType: "text", Title: "Yes", Payload: `{"nextDialogstateId":"menu"}`}}}}
	case postback.Payload == `{"nextDialogstateId":"menu"}`:
		take := func(what string) []chat.Button {
			return []chat.Button{{Type: "web_url", Title: "See"}, {Type: "postback", Title: "Take it", Payload: `{"nextDialogstateId": "` + what + `" }`}}
		}
		return []chat.Message{{Attachment: &chat.Attachment{Type: "template", Payload: chat.AttachmentPayload{
			TemplateType: "generic", Elements: []chat.Element{{Title: "Margherita", Buttons: take("m")}, {Title: "Funghi", Buttons: take("f")}},
		}}}}
	}
	return []chat.Message{{Text: "You said: " + text.Text + postback.Payload}}
}

var shopScript = []demoTurn{
	{Send: map[chat.InputKind]any{chat.InputIntro: struct{}{}}, Shown: "opens the chat", Answers: 2},
	{Choose: "Yes", Answers: 1},
	{Choose: "Take it", Card: "Funghi", Answers: 1},
	{Say: "bye", Answers: 1},
}

// startDemo starts a customer and a fake pipeline.
func startDemo(t *testing.T, f *fakePipeline, out io.Writer) demoConfig {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	customer, err := newDemoCustomer(func(reason string) { t.Log(reason) })
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- customer.run(ctx) }()
	f.t, f.customer, f.secret, f.queue = t, customer, webhook.NewSecret(), make(chan []byte, 16)
	api := httptest.NewServer(f)
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		f.run()
	}()
	t.Cleanup(func() {
		api.Close()
		close(f.queue)
		<-delivered
		cancel()
		require.NoError(t, <-ended)
	})
	return demoConfig{
		PublicURL: api.URL, AdminURL: "http://admin", ChannelID: "shop", Token: "pat_1", ConversationID: "anna",
		Customer: customer, Script: shopScript, Out: out, OneShot: true, AnswerWithin: time.Minute,
	}
}

func TestDemoPlaysBothSides(t *testing.T) {
	var out bytes.Buffer
	f := &fakePipeline{respond: shop}
	cfg := startDemo(t, f, &out)
	require.NoError(t, cfg.Customer.trust(f.secret))

	require.NoError(t, playDemo(t.Context(), cfg))

	require.Equal(t, `       user > opens the chat
    #1 bot < Welcome
             * signature verified, conversation anna
    #2 bot < Hungry?
             (Yes)
             * signature verified, conversation anna
       user > taps the quick reply (Yes)
    #3 bot < | Margherita
             | [See] [Take it]
             | Funghi
             | [See] [Take it]
             * signature verified, conversation anna
       user > taps the button [Take it] of Funghi
    #4 bot < You said: {"nextDialogstateId": "f" }
             * signature verified, conversation anna
       user > bye
    #5 bot < You said: bye
             * signature verified, conversation anna
-- 4 turns, 5 bot messages: counters 1 to 5 without a gap, every signature verified
`, out.String(), "payloads go back untouched")
}

func TestDemoStaysUntilItIsStopped(t *testing.T) {
	out := make(syncWriter, 64)
	f := &fakePipeline{respond: shop}
	cfg := startDemo(t, f, out)
	cfg.OneShot, cfg.Script = false, nil
	require.NoError(t, cfg.Customer.trust(f.secret))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- playDemo(ctx, cfg) }()
	for _, want := range []string{"0 turns", "API      " + cfg.PublicURL, "http://admin/ops/v1", "http://admin/metrics", "curl -sS", "Ctrl-C"} {
		require.Contains(t, <-out, want)
	}
	f.queue <- []byte(helloBody)
	require.Contains(t, <-out, "#3 bot < hello", "what others send is printed too")
	cancel()
	require.NoError(t, <-ended)
}

func TestDemoFailsWhereThePipelineDoes(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*fakePipeline, *demoConfig)
		want   string
	}{
		"a gap": {
			func(f *fakePipeline, _ *demoConfig) { f.from = 1 },
			"turn 1 of the demo: bot message #2 came when #1 was due",
		},
		"silence": {
			func(f *fakePipeline, cfg *demoConfig) {
				f.respond = func(chat.InputKind, json.RawMessage) []chat.Message { return nil }
				cfg.AnswerWithin = time.Millisecond
			},
			"bot message #1 did not come within 1ms",
		},
		"another signature": {
			func(f *fakePipeline, cfg *demoConfig) {
				f.secret, cfg.AnswerWithin = webhook.NewSecret(), 50*time.Millisecond
			},
			"bot message #1 did not come",
		},
		"another offer": {
			func(_ *fakePipeline, cfg *demoConfig) {
				cfg.Script = []demoTurn{shopScript[0], {Choose: "No", Answers: 1}}
			},
			`turn 2 of the demo: the bot doesn't offer "No", but Yes`,
		},
		"no offer": {
			func(_ *fakePipeline, cfg *demoConfig) { cfg.Script = []demoTurn{{Choose: "No"}} },
			"the bot offers no choice where No was expected",
		},
		"API": {
			func(_ *fakePipeline, cfg *demoConfig) { cfg.PublicURL = "http://127.0.0.1:1" },
			"the API can't be reached",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakePipeline{respond: shop}
			cfg := startDemo(t, f, io.Discard)
			require.NoError(t, cfg.Customer.trust(f.secret))
			tc.change(f, &cfg)
			require.ErrorContains(t, playDemo(t.Context(), cfg), tc.want)
		})
	}
}

func TestDemoCustomerTrustsNobodyAtFirst(t *testing.T) {
	f := &fakePipeline{respond: shop}
	cfg := startDemo(t, f, io.Discard)
	require.Error(t, cfg.Customer.trust())
	require.Error(t, cfg.Customer.trust("nonsense"))
	require.Equal(t, http.StatusUnauthorized, status(t, deliver(t, cfg.Customer.url(), f.secret, "msg_1", helloBody)))
}
