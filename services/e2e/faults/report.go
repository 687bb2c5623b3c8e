package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Violation is a kind of broken promise.
type Violation string

// The violations.
const (
	Lost       Violation = "lost"                     // accepted, and neither delivered nor a dead letter
	OutOfOrder Violation = "out of order"             // a first delivery before one that goes before it
	Repeated   Violation = "repeated without excuse"  // posted again after it was confirmed
	Gap        Violation = "gap in the counters"      // a counter of an epoch that never came
	Renumbered Violation = "renumbered"               // one counter for two messages, or two for one
	Doubled    Violation = "answered too often"       // more answers than it can have been stored
	Buried     Violation = "dead letter without need" // where the endpoint doesn't always fail
	Unknown    Violation = "unknown"                  // answers to what was never said
)

// Excuse is why a repeat is allowed.
type Excuse string

// The excuses.
const (
	InFlight     Excuse = "in flight at a kill or stop"
	Resumed      Excuse = "being sent at a stop, and written when its worker went on"
	WithoutRedis Excuse = "Redis was taken away"
	AnsweredLate Excuse = "confirmed when the client may have given up"
)

// Finding is one violation.
type Finding struct {
	Conversation string
	Detail       string
}

// Report is a history's judgement.
type Report struct {
	Conversations int
	Accepted      int // user messages answered 202
	Uncertain     int // user messages of which an answer was lost
	StoredTwice   int // answers more than one to a message of which an answer was lost
	Delivered     int // bot messages that were confirmed
	Posts         int
	Letters       int
	Unknown       int // POSTs of which it is not known who sent them
	Faults        int
	Repeats       map[Excuse]int // POSTs of a confirmed message
	// Stretch is how far from its answer a POST was, at most, that is taken as in
	// flight: the answer had to be recorded still, or its arrival was noted late.
	Stretch    time.Duration
	Violations map[Violation][]Finding

	history *History
}

// OK reports that no promise was broken.
func (r *Report) OK() bool { return len(r.Violations) == 0 }

// shown is how many conversations' histories a failed report shows, and how
// many of their findings.
const shown = 3

// String returns the numbers and, of a failed run, what was found with the
// history of the first conversations of each kind.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d faults; %d conversations, %d accepted, %d of them with an answer lost (%d stored twice); %d POSTs (%d of unknown senders), %d delivered, %d dead letters; repeats: %d in flight (at most %s from the answer), %d resumed, %d without Redis, %d answered late\n",
		r.history.Seed, r.Faults, r.Conversations, r.Accepted, r.Uncertain, r.StoredTwice, r.Posts, r.Unknown, r.Delivered, r.Letters,
		r.Repeats[InFlight], r.Stretch.Round(time.Millisecond), r.Repeats[Resumed], r.Repeats[WithoutRedis], r.Repeats[AnsweredLate])
	told := map[string]bool{}
	for _, v := range slices.Sorted(maps.Keys(r.Violations)) {
		findings := r.Violations[v]
		fmt.Fprintf(&b, "%s: %d\n", v, len(findings))
		for _, f := range findings[:min(shown, len(findings))] {
			fmt.Fprintf(&b, "  %s: %s\n", f.Conversation, f.Detail)
			told[f.Conversation] = true
		}
	}
	for _, conversation := range slices.Sorted(maps.Keys(told)) {
		r.tell(&b, conversation)
	}
	return b.String()
}

// tell writes all that happened to a conversation, and the faults beside it.
func (r *Report) tell(b *strings.Builder, conversation string) {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	for _, s := range r.history.Sends {
		if s.Conversation == conversation {
			lines = append(lines, line{s.At, fmt.Sprintf("%s sent %d: accepted %t, %d answers lost", clock(s.At), s.Number, s.Accepted, s.Lost)})
		}
	}
	for i := range r.history.Posts {
		if p := &r.history.Posts[i]; p.Conversation == conversation {
			lines = append(lines, line{p.Arrived, p.String()})
		}
	}
	for i := range r.history.Events {
		lines = append(lines, line{r.history.Events[i].At, "    " + r.history.Events[i].String()})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	fmt.Fprintf(b, "\nthe history of %s:\n", conversation)
	for _, l := range lines {
		fmt.Fprintln(b, "  "+l.text)
	}
	for _, l := range r.history.Letters {
		if l.Conversation == conversation {
			fmt.Fprintf(b, "  dead letter: counter %d, id …%s: %s\n", l.Counter, tail(l.ID), l.Reason)
		}
	}
}

// TableHead is the head of a Markdown table of reports.
const TableHead = `| seed | Redis faults | faults | accepted | POSTs | delivered | dead letters | lost | out of order | gaps | repeats in flight | repeats without Redis, or answered late | repeats without excuse | other |
| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
`

// Row is the report's row under TableHead.
func (r *Report) Row() string {
	redis := "no"
	if r.history.RedisFails {
		redis = "yes"
	}
	n := func(kinds ...Violation) (sum int) {
		for _, v := range kinds {
			sum += len(r.Violations[v])
		}
		return sum
	}
	return fmt.Sprintf("| %d | %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n",
		r.history.Seed, redis, r.Faults, r.Accepted, r.Posts, r.Delivered, r.Letters,
		n(Lost), n(OutOfOrder), n(Gap), r.Repeats[InFlight]+r.Repeats[Resumed], r.Repeats[WithoutRedis]+r.Repeats[AnsweredLate], n(Repeated),
		n(Renumbered, Doubled, Buried, Unknown))
}
