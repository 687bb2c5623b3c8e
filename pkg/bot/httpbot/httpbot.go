package httpbot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/retry"
	"github.com/parleyhq/parley/pkg/webhook"
)

// MaxAnswer is how many bytes an answer may have.
const MaxAnswer = 256 << 10

// kindAnswer is the kind of a failure: what the bot answered can't be used.
const kindAnswer = "answer"

// maxRetryAfter caps what a bot may ask for with Retry-After.
const maxRetryAfter = time.Hour

// Options are what a bot is made of; all but Former are required.
type Options struct {
	Client *webhook.Client
	Guard  *webhook.Guard
	Config *chat.Bot
	// Former is what New returned for the configuration until now, or nil: its
	// connections and its token are taken over where their settings are the
	// same, and dropped where they are not.
	Former *Bot
}

// Bot is a bot that is asked over HTTP. Close drops its own connections.
type Bot struct {
	client  *webhook.Client
	target  *webhook.Target
	timeout time.Duration
}

// New returns the bot. Its error says what to change in the configuration.
func New(o Options) (*Bot, error) {
	if o.Client == nil || o.Guard == nil || o.Config == nil {
		return nil, errors.New("httpbot: the client, the guard or the configuration is missing")
	}
	var former *webhook.Target
	if o.Former != nil {
		former = o.Former.target
	}
	target, err := webhook.NewTarget(o.Config.URL, &o.Config.Sending, o.Guard, former)
	if err != nil {
		return nil, err
	}
	return &Bot{client: o.Client, target: target, timeout: o.Config.Timeout.Std()}, nil
}

// Close implements io.Closer.
func (b *Bot) Close() error {
	b.target.Close()
	return nil
}

// Respond implements bot.Bot. Its error is a *bot.RefusedError for an input that
// can't be read, else a *bot.FailedError.
func (b *Bot) Respond(ctx context.Context, turn *bot.Turn) (*bot.Answer, error) {
	body, err := render(turn)
	if err != nil {
		return nil, &bot.RefusedError{Reason: err.Error()}
	}
	span := turn.Span.Child(ctx, trace.SpanKindClient, http.MethodPost)
	defer span.End()
	r := b.target.Request()
	r.Body, r.MessageID = body, turnID(turn)
	r.Attempt, r.Replay, r.Traceparent = turn.Attempt, turn.Replay, span.Traceparent(turn.Traceparent)
	r.Timeout, r.MaxAnswer = b.timeout, MaxAnswer
	result := b.client.Do(ctx, r)
	if span.On() {
		span.Set(webhook.SpanAttributes(&r, &result)...)
	}
	failed := &bot.FailedError{Status: result.Status, Excerpt: result.Excerpt, Kind: result.FailureKind()}
	after, _ := retry.ParseRetryAfter(result.RetryAfter, time.Now(), maxRetryAfter)
	if j := webhook.Judge(result.Status, result.Err, after); j.Class != webhook.Delivered {
		failed.Reason, failed.RetryAfter = j.Reason, j.RetryAfter
		span.Fail(failed.Kind)
		return nil, failed
	}
	said, err := read(&result)
	if err != nil {
		failed.Reason, failed.Kind = err.Error(), kindAnswer
		span.Fail(kindAnswer)
		return nil, failed
	}
	return answer(turn, said), nil
}

// turnID is the webhook-id: the message's, and how far the conversation had come,
// since a message that is sent again later begins another turn.
func turnID(turn *bot.Turn) string {
	return turn.MessageID + "-" + strconv.FormatUint(turn.Counter, 10)
}

// read reads what a bot said that answered with a status of success.
func read(result *webhook.Result) (*said, error) {
	switch {
	case result.Status == http.StatusNoContent:
		return &said{}, nil
	case result.Status != http.StatusOK:
		return nil, fmt.Errorf("HTTP %d is no answer to a turn: answer 200 with a JSON body, or 204 to say nothing", result.Status)
	case result.BodyErr != nil:
		return nil, fmt.Errorf("the answer could not be read: %w", result.BodyErr)
	}
	decoded, err := chat.DecodeBotAnswer(result.Body)
	if err != nil {
		return nil, fmt.Errorf("the answer can't be used: %w", shorten(err))
	}
	s := &said{BotAnswer: *decoded}
	if decoded.SessionData != nil {
		err = json.Unmarshal(decoded.SessionData, &s.changes)
	}
	if err != nil { // such as a number that is too large
		return nil, fmt.Errorf("the answer can't be used: /sessionData: %w", err)
	}
	return s, nil
}

// said is an answer with its changes of variables.
type said struct {
	chat.BotAnswer
	changes map[string]any
}

// shownProblems is how many of an answer's problems are named: they stand in the
// record of each attempt.
const shownProblems = 5

func shorten(err error) error {
	invalid, ok := errors.AsType[*chat.ValidationError](err)
	if !ok || len(invalid.Problems) <= shownProblems {
		return err
	}
	first := &chat.ValidationError{Problems: invalid.Problems[:shownProblems]}
	return fmt.Errorf("%w; and %d more", first, len(invalid.Problems)-shownProblems)
}

// answer is what the turn came to.
func answer(turn *bot.Turn, s *said) *bot.Answer {
	a := &bot.Answer{Session: turn.Session}
	for _, m := range s.Messages {
		a.Outputs = append(a.Outputs, bot.Output{Message: m, NLP: s.NLP})
		a.Warnings = append(a.Warnings, m.Warnings()...)
	}
	if len(s.changes) > 0 {
		a.Session.Variables = changed(turn.Session.Variables, s.changes)
	}
	if s.NextDialogstate != nil {
		a.Session.Dialog = storeDialogstate(*s.NextDialogstate)
	}
	if s.Locale != "" {
		a.Session.Locale = s.Locale
	}
	return a
}

// changed sets the variables, and removes those that are null.
func changed(variables, changes map[string]any) map[string]any {
	out := make(map[string]any, len(variables)+len(changes))
	maps.Copy(out, variables)
	for name, v := range changes {
		if v == nil {
			delete(out, name)
		} else {
			out[name] = v
		}
	}
	return out
}
