package ops

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/erasure"
)

// Eraser erases conversations; an *erasure.Eraser does.
type Eraser interface {
	// Count says what there is of a conversation.
	Count(ctx context.Context, c erasure.Conversation) (erasure.Report, error)
	// Erase erases it, and waits for the owners of its lanes for so long.
	Erase(ctx context.Context, c erasure.Conversation, by string, wait time.Duration) (erasure.Report, error)
}

// Erased says what was erased of a conversation, or would be.
type Erased struct {
	ChannelID      string `json:"channelId"`
	ConversationID string `json:"conversationId"`
	DryRun         bool   `json:"dryRun,omitempty"` // nothing was
	JournalEntries uint64 `json:"journalEntries"`
	DeadLetters    uint64 `json:"deadLetters"`
	ParkedMessages uint64 `json:"parkedMessages"`
	QueuedMessages uint64 `json:"queuedMessages"` // in the work queues
	Session        bool   `json:"session"`
	// What is still to be done: lanes whose owners have their command and have not
	// carried it out, work queues that something was still in. Once more erases that.
	PendingLanes  int `json:"pendingLanes,omitempty"`
	PendingQueues int `json:"pendingQueues,omitempty"`
}

// audited names the conversation by its hash: the audit outlasts it.
func (e Erased) audited() (string, any) {
	key := chat.KeyOf(e.ChannelID, e.ConversationID).String()
	e.ConversationID = key
	return key, e
}

// auditedQuery is a request's query with its conversation's hash in the place of
// its id.
func auditedQuery(u *url.URL) string {
	query := u.Query()
	id := query.Get("conversation")
	if id == "" {
		return u.RawQuery
	}
	query.Set("conversation", chat.KeyOf(query.Get("channel"), id).String())
	return query.Encode()
}

// eraseConversation answers 202 where something is still to be done.
func (s *Service) eraseConversation(c echo.Context) error {
	conversation, dryRun, err := s.erasing(c)
	if err != nil {
		return err
	}
	if dryRun {
		found, err := s.Eraser.Count(c.Request().Context(), conversation)
		if err != nil {
			return refusal(err)
		}
		out := erasedOf(conversation, found)
		out.DryRun = true
		return c.JSON(http.StatusOK, out)
	}
	done, err := s.Eraser.Erase(c.Request().Context(), conversation, caller(c), s.commandWait)
	// By its hash: a log is not erased.
	s.Log.Info("an operator erased a conversation", zap.String("channel", conversation.ChannelID),
		zap.Stringer("conversation", chat.KeyOf(conversation.ChannelID, conversation.ID)), zap.String("by", caller(c)),
		zap.Bool("complete", err == nil && done.Complete()), zap.Error(err))
	if err != nil {
		return refusal(err)
	}
	status := http.StatusOK
	if !done.Complete() {
		status = http.StatusAccepted
	}
	return c.JSON(status, erasedOf(conversation, done))
}

// erasing reads which conversation is meant; its channel may have been deleted.
func (s *Service) erasing(c echo.Context) (out erasure.Conversation, dryRun bool, err error) {
	var p chat.Problems
	out = erasure.Conversation{ChannelID: c.QueryParam("channel"), ID: c.QueryParam("conversation")}
	dryRun = boolQuery(c, &p, "dryRun")
	if err := chat.ValidateID("channel", out.ChannelID); err != nil { // it becomes part of a subject
		p.Add("channel", err.Error())
	}
	if n := utf8.RuneCountInString(out.ID); n < 1 || n > chat.MaxConversationID || !utf8.ValidString(out.ID) {
		p.Add("conversation", fmt.Sprintf("a conversation's id has 1 to %d characters", chat.MaxConversationID))
	}
	for _, e := range s.Registry.Snapshot().EndpointsOf(out.ChannelID) {
		out.Endpoints = append(out.Endpoints, e.ID)
	}
	return out, dryRun, badQuery(&p)
}

func erasedOf(c erasure.Conversation, r erasure.Report) Erased {
	return Erased{
		ChannelID: c.ChannelID, ConversationID: c.ID, JournalEntries: r.JournalEntries, DeadLetters: r.DeadLetters,
		ParkedMessages: r.ParkedMessages, QueuedMessages: r.QueuedMessages, Session: r.Session,
		PendingLanes: r.Lanes, PendingQueues: r.Queues,
	}
}
