// Command httpbot is a sample of a bot of your own: it verifies that a turn comes
// from Parley, answers it, and keeps a variable in the session. docs/bots.md says
// what is posted and what may be answered.
//
//	PARLEY_BOT_SECRET=whsec_… go run ./deploy/samples/httpbot
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8090", "`ADDRESS` to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, os.Getenv("PARLEY_BOT_SECRET")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, addr, secret string) error {
	key, err := webhook.ParseSecret(chat.Secret(secret))
	if err != nil {
		return fmt.Errorf("set PARLEY_BOT_SECRET to what `parley bot create` showed: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "listening on http://%s/turn\n", listener.Addr())
	server := &http.Server{Handler: handler{keys: []*webhook.Key{key}}, ReadTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(ending) // Serve says that it has ended
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// turn is what this bot reads of a turn.
type turn struct {
	NewSession bool `json:"newSession"`
	Message    struct {
		Text *struct {
			Text string `json:"text"`
		} `json:"textMessage"`
	} `json:"message"`
	User struct {
		FirstName string `json:"firstName"`
	} `json:"user"`
	SessionData struct {
		Turns int `json:"turns"`
	} `json:"sessionData"`
}

// answer is what this bot answers.
type answer struct {
	Messages    []message      `json:"messages"`
	SessionData map[string]any `json:"sessionData"`
}

type message struct {
	Text string `json:"text"`
}

// respond is the bot. All that it remembers is in the turn, so that a turn that
// is posted again has the same answer.
func respond(t *turn) *answer {
	a := &answer{SessionData: map[string]any{"turns": t.SessionData.Turns + 1}}
	if t.NewSession {
		a.say(strings.TrimSpace("Hello "+t.User.FirstName) + "! I count what you say.")
	}
	if t.Message.Text != nil {
		a.say(fmt.Sprintf("%d: %s", t.SessionData.Turns+1, t.Message.Text.Text))
	}
	return a
}

func (a *answer) say(text string) { a.Messages = append(a.Messages, message{text}) }

// handler is the bot's side of HTTP.
type handler struct{ keys []*webhook.Key }

// maxBody is more than a turn has: its variables and its message are bounded.
const maxBody = 1 << 20

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// A library of Standard Webhooks does the same in your language.
	if err := webhook.Verify(h.keys, r.Header, body, time.Now(), 0); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var t turn
	if err := json.Unmarshal(body, &t); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(respond(&t)) // who is gone posts the turn again
}
