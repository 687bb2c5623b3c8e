package ops

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/replay"
)

// Replays makes jobs on dead letters and steers them; a *replay.Runner with its
// Store does.
type Replays interface {
	Create(ctx context.Context, j replay.Job) (*replay.Job, error)
	Preview(ctx context.Context, j replay.Job) (*replay.Preview, error)
	List(ctx context.Context) ([]replay.Job, error)
	Get(ctx context.Context, id string) (*replay.Job, error)
	Pause(ctx context.Context, id string) (*replay.Job, error)
	Resume(ctx context.Context, id string) (*replay.Job, error)
	Cancel(ctx context.Context, id string) (*replay.Job, error)
}

func (s *Service) createReplay(c echo.Context) error {
	var in ReplayRequest
	if err := decode(c, &in); err != nil {
		return err
	}
	var p chat.Problems
	filter := in.Filter.resolve("/filter/", s.Now(), &p)
	if err := p.Err(); err != nil {
		return err
	}
	if in.Filter == (DeadLetterFilter{}) && len(in.Messages) == 0 && !in.All {
		return invalid("/filter", `neither a filter nor messages are given: give one, or "all": true for every dead letter`)
	}
	job := replay.Job{
		Action: in.Action, By: caller(c), Reason: in.Reason, Filter: filter, Messages: in.Messages, Rate: in.Rate,
	}
	if job.Action == "" {
		job.Action = replay.Replay
	}
	if err := job.Validate(); err != nil {
		return invalid("", err.Error())
	}
	if in.DryRun {
		return s.previewReplay(c, job)
	}
	made, err := s.Replays.Create(c.Request().Context(), job)
	if err != nil {
		return replayRefusal(err)
	}
	c.Response().Header().Set(echo.HeaderLocation, Root+"/replays/"+made.ID)
	return c.JSON(http.StatusAccepted, replayOf(made))
}

func (s *Service) previewReplay(c echo.Context, job replay.Job) error {
	found, err := s.Replays.Preview(c.Request().Context(), job)
	if err != nil {
		return replayRefusal(err)
	}
	out := ReplayPreview{Total: found.Total, Left: found.Left, Sample: []DeadLetter{}}
	for i := range found.Sample {
		out.Sample = append(out.Sample, deadLetterOf(&found.Sample[i]))
	}
	return c.JSON(http.StatusOK, out)
}

func (s *Service) listReplays(c echo.Context) error {
	jobs, err := s.Replays.List(c.Request().Context())
	if err != nil {
		return refusal(err)
	}
	list := ReplayList{Items: []ReplayJob{}}
	for i := range jobs {
		list.Items = append(list.Items, replayOf(&jobs[i]))
	}
	return c.JSON(http.StatusOK, list)
}

func (s *Service) getReplay(c echo.Context) error {
	return s.answerReplay(c, Replays.Get)
}

func (s *Service) pauseReplay(c echo.Context) error  { return s.answerReplay(c, Replays.Pause) }
func (s *Service) resumeReplay(c echo.Context) error { return s.answerReplay(c, Replays.Resume) }
func (s *Service) cancelReplay(c echo.Context) error { return s.answerReplay(c, Replays.Cancel) }

func (s *Service) answerReplay(c echo.Context, do func(Replays, context.Context, string) (*replay.Job, error)) error {
	job, err := do(s.Replays, c.Request().Context(), c.Param("id"))
	if err != nil {
		return replayRefusal(err)
	}
	return c.JSON(http.StatusOK, replayOf(job))
}

func replayRefusal(err error) error {
	switch {
	case errors.Is(err, replay.ErrNotFound):
		return problem.New(http.StatusNotFound, "not-found", "there is no such replay: `parley replay list` has those of the last 90 days")
	case errors.Is(err, replay.ErrEnded):
		return problem.New(http.StatusConflict, "ended", err.Error())
	case errors.Is(err, replay.ErrTooMany):
		return problem.New(http.StatusConflict, "too-many", err.Error())
	}
	return refusal(err)
}

func replayOf(j *replay.Job) ReplayJob {
	out := ReplayJob{
		ID: j.ID, Action: j.Action, State: j.State, By: j.By, Reason: j.Reason, Filter: filterOf(j.Filter), Messages: j.Messages,
		Rate: j.Rate, CreatedAt: j.CreatedAt.UTC(), Counted: j.Counted, Total: j.Total, Done: j.Done, Left: j.Left, Gone: j.Gone,
		Error: j.Error, Runner: j.Runner,
	}
	if !j.EndedAt.IsZero() {
		out.EndedAt = new(j.EndedAt.UTC())
	}
	return out
}

// filterOf shows a filter as it was resolved.
func filterOf(f deadletter.Filter) DeadLetterFilter {
	out := DeadLetterFilter{
		Stage: f.Stage, Channel: f.ChannelID, Destination: f.Destination, Conversation: f.ConversationID, Reason: f.Reason, Status: f.Status,
	}
	if !f.After.IsZero() {
		out.Since = f.After.UTC().Format(time.RFC3339Nano)
	}
	if !f.Before.IsZero() {
		out.Until = f.Before.UTC().Format(time.RFC3339Nano)
	}
	return out
}

// ReplayRequest asks for a job on dead letters.
type ReplayRequest struct {
	Action   replay.Action    `json:"action,omitempty"` // default "replay"
	Filter   DeadLetterFilter `json:"filter"`
	Messages []string         `json:"messages,omitempty"` // ids that are meant, of what the filter lets through
	All      bool             `json:"all,omitempty"`      // every letter is meant
	Rate     int              `json:"rate,omitempty"`     // letters a second at most
	Reason   string           `json:"reason,omitempty"`
	DryRun   bool             `json:"dryRun,omitempty"` // count, and change nothing
}

// ReplayPreview is what a job would find.
type ReplayPreview struct {
	Total  uint64       `json:"total"`
	Left   uint64       `json:"left"` // of these, that can't be sent again
	Sample []DeadLetter `json:"sample"`
}

// ReplayJob is a job on dead letters.
type ReplayJob struct {
	ID        string           `json:"id"`
	Action    replay.Action    `json:"action"`
	State     replay.State     `json:"state"`
	By        string           `json:"by"`
	Reason    string           `json:"reason,omitempty"`
	Filter    DeadLetterFilter `json:"filter"`
	Messages  []string         `json:"messages,omitempty"`
	Rate      int              `json:"rate,omitempty"`
	CreatedAt time.Time        `json:"createdAt"`
	EndedAt   *time.Time       `json:"endedAt,omitempty"`
	Counted   bool             `json:"counted"` // total is known
	Total     uint64           `json:"total"`
	Done      uint64           `json:"done"`
	Left      uint64           `json:"left"`
	Gone      uint64           `json:"gone"`
	Error     string           `json:"error,omitempty"` // why it failed, or makes no progress now
	Runner    string           `json:"runner,omitempty"`
}

// ReplayList is all replays, the newest first.
type ReplayList struct {
	Items []ReplayJob `json:"items"`
}
