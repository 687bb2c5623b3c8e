package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/problem"
)

// messagesAPI posts user messages to one channel, as a customer's application
// does.
type messagesAPI struct {
	baseURL string
	channel string
	token   chat.Secret
	client  *http.Client
}

// maxAnswer bounds what is read of an API's answer, in bytes.
const maxAnswer = 1 << 20

// messageRequest is the body of a user message.
type messageRequest struct {
	ConversationID string                 `json:"conversationId"`
	Message        map[chat.InputKind]any `json:"message"`
	Locale         string                 `json:"locale,omitempty"`
	SessionData    json.RawMessage        `json:"sessionData,omitempty"`
	idempotencyKey string
}

// acceptedAnswer is the body of a 202.
type acceptedAnswer struct {
	MessageID      string `json:"messageId"`
	ConversationID string `json:"conversationId"`
}

func newMessagesAPI(baseURL, channel string, token chat.Secret) (*messagesAPI, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is no URL of the API: write it like http://127.0.0.1:8080", baseURL)
	}
	return &messagesAPI{
		baseURL: strings.TrimRight(baseURL, "/"),
		channel: channel,
		token:   token,
		client:  &http.Client{Timeout: 30 * time.Second, CheckRedirect: noRedirect},
	}, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// send posts a message. An answer that is no 202 is an *answerError.
func (a *messagesAPI) send(ctx context.Context, m messageRequest) (*acceptedAnswer, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("the message: %w", err)
	}
	target := a.baseURL + "/v1/channels/webhook/" + url.PathEscape(a.channel) + "/messages"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "parley-cli/"+version)
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token.Reveal())
	}
	if m.idempotencyKey != "" {
		req.Header.Set("Idempotency-Key", m.idempotencyKey)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the API can't be reached: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the API's answer: %w", err)
	}
	if resp.StatusCode != http.StatusAccepted {
		return nil, newAnswerError(resp, answer)
	}
	var accepted acceptedAnswer
	if err := json.Unmarshal(answer, &accepted); err != nil {
		return nil, fmt.Errorf("the API's answer is not what a 202 has: %w", err)
	}
	return &accepted, nil
}

// answerError is an answer that says no, with its problem (RFC 9457) where it
// has one.
type answerError struct {
	Status     int
	RetryAfter string
	Title      string         `json:"title"`
	Detail     string         `json:"detail"`
	Errors     []chat.Problem `json:"errors"`
}

func newAnswerError(resp *http.Response, body []byte) *answerError {
	e := &answerError{}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), problem.ContentType) {
		if err := json.Unmarshal(body, e); err != nil {
			e.Detail = "its problem body can't be read: " + err.Error()
		}
	} else if text := strings.TrimSpace(string(body)); text != "" {
		e.Detail = printable(text[:min(len(text), 500)])
	}
	e.Status, e.RetryAfter = resp.StatusCode, resp.Header.Get("Retry-After")
	return e
}

// Error says everything that the answer says, a line for each error of the
// body.
func (e *answerError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the API answered %d", e.Status)
	if title := e.Title; title != "" || http.StatusText(e.Status) != "" {
		if title == "" {
			title = http.StatusText(e.Status)
		}
		b.WriteString(" " + printable(title))
	}
	if e.Detail != "" {
		b.WriteString(": " + printable(e.Detail))
	}
	for _, p := range e.Errors {
		pointer := p.Pointer
		if pointer == "" {
			pointer = "the body"
		}
		fmt.Fprintf(&b, "\n  %s: %s", printable(pointer), printable(p.Detail))
	}
	if e.RetryAfter != "" {
		fmt.Fprintf(&b, "\n  try again after %s seconds", printable(e.RetryAfter))
	}
	return b.String()
}
