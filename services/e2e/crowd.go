package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Crowd is many users who talk at once. Each conversation says the numbers 1,
// 2, 3, … in order, the next ones after the ones before were accepted. They go
// out in batches (NDJSON), each with an Idempotency-Key. A batch whose answer
// was lost is sent again, unchanged, when the crowd has been told where to; one
// that Parley asks to have later is sent again then.
type Crowd struct {
	Conversations int
	Each          int // messages of a conversation
	Burst         int // of them in one batch
	Senders       int // batches under way at once
	// Wait, if set, is called before a batch with the number of messages that
	// the crowd has said by then, and returns when it may go on.
	Wait func(ctx context.Context, said int) error

	path, token string

	mu        sync.Mutex
	url       string
	moved     chan struct{} // closed when url changes
	accepted  int
	uncertain map[string]bool // messages whose answer was lost at least once, as "conversation number"
}

// TalkWithin bounds what a crowd says and gets.
const TalkWithin = 3 * time.Minute

// NewCrowd makes a crowd that talks to a customer's channel.
func NewCrowd(c *Customer, conversations, each, burst int) *Crowd {
	return &Crowd{
		Conversations: conversations, Each: each, Burst: burst, Senders: min(10, conversations),
		path: "/v1/channels/webhook/" + c.Channel + "/messages", token: c.Token,
		url: c.system.PublicURL(), moved: make(chan struct{}), uncertain: map[string]bool{},
	}
}

// Messages is how many messages the crowd has to say.
func (c *Crowd) Messages() int { return c.Conversations * c.Each }

// MoveTo tells the crowd where the public API is now.
func (c *Crowd) MoveTo(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.url = url
	close(c.moved)
	c.moved = make(chan struct{})
}

// Accepted is how many messages were answered 202.
func (c *Crowd) Accepted() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accepted
}

// Uncertain reports whether an answer to this message was lost, so that it may
// have been accepted more than once.
func (c *Crowd) Uncertain(conversation string, number int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uncertain[Utterance(conversation, number)]
}

// Lost is how many messages are uncertain.
func (c *Crowd) Lost() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.uncertain)
}

// Talk says everything and returns when all is accepted.
func (c *Crowd) Talk(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for sender := range c.Senders {
		g.Go(func() error { return c.send(ctx, sender) })
	}
	return g.Wait()
}

// send says what the conversations of one sender say.
func (c *Crowd) send(ctx context.Context, sender int) error {
	for first := 1; first <= c.Each; first += c.Burst {
		var batch []string
		for number := first; number < first+c.Burst && number <= c.Each; number++ {
			for i := sender; i < c.Conversations; i += c.Senders {
				batch = append(batch, Utterance(ConversationName(i), number))
			}
		}
		if c.Wait != nil {
			if err := c.Wait(ctx, (first-1)*c.Conversations); err != nil {
				return err
			}
		}
		if err := c.insist(ctx, fmt.Sprintf("sender-%d-from-%d", sender, first), batch); err != nil {
			return err
		}
	}
	return nil
}

// insist sends a batch until it has an answer.
func (c *Crowd) insist(ctx context.Context, key string, batch []string) error {
	var body bytes.Buffer
	for _, u := range batch {
		conversation, _, _ := strings.Cut(u, " ")
		fmt.Fprintf(&body, `{"conversationId":%q,"message":{"textMessage":{"text":%q}}}`+"\n", conversation, u)
	}
	header := map[string]string{
		"Content-Type": "application/x-ndjson", "Authorization": "Bearer " + c.token, "Idempotency-Key": key,
	}
	for {
		c.mu.Lock()
		url, moved := c.url, c.moved
		c.mu.Unlock()
		answer, err := Post(ctx, url+c.path, header, body.Bytes())
		if err == nil && answer.Header.Get("Retry-After") == "" {
			return c.accept(answer, batch)
		}
		var later <-chan time.Time
		if err == nil {
			later = answer.retryAfter()
		} else {
			c.lose(batch)
		}
		select {
		case <-later:
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%w, after: %w", context.Cause(ctx), err)
		}
	}
}

// retryAfter gives a value when the time that the answer asks for has passed.
func (a *Answer) retryAfter() <-chan time.Time {
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if err != nil {
		return nil // until the test's time is over
	}
	return time.After(time.Duration(seconds) * time.Second)
}

// accept requires that an answer accepts the whole batch.
func (c *Crowd) accept(answer *Answer, batch []string) error {
	if answer.Status != http.StatusOK {
		return fmt.Errorf("a batch was answered %d: %s", answer.Status, answer.Body)
	}
	lines := bytes.Split(bytes.TrimSpace(answer.Body), []byte("\n"))
	if len(lines) != len(batch) {
		return fmt.Errorf("a batch of %d was answered by %d lines", len(batch), len(lines))
	}
	for i, line := range lines {
		var got struct {
			Status         int    `json:"status"`
			ConversationID string `json:"conversationId"`
		}
		conversation, _, _ := strings.Cut(batch[i], " ")
		if err := json.Unmarshal(line, &got); err != nil || got.Status != http.StatusAccepted || got.ConversationID != conversation {
			return fmt.Errorf("%q was answered %s", batch[i], line)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted += len(batch)
	return nil
}

func (c *Crowd) lose(batch []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range batch {
		c.uncertain[u] = true
	}
}

// ConversationName is the name of a crowd's conversation.
func ConversationName(i int) string { return fmt.Sprintf("user-%04d", i) }

// Utterance is what a conversation says; the echo bot says it back.
func Utterance(conversation string, number int) string {
	return conversation + " " + strconv.Itoa(number)
}

// number reads an utterance.
func number(text string) (conversation string, n int, err error) {
	conversation, digits, _ := strings.Cut(text, " ")
	n, err = strconv.Atoi(digits)
	return conversation, n, err
}
