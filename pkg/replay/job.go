package replay

import (
	"errors"
	"fmt"
	"time"

	"github.com/parleyhq/parley/pkg/deadletter"
)

// Action is what a job does with each letter.
type Action string

// The actions.
const (
	Replay  Action = "replay"  // stores it for the pipeline again
	Discard Action = "discard" // ends it
)

// State is how a job does.
type State string

// The states. A job that has ended stays as it is.
const (
	Running   State = "running" // or waits for a process that runs it
	Paused    State = "paused"
	Done      State = "done"
	Cancelled State = "cancelled"
	Failed    State = "failed" // Error says why; what it has done stays done
)

// Ended reports whether the state is the last one.
func (s State) Ended() bool { return s == Done || s == Cancelled || s == Failed }

// Job is a replay, or a discarding, of dead letters.
type Job struct {
	ID     string
	Action Action
	By     string // the name of the token that asked for it
	Reason string // why, in the operator's words
	Filter deadletter.Filter
	// Messages are the ids that are meant, of what the filter lets through; empty:
	// all of that.
	Messages []string
	UpTo     uint64 // the last letter's sequence when it was made
	Rate     int    // letters a second at most; 0: as fast as it goes

	State     State
	CreatedAt time.Time
	EndedAt   time.Time
	Error     string // why it failed, or why it makes no progress now
	Progress

	// Runner is the process that runs it, which renews the record.
	Runner string
}

// Progress is how far a job has come.
type Progress struct {
	Counted bool   // Total is known
	Total   uint64 // letters that were found when it began, and what is Done and Left
	Done    uint64
	// Left are letters that can't be sent again, since they can't be decoded: they
	// stay where they are.
	Left uint64
	Gone uint64 // that somebody else removed meanwhile
}

// Bounds of a job.
const (
	MaxMessages = 1000 // that are named
	MaxReason   = 500  // characters
	MaxRate     = 100_000
)

// Validate reports what is wrong with a job that is to be made.
func (j *Job) Validate() error {
	switch {
	case j.Action != Replay && j.Action != Discard:
		return fmt.Errorf(`the action is %q: use "replay" or "discard"`, j.Action)
	case j.Action == Discard && j.Reason == "":
		return errors.New("say why the letters are discarded: it is all that is left of them")
	case len(j.Reason) > MaxReason:
		return fmt.Errorf("the reason has %d characters: give it at most %d", len(j.Reason), MaxReason)
	case len(j.Messages) > MaxMessages:
		return fmt.Errorf("%d messages are named: name at most %d, or use a filter", len(j.Messages), MaxMessages)
	case j.Rate < 0 || j.Rate > MaxRate:
		return fmt.Errorf("the rate is %d a second: set it to 1..%d, or to 0 for no bound", j.Rate, MaxRate)
	}
	return nil
}
