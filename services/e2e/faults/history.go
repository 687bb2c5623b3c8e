package faults

import (
	"cmp"
	"fmt"
	"time"
)

// History is what a run did and saw. Its lists are in the order of time.
type History struct {
	Seed uint64
	// Late is how long an endpoint may take to confirm a POST before the client
	// may have given it up: what took longer may be repeated.
	Late time.Duration
	// RedisFails says that Redis was taken away: repeats are then allowed.
	RedisFails bool
	// Failing are the conversations whose endpoint always fails.
	Failing map[string]bool

	Sends   []Send
	Posts   []Post
	Letters []Letter
	Events  []Event
}

// Send is a user message. A conversation says the numbers 1, 2, 3, …, each one
// after the one before was accepted.
type Send struct {
	Conversation string
	Number       int
	Accepted     bool // answered 202
	// Lost counts the tries whose answer was lost or not certain: each may have
	// been stored as a message of its own.
	Lost int
	At   time.Time // when Accepted, or given up
}

// Answer is what an endpoint made of a POST.
type Answer uint8

// The answers.
const (
	// Confirmed is a 2xx.
	Confirmed Answer = iota
	// Refused is any other status.
	Refused
	// Broken is no answer: a reset, or a hang until the client left.
	Broken
)

// String returns the answer as a word.
func (a Answer) String() string {
	switch a {
	case Confirmed:
		return "confirmed"
	case Refused:
		return "refused"
	default:
		return "broken"
	}
}

// Post is one POST that an endpoint saw.
type Post struct {
	Conversation string
	Epoch        uint64 // 0 where it is not known
	Counter      uint64
	ID           string // webhook-id
	Attempt      int
	Number       int    // of the user message that it answers
	Sender       string // the process that sent it; empty where it is not known
	Arrived      time.Time
	Ended        time.Time // when the answer was decided on
	Answer       Answer
}

func (p *Post) String() string {
	return fmt.Sprintf("%s counter %d (epoch %d) answers %d, id …%s, attempt %d of %s: %s after %s",
		clock(p.Arrived), p.Counter, p.Epoch, p.Number, tail(p.ID), p.Attempt, cmp.Or(p.Sender, "?"), p.Answer, p.Ended.Sub(p.Arrived).Round(time.Millisecond))
}

// Letter is a dead letter.
type Letter struct {
	Conversation string
	Counter      uint64
	ID           string
	Reason       string
}

// Event is something that was done to a process.
type Event struct {
	At     time.Time
	Kind   Kind
	Target string
	// Severs says that a delivery worker was killed or stopped (or goes on, when
	// Undone): what it was sending may be repeated, and nothing else.
	Severs bool
	// Undone says that this ended the fault.
	Undone bool
}

func (e *Event) String() string {
	undone := ""
	if e.Undone {
		undone = " (end)"
	}
	return fmt.Sprintf("%s %s %s%s", clock(e.At), e.Kind, e.Target, undone)
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

func tail(id string) string { return id[max(0, len(id)-6):] }
