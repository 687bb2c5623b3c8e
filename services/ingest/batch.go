package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/problem"
)

// batchConcurrency is how many conversations of a batch are published at once.
const batchConcurrency = 256

// line is one message of a batch and what became of it.
type line struct {
	number int // from 1, blank lines not counted
	body   []byte
	in     *chat.Incoming
	answer accepted
	err    error
}

// batch takes up to MaxBatchLines messages as NDJSON and answers a line for
// each, in order. Conversations are published side by side, within one the
// next message only after the broker has confirmed the one before.
func (s *Service) batch(c echo.Context, cfg Config, channelID string, token *chat.Token) error {
	select {
	case s.batches <- struct{}{}:
		defer func() { <-s.batches }()
	default:
		p := problem.New(http.StatusServiceUnavailable, slugOverloaded, "too many batches are under way: send it again after the time in Retry-After")
		p.RetryAfter = time.Second
		return p
	}
	key, err := idempotencyKey(c.Request().Header)
	if err != nil {
		return err
	}
	body, err := readBody(c, contentNDJSON, s.opts.MaxBatch)
	if err != nil {
		return err
	}
	lines, err := splitLines(body, s.opts.MaxBatchLines)
	if err != nil {
		return err
	}
	groups := decodeLines(lines, int(s.opts.MaxBody))
	sub := submission{
		form: formBatch, channelID: channelID, revision: cfg.Revision(), key: key,
		trace:  s.traceOf(c),
		limits: s.limitsOf(cfg, channelID, token),
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.opts.BatchTimeout)
	defer cancel()
	var work errgroup.Group
	work.SetLimit(batchConcurrency)
	for _, group := range groups {
		work.Go(func() error {
			s.acceptInOrder(ctx, sub, group)
			return nil
		})
	}
	_ = work.Wait() // each line has its own error
	sub.limits.describe(c.Response().Header(), true)
	return s.answerBatch(c, lines)
}

func splitLines(body []byte, limit int) ([]*line, error) {
	most := min(limit, bytes.Count(body, []byte("\n"))+1)
	lines, all := make([]*line, 0, most), make([]line, most)
	for text := range bytes.Lines(body) {
		text = bytes.TrimSpace(text)
		if len(text) == 0 {
			continue
		}
		if len(lines) == limit {
			return nil, problem.New(http.StatusRequestEntityTooLarge, slugTooManyLines,
				fmt.Sprintf("the batch has more than %d messages and none was stored: send several batches", limit))
		}
		l := &all[len(lines)]
		l.number, l.body = len(lines)+1, text
		lines = append(lines, l)
	}
	if len(lines) == 0 {
		var p chat.Problems
		p.Add("", "the batch is empty: send one JSON object a line")
		return nil, p.Err()
	}
	return lines, nil
}

// decodeLines decodes each line and groups the good ones by conversation, in
// order. A bad line refuses the later ones of its conversation, and all later
// ones where its conversation can't be told: one of them might be its next.
func decodeLines(lines []*line, limit int) [][]*line {
	var groups [][]*line
	index := map[string]int{}   // of a conversation's group
	blocked := map[string]int{} // conversation to the number of the line that failed
	all := 0
	for _, l := range lines {
		if all != 0 {
			l.err = blockedBy(all)
			continue
		}
		conversation, known := l.decode(limit)
		first, isBlocked := blocked[conversation]
		switch {
		case l.err != nil && !known:
			all = l.number
		case known && isBlocked:
			l.err = blockedBy(first)
		case l.err != nil:
			blocked[conversation] = l.number
		default:
			i, ok := index[conversation]
			if !ok {
				i = len(groups)
				index[conversation] = i
				groups = append(groups, nil)
			}
			groups[i] = append(groups[i], l)
		}
	}
	return groups
}

// decode fills in or err, and returns the conversation if it can be told.
func (l *line) decode(limit int) (conversation string, known bool) {
	if len(l.body) > limit {
		l.err = problem.New(http.StatusRequestEntityTooLarge, slugTooLarge, fmt.Sprintf("the line has more than %d bytes: make the message smaller", limit))
		return "", false
	}
	in, err := chat.DecodeInput(l.body)
	if err == nil {
		l.in = in
		return in.ConversationID, true
	}
	l.err = notDecoded(l.body, err)
	return conversationOf(l.body, err)
}

// conversationOf returns the conversation of a line that breaks a rule, unless
// the rule is about the conversation.
func conversationOf(body []byte, err error) (string, bool) {
	invalid, ok := errors.AsType[*chat.ValidationError](err)
	if !ok {
		return "", false
	}
	for _, p := range invalid.Problems {
		if slices.Contains([]string{"", "/conversationId", "/user", "/user/id"}, p.Pointer) {
			return "", false
		}
	}
	var fields map[string]json.RawMessage // exact names, unlike a struct's
	var user map[string]json.RawMessage
	var id string
	if json.Unmarshal(body, &fields) != nil {
		return "", false
	}
	raw := fields["conversationId"]
	if len(raw) == 0 || string(raw) == "null" {
		if json.Unmarshal(fields["user"], &user) != nil {
			return "", false
		}
		raw = user["id"]
	}
	if json.Unmarshal(raw, &id) != nil || id == "" {
		return "", false
	}
	return id, true
}

// acceptInOrder stores one conversation's lines, each after the one before.
func (s *Service) acceptInOrder(ctx context.Context, sub submission, group []*line) {
	key := sub.key
	for i, l := range group {
		sub.in = l.in
		if key != "" {
			sub.key = key + "\n" + strconv.Itoa(l.number) // no key from outside holds a line break
			sub.hash = requestHash(sub.key, formBatch, l.body)
		}
		l.answer, l.err = s.acceptLine(ctx, &sub)
		if l.err == nil {
			continue
		}
		for _, later := range group[i+1:] {
			later.err = blockedBy(l.number)
		}
		return
	}
}

// acceptLine turns a panic into the line's error: the goroutine is not the
// request's own.
func (s *Service) acceptLine(ctx context.Context, sub *submission) (a accepted, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
			s.deps.Log.Error("accepting a batch's line panicked", zap.Any("panic", v), zap.Stack("stack"))
		}
	}()
	if ctx.Err() != nil {
		p := problem.New(http.StatusServiceUnavailable, slugUnavailable, "the batch took too long and this message was not stored: send it again")
		p.RetryAfter = time.Second
		return a, p
	}
	return s.accept(ctx, sub)
}

func blockedBy(number int) error {
	return problem.New(http.StatusConflict, slugBlocked,
		fmt.Sprintf("line %d failed and may come before this one in its conversation: correct it, then send both again in order", number))
}

// answerBatch writes a line for each message: its answer, or its problem.
func (s *Service) answerBatch(c echo.Context, lines []*line) error {
	out := make([]byte, 0, 128*len(lines))
	var retry time.Duration
	for _, l := range lines {
		if l.err == nil {
			out = l.answer.appendMembers(append(out, `{"status":202,`...))
			continue
		}
		p := problem.From(l.err)
		if p.Status == http.StatusInternalServerError {
			s.deps.Log.Error("a batch's line failed", zap.Error(p.Cause))
		}
		s.metrics.refuse(formBatch, p.Slug())
		retry = max(retry, p.RetryAfter)
		encoded, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("encoding the batch's answer: %w", err)
		}
		out = append(append(out, encoded...), '\n')
	}
	if retry > 0 {
		c.Response().Header().Set("Retry-After", strconv.Itoa(seconds(retry)))
	}
	return c.Blob(http.StatusOK, contentNDJSON, out)
}
