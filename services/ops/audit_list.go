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
	f, at, err := auditQuery(c, s.Now())
	if err != nil {
		return err
	}
	found, err := s.Audit.List(c.Request().Context(), f, at)
	if err != nil {
		return refusal(err)
	}
	page := AuditPage{Items: []AuditEntry{}, Next: placeOf(found.Next), Undecodable: found.Undecodable}
	for i := range found.Entries {
		page.Items = append(page.Items, auditEntryOf(&found.Entries[i]))
	}
	return c.JSON(http.StatusOK, page)
}

func auditQuery(c echo.Context, now time.Time) (f audit.Filter, at audit.Page, err error) {
	var p chat.Problems
	f = audit.Filter{
		Kind: c.QueryParam("kind"), Object: c.QueryParam("object"), By: c.QueryParam("by"),
		Since: momentQuery(c, now, &p, "since"), Until: momentQuery(c, now, &p, "until"),
	}
	if f.Kind != "" && !slices.Contains(audit.Kinds(), f.Kind) {
		p.Add("kind", fmt.Sprintf("%q is no kind: use one of %s", f.Kind, strings.Join(audit.Kinds(), ", ")))
	}
	at.Limit, at.Before = partQuery(c, &p)
	return f, at, badQuery(&p)
}

func auditEntryOf(e *audit.Entry) AuditEntry {
	return AuditEntry{
		ID: strconv.FormatUint(e.Seq, 10), At: e.At, By: e.By, TokenID: e.TokenID, Remote: e.Remote, Action: e.Action, Kind: e.Kind,
		Object: e.Object, Query: e.Query, Status: e.Status, Detail: e.Detail, RequestID: e.RequestID,
	}
}
