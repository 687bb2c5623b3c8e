package lane

import (
	"context"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/retry"
)

// Handler is a stage's part: it knows what messages mean and what to do with
// them. Its methods are called concurrently for different lanes.
type Handler interface {
	// Route says to which lanes a message of the work queue belongs. None:
	// nobody wants it, and the handler has said so where it has to. An error
	// makes the message a dead letter, unless ctx has ended.
	Route(ctx context.Context, m *Message) ([]Target, error)
	// Restore makes the target of a message that was parked in a group's lane.
	// An error makes the message a dead letter.
	Restore(m *Message, group string) (Target, error)
	// Destination names the destination of a group's lanes now: the endpoint
	// itself, or the channel's bot.
	Destination(group string) string
	// Policy says how a destination is to be treated now.
	Policy(destination string) Policy
	// Paused says why a group's lanes get nothing now, whatever their destination
	// is; empty: they do.
	Paused(group string) string
	// Handle makes one attempt. When ctx has ended its verdict does not count,
	// unless it is Done.
	Handle(ctx context.Context, t *Task) Verdict
	// Expire ends a message whose time is up without an attempt, also while its
	// destination is closed: Expired, Done where it was handled before, or Stall.
	Expire(ctx context.Context, t *Task) Verdict
	// Superseded reports whether a message is of no use since its conversation has
	// gone on. It is asked only of one that has waited and that may be superseded;
	// what can't be found out is not. One that is ends by Expire.
	Superseded(ctx context.Context, t *Task) bool
	// Ended is told of every attempt's outcome and of every message's end, once
	// that is durable. It must not block.
	Ended(t *Task, a *chat.Attempt, outcome chat.Outcome)
}

// Message is a stored message.
type Message struct {
	// Seq and Time are those of the message in its work queue, also after it
	// was parked.
	Seq    uint64
	Time   time.Time
	Data   []byte
	Replay *Replay // nil: it is none
	// Traceparent is the context that the message's header has, or empty: it is
	// then what its content says. Both are of one trace.
	Traceparent string
}

// ID names a lane within a partition: the group is the channel at the user
// stage and the endpoint at the bot stage.
type ID struct {
	Group string
	Key   chat.ConversationKey
}

// String returns the name under which the ledger knows the lane.
func (id ID) String() string { return id.Group + "." + id.Key.String() }

// Target is a message's place in one lane.
type Target struct {
	Lane  ID
	Place chat.Ordinal
	// ChannelID, ConversationID, MessageID and Counter go into dead letters.
	ChannelID      string
	ConversationID string
	MessageID      string
	Counter        uint64
	// Created is what a policy's ExpireAfter counts from; the message itself is
	// worth no attempt after Expires, zero: it always is.
	Created time.Time
	Expires time.Time
	// Supersede says that the message may be superseded, whatever the policy says.
	Supersede bool
	// Traceparent is the message's trace context, or empty.
	Traceparent string
	// Content is whatever the handler wants to find again in Handle.
	Content any
}

// Policy is how a destination is treated.
type Policy struct {
	Schedule retry.Schedule
	// Hold keeps a lane at a message that used up the schedule, for an
	// operator, instead of going on behind it.
	Hold bool
	// ExpireAfter is how long after its creation a message is worth an attempt;
	// 0: for ever.
	ExpireAfter time.Duration
	// Supersede says that messages may be superseded.
	Supersede bool
	// MaxInFlight is how many lanes may be at work at once.
	MaxInFlight int
	// MinInFlight is how few, where the cap is to follow what the destination
	// can take, see health.Limit; 0: the cap is MaxInFlight.
	MinInFlight int
	// Circuit says whether attempts are made; nil: they are.
	Circuit Circuit
	// Rate bounds the attempts of all workers; what is over it waits, without an
	// attempt. Zero is no bound.
	Rate chat.Rate
	// Closed is why the destination gets nothing now; empty when it is open.
	Closed string
	// LastWord has a message whose attempts led nowhere handled once more, with
	// Task.GivenUp, before it becomes a dead letter.
	LastWord bool
}

// DefaultInFlight is a destination's cap when its policy has none.
const DefaultInFlight = 64

// bounds are those of the cap.
func (p Policy) bounds() (least, most int) {
	most = p.MaxInFlight
	if most <= 0 {
		most = DefaultInFlight
	}
	if p.MinInFlight <= 0 {
		return most, most
	}
	return min(p.MinInFlight, most), most
}

// rate is what lanes must wait for: not for being turned away at once.
func (p Policy) rate() chat.Rate {
	if p.Closed != "" {
		return chat.Rate{}
	}
	return p.Rate
}

// Task is one attempt to be made.
type Task struct {
	Target
	Message *Message
	// Destination is where the attempt goes to.
	Destination string
	// Number is the attempt's number for this message, from 1.
	Number int
	// GivenUp is why the message is given up; else empty. Ended has it of a dead
	// letter, whatever the reason. Handle has it, as ReasonExhausted or
	// ReasonWaited, where the policy has a LastWord: Done ends the message as
	// failed in place of the dead letter; Stall is asked again.
	GivenUp string
	// Superseded is why it ends; else its time is up where it has no attempt.
	Superseded bool

	over   bool          // its time is up, or it is superseded
	failed *chat.Attempt // once it has failed
}
