package lane

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
)

// closedByPanic is why a destination is closed whose policy could not be asked.
const closedByPanic = "its policy panicked"

// guarded is a handler whose panics cost a message, or a while, and never the
// process. A panic in Route or Restore is their error, in Handle and Expire a verdict. A
// destination whose Policy panics is closed, and so is a group whose Paused does; a group whose Destination panics is
// its own; a message whose Superseded panics is not; what Ended would have done is logged.
type guarded struct {
	Handler
	log *zap.Logger
}

func (g guarded) caught(where string, p any) {
	g.log.Error("a handler panicked", zap.String("in", where), zap.String("panic", inWords(p)), zap.ByteString("stack", debug.Stack()))
}

// inWords is what a panic's line in the log says of it: a value that is no error of
// the runtime may quote what a user said.
func inWords(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", p)
}

// Route implements Handler.
func (g guarded) Route(ctx context.Context, m *Message) (targets []Target, err error) {
	defer func() {
		if p := recover(); p != nil {
			g.caught("Route", p)
			err = fmt.Errorf("routing it panicked: %v", p)
		}
	}()
	return g.Handler.Route(ctx, m)
}

// Restore implements Handler.
func (g guarded) Restore(m *Message, group string) (t Target, err error) {
	defer func() {
		if p := recover(); p != nil {
			g.caught("Restore", p)
			err = fmt.Errorf("restoring it panicked: %v", p)
		}
	}()
	return g.Handler.Restore(m, group)
}

// Destination implements Handler.
func (g guarded) Destination(group string) (name string) {
	defer func() {
		if p := recover(); p != nil {
			g.caught("Destination", p)
			name = group
		}
	}()
	return g.Handler.Destination(group)
}

// Policy implements Handler.
func (g guarded) Policy(destination string) (policy Policy) {
	defer func() {
		if p := recover(); p != nil {
			g.caught("Policy", p)
			policy = Policy{Closed: closedByPanic}
		}
	}()
	return g.Handler.Policy(destination)
}

// Paused implements Handler.
func (g guarded) Paused(group string) (why string) {
	defer func() {
		if p := recover(); p != nil {
			g.caught("Paused", p)
			why = closedByPanic
		}
	}()
	return g.Handler.Paused(group)
}

// Handle implements Handler.
func (g guarded) Handle(ctx context.Context, t *Task) (v Verdict) {
	defer func() {
		if p := recover(); p != nil {
			g.caught("Handle", p)
			v = Dead(ReasonPanic, fmt.Errorf("the handler panicked: %v", p))
		}
	}()
	return g.Handler.Handle(ctx, t)
}

// Expire implements Handler.
func (g guarded) Expire(ctx context.Context, t *Task) (v Verdict) {
	defer func() {
		if p := recover(); p != nil {
			g.caught("Expire", p)
			v = Dead(ReasonPanic, fmt.Errorf("the handler panicked: %v", p))
		}
	}()
	return g.Handler.Expire(ctx, t)
}

// Superseded implements Handler.
func (g guarded) Superseded(ctx context.Context, t *Task) (yes bool) {
	defer func() {
		if p := recover(); p != nil {
			g.caught("Superseded", p)
			yes = false
		}
	}()
	return g.Handler.Superseded(ctx, t)
}

// Ended implements Handler.
func (g guarded) Ended(t *Task, a *chat.Attempt, outcome chat.Outcome) {
	defer func() {
		if p := recover(); p != nil {
			g.caught("Ended", p)
		}
	}()
	g.Handler.Ended(t, a, outcome)
}
