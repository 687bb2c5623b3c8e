package faults

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }

// sent is a user message that was answered at once.
func sent(conversation string, number int) Send {
	return Send{Conversation: conversation, Number: number, Accepted: true, At: at(0)}
}

// post is a POST that was confirmed after 10 ms.
func post(conversation, id string, counter uint64, number int, s float64) Post {
	return Post{
		Conversation: conversation, ID: id, Counter: counter, Number: number, Attempt: 1,
		Arrived: at(s), Ended: at(s + 0.01), Answer: Confirmed,
	}
}

func (p Post) answered(a Answer) Post { p.Answer = a; return p }

func (p Post) after(s float64) Post {
	p.Ended = p.Arrived.Add(time.Duration(s * float64(time.Second)))
	return p
}

func (p Post) by(sender string) Post { p.Sender = sender; return p }

func kill(s float64) Event {
	return Event{At: at(s), Kind: Kill, Target: "delivery-worker-1", Severs: true}
}

// Every kind of bad history is found, and nothing is in a good one.
func TestCheck(t *testing.T) {
	one, two, three := sent("c", 1), sent("c", 2), sent("c", 3)
	failing := map[string]bool{"c": true}
	for _, test := range []struct {
		name    string
		history History
		found   map[Violation]int
		repeats map[Excuse]int
	}{
		{name: "nothing", history: History{}},
		{name: "all well", history: History{
			Sends: []Send{one, two, sent("d", 1)},
			Posts: []Post{post("c", "a", 1, 1, 1), post("d", "x", 1, 1, 1), post("c", "b", 2, 2, 2)},
		}},
		{name: "retried until confirmed", history: History{
			Sends: []Send{one, two},
			Posts: []Post{
				post("c", "a", 1, 1, 1).answered(Refused), post("c", "a", 1, 1, 2).answered(Broken),
				post("c", "a", 1, 1, 3), post("c", "b", 2, 2, 4),
			},
		}},
		{
			name: "never arrived", history: History{Sends: []Send{one, two}, Posts: []Post{post("c", "a", 1, 1, 1)}},
			found: map[Violation]int{Lost: 1},
		},
		{
			name: "nothing arrived", history: History{Sends: []Send{one, two}},
			found: map[Violation]int{Lost: 2},
		},
		{
			name: "never confirmed", history: History{Sends: []Send{one}, Posts: []Post{post("c", "a", 1, 1, 1).answered(Refused)}},
			found: map[Violation]int{Lost: 1},
		},
		{
			name: "repeated when its sender was killed", history: History{
				Sends: []Send{one}, Events: []Event{kill(1.3)},
				Posts: []Post{post("c", "a", 1, 1, 1).by("delivery-worker-1"), post("c", "a", 1, 1, 9).by("delivery-worker-2")},
			},
			repeats: map[Excuse]int{InFlight: 1},
		},
		{
			name: "repeated when another worker was killed", history: History{
				Sends: []Send{one}, Events: []Event{kill(1)},
				Posts: []Post{post("c", "a", 1, 1, 1).by("delivery-worker-3"), post("c", "a", 1, 1, 9).by("delivery-worker-2")},
			},
			found: map[Violation]int{Repeated: 1},
		},
		{
			name: "repeated by a worker that was not stopped", history: History{
				Sends: []Send{one}, Events: []Event{
					{At: at(0.1), Kind: Stop, Target: "delivery-worker-1", Severs: true},
					{At: at(9), Kind: Stop, Target: "delivery-worker-1", Severs: true, Undone: true},
				},
				Posts: []Post{post("c", "a", 1, 1, 2).by("delivery-worker-2"), post("c", "a", 1, 1, 9.1).by("delivery-worker-2")},
			},
			found: map[Violation]int{Repeated: 1},
		},
		{name: "not accepted and not arrived", history: History{
			Sends: []Send{one, {Conversation: "c", Number: 2, Lost: 3}},
			Posts: []Post{post("c", "a", 1, 1, 1)},
		}},
		{name: "not accepted and yet stored", history: History{
			Sends: []Send{{Conversation: "c", Number: 1, Lost: 1}},
			Posts: []Post{post("c", "a", 1, 1, 1)},
		}},
		{
			name: "refused for certain and yet stored", history: History{
				Sends: []Send{{Conversation: "c", Number: 1}},
				Posts: []Post{post("c", "a", 1, 1, 1)},
			},
			found: map[Violation]int{Doubled: 1},
		},
		{
			name: "never sent", history: History{Sends: []Send{one}, Posts: []Post{post("c", "a", 1, 1, 1), post("c", "b", 2, 9, 2)}},
			found: map[Violation]int{Unknown: 1},
		},
		{
			name: "counters swapped on the way", history: History{
				Sends: []Send{one, two}, Posts: []Post{post("c", "b", 2, 2, 1), post("c", "a", 1, 1, 2)},
			},
			found: map[Violation]int{OutOfOrder: 1},
		},
		{
			name: "overtaken while it waits for its retry", history: History{
				Sends: []Send{one, two},
				Posts: []Post{post("c", "a", 1, 1, 1).answered(Refused), post("c", "b", 2, 2, 2), post("c", "a", 1, 1, 3)},
			},
			found: map[Violation]int{OutOfOrder: 1},
		},
		{
			name: "overtaken while it is under way", history: History{
				Sends: []Send{one, two},
				Posts: []Post{post("c", "a", 1, 1, 1).after(1), post("c", "b", 2, 2, 1.5)},
			},
			found: map[Violation]int{OutOfOrder: 1},
		},
		{
			name: "answered in another order than said", history: History{
				Sends: []Send{one, two}, Posts: []Post{post("c", "a", 1, 2, 1), post("c", "b", 2, 1, 2)},
			},
			found: map[Violation]int{OutOfOrder: 1},
		},
		{
			name: "repeated", history: History{
				Sends: []Send{one}, Posts: []Post{post("c", "a", 1, 1, 1), post("c", "a", 1, 1, 5)},
			},
			found: map[Violation]int{Repeated: 1},
		},
		{
			name: "repeated, in flight at a kill", history: History{
				Sends: []Send{one}, Posts: []Post{post("c", "a", 1, 1, 1).after(0.5), post("c", "a", 1, 1, 5)},
				Events: []Event{kill(1.2)},
			},
			repeats: map[Excuse]int{InFlight: 1},
		},
		{
			name: "repeated by a worker that goes on", history: History{
				Sends: []Send{one, two},
				Posts: []Post{post("c", "a", 1, 1, 5), post("c", "b", 2, 2, 6), post("c", "a", 1, 1, 9.1), post("c", "b", 2, 2, 9.2)},
				Events: []Event{
					{At: at(1), Kind: Stop, Target: "delivery-worker-1", Severs: true},
					{At: at(9), Kind: Stop, Target: "delivery-worker-1", Severs: true, Undone: true},
				},
			},
			found: map[Violation]int{Repeated: 1}, repeats: map[Excuse]int{Resumed: 1}, // a lane sends one at a time
		},
		{
			name: "a repeat that is tried again until it is confirmed", history: History{
				Sends: []Send{one}, Posts: []Post{
					post("c", "a", 1, 1, 1),
					post("c", "a", 1, 1, 5).answered(Broken), post("c", "a", 1, 1, 6).answered(Refused), post("c", "a", 1, 1, 7),
				},
				Events: []Event{kill(1)},
			},
			repeats: map[Excuse]int{InFlight: 1},
		},
		{
			name: "repeated twice for one kill", history: History{
				Sends: []Send{one}, Posts: []Post{post("c", "a", 1, 1, 1), post("c", "a", 1, 1, 5), post("c", "a", 1, 1, 9)},
				Events: []Event{kill(1)},
			},
			found: map[Violation]int{Repeated: 1}, repeats: map[Excuse]int{InFlight: 1},
		},
		{
			name: "repeated twice for two kills", history: History{
				Sends: []Send{one}, Posts: []Post{post("c", "a", 1, 1, 1), post("c", "a", 1, 1, 5), post("c", "a", 1, 1, 9)},
				Events: []Event{kill(1), kill(5)},
			},
			repeats: map[Excuse]int{InFlight: 2},
		},
		{
			name: "repeated, long before a kill", history: History{
				Sends: []Send{one}, Posts: []Post{post("c", "a", 1, 1, 1), post("c", "a", 1, 1, 9)},
				Events: []Event{kill(8)},
			},
			found: map[Violation]int{Repeated: 1},
		},
		{
			name: "repeated, in flight when something else was killed", history: History{
				Sends: []Send{one}, Posts: []Post{post("c", "a", 1, 1, 1), post("c", "a", 1, 1, 9)},
				Events: []Event{{At: at(1), Kind: Kill, Target: "nats-1"}},
			},
			found: map[Violation]int{Repeated: 1},
		},
		{
			name: "repeated without Redis", history: History{
				RedisFails: true,
				Sends:      []Send{one, two},
				Posts:      []Post{post("c", "a", 1, 1, 1), post("c", "b", 2, 2, 2), post("c", "a", 1, 1, 3), post("c", "b", 2, 2, 4)},
			},
			repeats: map[Excuse]int{WithoutRedis: 2},
		},
		{
			name: "out of order without Redis", history: History{
				RedisFails: true,
				Sends:      []Send{one, two}, Posts: []Post{post("c", "b", 2, 2, 1), post("c", "a", 1, 1, 2)},
			},
			found: map[Violation]int{OutOfOrder: 1},
		},
		{
			name: "repeated, confirmed when the client had left", history: History{
				Late:  2 * time.Second,
				Sends: []Send{one}, Posts: []Post{post("c", "a", 1, 1, 1).after(3), post("c", "a", 1, 1, 5)},
			},
			repeats: map[Excuse]int{AnsweredLate: 1},
		},
		{
			name: "a counter is missing", history: History{
				Sends: []Send{one, two}, Posts: []Post{post("c", "a", 1, 1, 1), post("c", "b", 3, 2, 2)},
			},
			found: map[Violation]int{Gap: 1},
		},
		{
			name: "the first counter is missing", history: History{
				Sends: []Send{one}, Posts: []Post{post("c", "a", 2, 1, 1)},
			},
			found: map[Violation]int{Gap: 1},
		},
		{name: "a new epoch counts anew", history: History{
			Sends: []Send{one, two},
			Posts: []Post{epoch(post("c", "a", 1, 1, 1), 10), epoch(post("c", "b", 1, 2, 2), 20)},
		}},
		{
			name: "a new epoch with a gap", history: History{
				Sends: []Send{one, two},
				Posts: []Post{epoch(post("c", "a", 1, 1, 1), 10), epoch(post("c", "b", 2, 2, 2), 20)},
			},
			found: map[Violation]int{Gap: 1},
		},
		{
			name: "an old epoch comes late", history: History{
				Sends: []Send{one, two},
				Posts: []Post{epoch(post("c", "b", 1, 2, 1), 20), epoch(post("c", "a", 1, 1, 2), 10)},
			},
			found: map[Violation]int{OutOfOrder: 1},
		},
		{
			name: "one counter for two messages", history: History{
				Sends: []Send{one, two}, Posts: []Post{post("c", "a", 1, 1, 1), post("c", "b", 1, 2, 2)},
			},
			found: map[Violation]int{Renumbered: 1},
		},
		{
			name: "two counters for one message", history: History{
				Sends: []Send{one},
				Posts: []Post{post("c", "a", 1, 1, 1).answered(Refused), post("c", "a", 2, 1, 2)},
			},
			found: map[Violation]int{Renumbered: 1},
		},
		{
			name: "two answers to one send", history: History{
				Sends: []Send{one, two},
				Posts: []Post{post("c", "a", 1, 1, 1), post("c", "b", 2, 1, 2), post("c", "d", 3, 2, 3)},
			},
			found: map[Violation]int{Doubled: 1},
		},
		{name: "two answers to a send whose answer was lost", history: History{
			Sends: []Send{{Conversation: "c", Number: 1, Accepted: true, Lost: 1}, two},
			Posts: []Post{post("c", "a", 1, 1, 1), post("c", "b", 2, 2, 2), post("c", "d", 3, 1, 3)},
		}},
		{
			name: "a dead letter without need", history: History{
				Sends: []Send{one}, Posts: []Post{post("c", "a", 1, 1, 1).answered(Refused)},
				Letters: []Letter{{Conversation: "c", Counter: 1, ID: "a"}},
			},
			found: map[Violation]int{Buried: 1, Lost: 1},
		},
		{name: "all dead", history: History{
			Failing: failing, Sends: []Send{one, two},
			Posts:   []Post{post("c", "a", 1, 1, 1).answered(Refused), post("c", "a", 1, 1, 2).answered(Refused), post("c", "b", 2, 2, 3).answered(Refused)},
			Letters: []Letter{{Conversation: "c", Counter: 1, ID: "a"}, {Conversation: "c", Counter: 2, ID: "b"}},
		}},
		{name: "dead without an attempt", history: History{
			Failing: failing, Sends: []Send{one},
			Letters: []Letter{{Conversation: "c", Counter: 1, ID: "a"}},
		}},
		{
			name: "not all dead", history: History{
				Failing: failing, Sends: []Send{one, two},
				Posts:   []Post{post("c", "a", 1, 1, 1).answered(Refused), post("c", "b", 2, 2, 2).answered(Refused)},
				Letters: []Letter{{Conversation: "c", Counter: 1, ID: "a"}},
			},
			found: map[Violation]int{Lost: 2}, // its post, and the number
		},
		{
			name: "a dead letter is missing", history: History{
				Failing: failing, Sends: []Send{one, two, three},
				Letters: []Letter{{Conversation: "c", Counter: 1, ID: "a"}, {Conversation: "c", Counter: 3, ID: "d"}},
			},
			found: map[Violation]int{Lost: 1, Gap: 1},
		},
		{
			name: "more dead letters than messages", history: History{
				Failing: failing, Sends: []Send{one},
				Letters: []Letter{{Conversation: "c", Counter: 1, ID: "a"}, {Conversation: "c", Counter: 2, ID: "b"}},
			},
			found: map[Violation]int{Doubled: 1},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.history.Late == 0 {
				test.history.Late = time.Minute
			}
			r := Check(&test.history)
			found := map[Violation]int{}
			for v, findings := range r.Violations {
				found[v] = len(findings)
			}
			if test.found == nil {
				test.found = map[Violation]int{}
			}
			if test.repeats == nil {
				test.repeats = map[Excuse]int{}
			}
			require.Equal(t, test.found, found, r)
			require.Equal(t, test.repeats, r.Repeats, r)
			require.Equal(t, len(found) == 0, r.OK())
		})
	}
}

func epoch(p Post, e uint64) Post {
	p.Epoch = e
	return p
}

// A failed report tells the offending conversation's history, with the faults
// beside it, and no other's.
func TestReport(t *testing.T) {
	r := Check(&History{
		Seed: 42, Late: time.Minute,
		Sends:  []Send{sent("good", 1), sent("bad", 1), sent("bad", 2)},
		Posts:  []Post{post("good", "g", 1, 1, 1), post("bad", "idA", 1, 1, 1).answered(Broken), post("bad", "idB", 2, 2, 2)},
		Events: []Event{kill(1.5)},
	})
	require.False(t, r.OK())
	told := r.String()
	require.Contains(t, told, "seed 42")
	require.Contains(t, told, "out of order: 1")
	require.Contains(t, told, "the history of bad:")
	require.Contains(t, told, "03:04:06.000 counter 1 (epoch 0) answers 1, id …idA, attempt 1 of ?: broken")
	require.Contains(t, told, "03:04:06.500 kill delivery-worker-1")
	require.NotContains(t, told, "the history of good")
	require.Contains(t, TableHead+r.Row(), "| 42 | no | 1 | 3 | 3 | 2 | 0 | 1 | 1 | 0 |")
}
