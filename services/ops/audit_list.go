package ops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/audit"
	"github.com/parleyhq/parley/pkg/chat"
)

// AuditPage is a part of the audit, newest first. Next is what "before" takes
// for the part behind; empty at the end. A part may be shorter than its limit,
// or empty, and have a Next: so far was looked.
type AuditPage struct {
	Items []AuditEntry `json:"items"`
	Next  string       `json:"next,omitempty"`
	// Undecodable counts entries of this part that can't be read, and so are
	// left out.
	Undecodable int `json:"undecodable,omitempty"`
}

// AuditEntry is one thing that an operator did.
type AuditEntry struct {
	ID        string          `json:"id"`
	At        time.Time       `json:"at"`
	By        string          `json:"by"`
	TokenID   string          `json:"tokenId,omitempty"` // empty: the bootstrap token
	Remote    string          `json:"remote,omitempty"`
	Action    string          `json:"action"`
	Kind      string          `json:"kind"`
	Object    string          `json:"object,omitempty"`
	Query     string          `json:"query,omitempty"`
	Status    int             `json:"status"` // of the answer; from 500 on: it may have been done
	Detail    json.RawMessage `json:"detail,omitempty"`
	RequestID string          `json:"requestId,omitempty"`
}

func (s *Service) listAudit(c echo.Context) error {
	f, at, err := auditQuery(c)
	if err != nil {
		return err
	}
	found, err := s.Audit.List(c.Request().Context(), f, at)
	if err != nil {
		return refusal(err)
	}
	page := AuditPage{Items: []AuditEntry{}, Undecodable: found.Undecodable}
	if found.Next != 0 {
		page.Next = strconv.FormatUint(found.Next, 10)
	}
	for i := range found.Entries {
		page.Items = append(page.Items, auditEntryOf(&found.Entries[i]))
	}
	return c.JSON(http.StatusOK, page)
}

func auditQuery(c echo.Context) (f audit.Filter, at audit.Page, err error) {
	var p chat.Problems
	f = audit.Filter{
		Kind: c.QueryParam("kind"), Object: c.QueryParam("object"), By: c.QueryParam("by"),
		Since: timeQuery(c, &p, "since"), Until: timeQuery(c, &p, "until"),
	}
	if f.Kind != "" && !slices.Contains(audit.Kinds(), f.Kind) {
		p.Add("kind", fmt.Sprintf("%q is no kind: use one of %s", f.Kind, strings.Join(audit.Kinds(), ", ")))
	}
	at.Limit = defaultPage
	if text := c.QueryParam("limit"); text != "" {
		if at.Limit, err = strconv.Atoi(text); err != nil || at.Limit < 1 || at.Limit > maxPage {
			p.Add("limit", fmt.Sprintf("the limit is %q: set it to 1..%d", text, maxPage))
		}
	}
	if before := c.QueryParam("before"); before != "" {
		if at.Before, err = strconv.ParseUint(before, 10, 64); err != nil {
			p.Add("before", `this is no place in the list: give the "next" of an answer`)
		}
	}
	return f, at, badQuery(&p)
}

// timeQuery reads a time; the zero time where none is given.
func timeQuery(c echo.Context, p *chat.Problems, name string) time.Time {
	text := c.QueryParam(name)
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.Add(name, fmt.Sprintf("%q is no time: write it like 2026-01-31T08:00:00Z", text))
	}
	return at
}

func auditEntryOf(e *audit.Entry) AuditEntry {
	return AuditEntry{
		ID: strconv.FormatUint(e.Seq, 10), At: e.At, By: e.By, TokenID: e.TokenID, Remote: e.Remote, Action: e.Action, Kind: e.Kind,
		Object: e.Object, Query: e.Query, Status: e.Status, Detail: e.Detail, RequestID: e.RequestID,
	}
}
