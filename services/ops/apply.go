package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/audit"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/registry"
)

const (
	// maxDeclaration bounds a declaration, in bytes: as much as the admin server takes.
	maxDeclaration = 4 << 20
	// applyTimeout bounds a request that applies: thousands of objects.
	applyTimeout = 10 * time.Minute
)

func (s *Service) apply(c echo.Context) error {
	var in ApplyRequest
	if err := decodeUpTo(c, maxDeclaration, &in); err != nil {
		return err
	}
	if err := http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(applyTimeout + time.Minute)); err != nil {
		return fmt.Errorf("taking longer to apply: %w", err)
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), applyTimeout)
	defer cancel()
	done, err := s.applyAs(ctx, &in, Actor{Name: caller(c), TokenID: callerID(c), Remote: c.Request().RemoteAddr})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, done)
}

// Actor is who asks, as the audit names it.
type Actor struct{ Name, TokenID, Remote string }

// Apply makes a declaration true, change by change, and stops at the first that
// fails: what was done stays, and the next run does the rest. Each change expects
// the object as the plan found it, so nothing that was changed meanwhile is
// overwritten. An error means that nothing was changed; one with what is wrong
// with the declaration is a *chat.ValidationError.
//
// Where somebody else changes the same at the same time, such as another process
// that applies the same declaration, it plans again.
func (s *Service) Apply(ctx context.Context, in ApplyRequest, by string) (out *Applied, err error) {
	for range applyTries {
		if out, err = s.applyAs(ctx, &in, Actor{Name: by}); err != nil || !out.conflict {
			break
		}
	}
	return out, err
}

// applyTries bounds how often it plans again.
const applyTries = 10

// CheckApply reports what Apply would find wrong with a declaration, judged by the
// configuration that is known here.
func (s *Service) CheckApply(in ApplyRequest) error {
	_, err := s.newPlan(&in, "", s.Registry.Snapshot())
	return err
}

func (s *Service) applyAs(ctx context.Context, in *ApplyRequest, by Actor) (*Applied, error) {
	now, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, refusal(err)
	}
	p, err := s.newPlan(in, by.TokenID, now)
	if err != nil {
		return nil, err
	}
	fingerprint, err := p.fingerprint()
	if err != nil {
		return nil, err
	}
	if in.Plan != "" && in.Plan != fingerprint {
		return nil, problem.New(http.StatusPreconditionFailed, "changed", "what is configured was changed since this plan was made: look at a new one")
	}
	out := &Applied{Plan: fingerprint, Owner: in.Owner, DryRun: in.DryRun, Changes: []Change{}, Unchanged: p.unchanged, Revision: now.Revision()}
	for i := range p.steps {
		out.Changes = append(out.Changes, p.steps[i].Change)
	}
	if err := s.countParked(ctx, out.Changes); err != nil {
		return nil, refusal(err)
	}
	if !in.DryRun {
		p.carryOut(ctx, out, by)
	}
	return out, nil
}

// countParked says what deleting endpoints makes dead letters of.
func (s *Service) countParked(ctx context.Context, changes []Change) (err error) {
	for i := range changes {
		if c := &changes[i]; c.Kind == registry.KindEndpoint && c.Action == ChangeDelete {
			if c.Parked, err = s.Parked(ctx, c.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *plan) carryOut(ctx context.Context, out *Applied, by Actor) {
	for i := range p.steps {
		s, c := &p.steps[i], &out.Changes[i]
		made, err := s.run(ctx, c, s.Revision)
		status := http.StatusOK
		if err != nil {
			status = problem.From(refusal(err)).Status
			out.Error = err.Error()
			out.conflict = errors.Is(err, registry.ErrConflict) || errors.Is(err, registry.ErrExists) || errors.Is(err, registry.ErrNotFound)
			c.Secrets = nil
		}
		p.record(ctx, s, made, status, by)
		if err != nil {
			return
		}
		c.Done = true
		out.Revision = p.service.Registry.Snapshot().Revision()
	}
}

// record writes what a change came to into the audit, as the request of that one
// change would have been.
func (p *plan) record(ctx context.Context, s *step, made audited, status int, by Actor) {
	if status >= http.StatusBadRequest && status < http.StatusInternalServerError {
		return
	}
	verb := "put"
	if s.Action == ChangeDelete {
		verb = "delete"
	}
	e := audit.Entry{
		By: by.Name, TokenID: by.TokenID, Remote: by.Remote, Action: string(s.Kind) + "." + verb, Kind: string(s.Kind), Object: s.ID,
		Query: "apply=" + p.request.Owner, Status: status,
	}
	if status == http.StatusOK {
		_, detail := made.audited()
		e.Detail, _ = json.Marshal(detail) // what the API shows can be encoded
	}
	if err := p.service.Audit.Write(context.WithoutCancel(ctx), e); err != nil {
		p.service.Log.Error("what apply did could not be recorded in the audit", zap.Any("entry", e), zap.Error(err))
	}
}

// audited says how much was changed; each change has an entry of its own.
func (a *Applied) audited() (string, any) {
	n := map[string]int{}
	for _, c := range a.Changes {
		if c.Done {
			n[c.Action]++
		}
	}
	return a.Owner, map[string]any{"dryRun": a.DryRun, "done": n, "changes": len(a.Changes), "error": a.Error}
}
