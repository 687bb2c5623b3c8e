package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/problem"
)

// Journal reads what was said; a *journal.Reader does.
type Journal interface {
	Scan(ctx context.Context, f journal.Filter, since, until time.Time, from uint64, visit func(journal.Entry) error) error
}

// Sessions reads sessions; a *session.Store does.
type Sessions interface {
	Load(ctx context.Context, key chat.ConversationKey) (rec *chat.Session, revision uint64, err error)
}

const (
	// maxReads is how many legacy reads may be under way at once: each may read
	// all of a conversation's journal.
	maxReads = 16
	// readTimeout bounds one of them.
	readTimeout = 10 * time.Second
	// defaultRows and maxRows are of a page of the history.
	defaultRows = 50
	maxRows     = 500
)

// defaultNamespace is that of the variables which are in no other.
const defaultNamespace = "default"

// history is the answer to a read of a conversation in the legacy form.
type history struct {
	Rows   []historyRow `json:"rows"`  // newest first
	Count  int          `json:"count"` // of all rows
	Offset int          `json:"offset"`
	Limit  int          `json:"limit"`
}

// historyRow is what one side said.
type historyRow struct {
	ID             string          `json:"id"`
	BotID          string          `json:"botId"`
	SenderID       string          `json:"senderId"`
	From           string          `json:"from"` // user or bot
	Message        json.RawMessage `json:"message"`
	MessageCounter uint64          `json:"messageCounter,omitempty"` // of a bot's message
	Timestamp      time.Time       `json:"timestamp"`
}

// conversation lets a token of one of the bot's channels through, and returns
// that channel and the sender, whose conversation it is.
func (s *Service) conversation(c echo.Context) (channelID, senderID string, err error) {
	clear, err := bearer(c.Request())
	if err != nil {
		return "", "", err
	}
	senderID = param(c, "senderId")
	if _, err = s.judged(c.Request().Context(), func(cfg Config) error {
		token, _, err := authorizeForBot(cfg, clear, param(c, "botId"))
		channelID = token.ChannelID
		return err
	}); err != nil {
		return "", "", err
	}
	return channelID, senderID, checkConversationID(senderID)
}

func (s *Service) history(c echo.Context) error {
	channelID, senderID, err := s.conversation(c)
	if err != nil {
		return err
	}
	out := history{Rows: []historyRow{}}
	if out.Offset, out.Limit, err = rowsQuery(c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), readTimeout)
	defer cancel()
	key := chat.KeyOf(channelID, senderID)
	if err := s.eachSaid(ctx, channelID, key, func(historyRow) { out.Count++ }); err != nil {
		return unread(err)
	}
	// The rows are counted from the newest, and read from the oldest.
	n, end := 0, out.Count-out.Offset
	if end > 0 {
		err = s.eachSaid(ctx, channelID, key, func(row historyRow) {
			if n >= end-out.Limit && n < end {
				out.Rows = append(out.Rows, row)
			}
			n++
		})
	}
	if err != nil {
		return unread(err)
	}
	slices.Reverse(out.Rows)
	return c.JSON(http.StatusOK, out)
}

// eachSaid visits what both sides said, oldest first: of each turn that came to
// an end the user's message and the bot's.
func (s *Service) eachSaid(ctx context.Context, channelID string, key chat.ConversationKey, visit func(historyRow)) error {
	return s.deps.Journal.Scan(ctx, journal.Filter{ChannelID: channelID, Key: &key, Turns: true}, time.Time{}, time.Time{}, 0, func(e journal.Entry) error {
		if e.Turn == nil || e.Turn.Outcome == chat.OutcomeRetry {
			return nil
		}
		in := &e.Turn.Input
		if in.Input.Kind != chat.InputActions {
			visit(historyRow{ID: in.ID, BotID: e.Turn.BotID, SenderID: in.ConversationID, From: "user", Message: said(&in.Input), Timestamp: in.AcceptedAt.UTC()})
		}
		for i := range e.Turn.Output {
			m := &e.Turn.Output[i]
			if m.Event == chat.EventMessage {
				visit(historyRow{
					ID: m.ID, BotID: m.BotID, SenderID: m.ConversationID, From: "bot", Message: m.Message,
					MessageCounter: m.Ordinal.Counter, Timestamp: m.CreatedAt.UTC(),
				})
			}
		}
		return nil
	})
}

// said is a user's message as the contract spells it; nil where it was not
// recorded.
func said(in *chat.Input) json.RawMessage {
	if !json.Valid(in.Body) {
		return nil
	}
	message, err := json.Marshal(map[chat.InputKind]json.RawMessage{in.Kind: in.Body})
	if err != nil {
		return nil
	}
	return message
}

func rowsQuery(c echo.Context) (offset, limit int, err error) {
	var p chat.Problems
	limit = defaultRows
	for _, q := range []struct {
		name     string
		value    *int
		min, max int
	}{{"offset", &offset, 0, 1 << 30}, {"limit", &limit, 1, maxRows}} {
		text := c.QueryParam(q.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < q.min || n > q.max {
			p.Add("", fmt.Sprintf("the query parameter %s is %q: set it to %d..%d", q.name, text, q.min, q.max))
		}
		*q.value = n
	}
	return offset, limit, p.Err()
}

// sessionData answers with a conversation's variables: those of a namespace,
// which are the members of the variable of that name, or all.
func (s *Service) sessionData(c echo.Context) error {
	channelID, senderID, err := s.conversation(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), readTimeout)
	defer cancel()
	rec, _, err := s.deps.Sessions.Load(ctx, chat.KeyOf(channelID, senderID))
	if err != nil {
		return unread(err)
	}
	if rec == nil || rec.Erased() {
		return problem.New(http.StatusNotFound, slugUnknownConversation,
			"there is no session of this sender: nothing has been said yet, or for longer than sessions are kept")
	}
	variables := map[string]json.RawMessage{}
	if len(rec.Variables) > 0 {
		if err := json.Unmarshal(rec.Variables, &variables); err != nil {
			return fmt.Errorf("reading the variables of a session: %w", err)
		}
	}
	if namespace := param(c, "namespace"); namespace != defaultNamespace {
		members := variables[namespace]
		variables = map[string]json.RawMessage{}
		if len(members) > 0 && members[0] == '{' {
			if err := json.Unmarshal(members, &variables); err != nil {
				return fmt.Errorf("reading the variables of a session: %w", err)
			}
		}
	}
	return c.JSON(http.StatusOK, variables)
}

// unread is the answer where the broker can't be read.
func unread(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	p := problem.New(http.StatusServiceUnavailable, slugUnavailable, "the conversation could not be read: send it again after the time in Retry-After")
	p.RetryAfter, p.Cause = time.Second, err
	return p
}
