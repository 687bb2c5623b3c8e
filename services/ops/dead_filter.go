package ops

import (
	"fmt"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
)

// deadQuery reads which dead letters to list, and from where.
func deadQuery(c echo.Context, now time.Time) (f deadletter.Filter, at deadletter.Page, err error) {
	var p chat.Problems
	f = deadFilterQuery(c, now, &p)
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

func deadFilterQuery(c echo.Context, now time.Time, p *chat.Problems) deadletter.Filter {
	in := DeadLetterFilter{
		Stage: chat.Stage(c.QueryParam("stage")), Channel: c.QueryParam("channel"),
		Endpoint: c.QueryParam("endpoint"), Bot: c.QueryParam("bot"), Destination: c.QueryParam("destination"),
		Conversation: c.QueryParam("conversation"), Reason: c.QueryParam("reason"),
		Since: c.QueryParam("since"), Until: c.QueryParam("until"),
	}
	if text := c.QueryParam("status"); text != "" {
		var err error
		if in.Status, err = strconv.Atoi(text); err != nil {
			p.Add("status", badStatus(text))
			in.Status = 0
		}
	}
	return in.resolve("", now, p)
}

// Resolve checks a filter that came in a body, and turns it into the store's:
// durations back are from now. The error is a *chat.ValidationError.
func (f DeadLetterFilter) Resolve(now time.Time) (deadletter.Filter, error) {
	var p chat.Problems
	out := f.resolve("/", now, &p)
	return out, p.Err()
}

// resolve adds what is wrong under a prefix and the field's name.
func (f DeadLetterFilter) resolve(prefix string, now time.Time, p *chat.Problems) deadletter.Filter {
	if f.Stage != "" && f.Stage != chat.StageUser && f.Stage != chat.StageBot {
		p.Add(prefix+"stage", fmt.Sprintf(`%q is no stage: use "user" or "bot"`, f.Stage))
	}
	out := deadletter.Filter{
		Stage: f.Stage, ChannelID: f.Channel, ConversationID: f.Conversation, Reason: f.Reason, Status: f.Status,
	}
	f.destination(prefix, &out, p)
	if f.Channel != "" {
		checkID(prefix+"channel", "channel", f.Channel, p)
	} else if f.Conversation != "" {
		p.Add(prefix+"conversation", "a conversation is one of a channel: give its channel too")
	}
	if f.Status != 0 && (f.Status < 100 || f.Status > 599) {
		p.Add(prefix+"status", badStatus(strconv.Itoa(f.Status)))
	}
	out.After = moment(prefix+"since", f.Since, now, p)
	out.Before = moment(prefix+"until", f.Until, now, p)
	if !out.After.IsZero() && !out.Before.IsZero() && !out.After.Before(out.Before) {
		p.Add(prefix+"until", "this is not later than since: nothing is in between")
	}
	return out
}

// destination takes the one of three names that is given, and the stage that it
// says.
func (f DeadLetterFilter) destination(prefix string, out *deadletter.Filter, p *chat.Problems) {
	for _, d := range []struct {
		name, id string
		stage    chat.Stage
	}{{"endpoint", f.Endpoint, chat.StageBot}, {"bot", f.Bot, chat.StageUser}, {"destination", f.Destination, f.Stage}} {
		if d.id == "" {
			continue
		}
		checkID(prefix+d.name, d.name, d.id, p)
		switch {
		case out.Destination != "":
			p.Add(prefix+d.name, "give one of endpoint, bot and destination")
		case f.Stage != "" && f.Stage != d.stage:
			p.Add(prefix+d.name, fmt.Sprintf("messages for a destination of this kind die at stage %q: leave the stage out", d.stage))
		}
		out.Destination, out.Stage = d.id, d.stage
	}
}

// checkID checks what becomes a part of a subject.
func checkID(pointer, kind, id string, p *chat.Problems) {
	if err := chat.ValidateID(kind, id); err != nil {
		p.Add(pointer, err.Error())
	}
}

func badStatus(text string) string {
	return fmt.Sprintf("%q is no HTTP status: give a number from 100 to 599", text)
}

// moment reads a time, or a duration back from now; none is the zero time.
func moment(pointer, text string, now time.Time, p *chat.Problems) time.Time {
	if text == "" {
		return time.Time{}
	}
	if back, err := time.ParseDuration(text); err == nil && back >= 0 {
		return now.Add(-back)
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.Add(pointer, fmt.Sprintf(`%q is no time: write it like "2026-07-28T12:00:00Z", or as a duration back like "1h30m"`, text))
	}
	return at
}
