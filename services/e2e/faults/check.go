package faults

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// settles is how long after its answer a POST may still be on its way into
	// the worker's records, on a busy machine; and how late it may have arrived
	// here.
	settles = 500 * time.Millisecond
	// resumes is how long a worker that goes on may take to write what it had
	// begun to send.
	resumes = time.Second
)

// Check judges a history.
func Check(h *History) *Report {
	r := &Report{history: h, Repeats: map[Excuse]int{}, Violations: map[Violation][]Finding{}}
	conversations := map[string]*conversation{}
	of := func(name string) *conversation {
		c := conversations[name]
		if c == nil {
			c = &conversation{name: name, history: h, report: r, messages: map[string]*message{}, resumed: map[*Event]bool{}, place: map[place]string{}}
			conversations[name] = c
		}
		return c
	}
	for _, s := range h.Sends {
		of(s.Conversation).sends = append(of(s.Conversation).sends, s)
		r.countSend(s)
	}
	for i := range h.Posts {
		of(h.Posts[i].Conversation).posts = append(of(h.Posts[i].Conversation).posts, &h.Posts[i])
	}
	for _, p := range h.Posts {
		if p.Sender == "" {
			r.Unknown++
		}
	}
	for _, l := range h.Letters {
		of(l.Conversation).letters = append(of(l.Conversation).letters, l)
	}
	r.Conversations, r.Posts, r.Letters = len(conversations), len(h.Posts), len(h.Letters)
	for _, e := range h.Events {
		if !e.Undone {
			r.Faults++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(conversations)) {
		conversations[name].check()
	}
	return r
}

func (r *Report) countSend(s Send) {
	if s.Accepted {
		r.Accepted++
	}
	if s.Lost > 0 {
		r.Uncertain++
	}
}

// conversation is a conversation's part of the history.
type conversation struct {
	name    string
	history *History
	report  *Report
	sends   []Send
	posts   []*Post
	letters []Letter

	messages map[string]*message // by id
	resumed  map[*Event]bool     // workers that went on, and a repeat that this excused
	order    []*message          // by first POST
	place    map[place]string    // the id that has a counter
}

// place is a counter in its epoch.
type place struct{ epoch, counter uint64 }

func (p place) before(q place) bool {
	return p.epoch < q.epoch || p.epoch == q.epoch && p.counter < q.counter
}

// message is a bot message as its endpoint saw it.
type message struct {
	place
	id        string
	number    int
	first     *Post
	last      *Post
	confirmed []*Post
	severed   map[*Post]int // interruptions that excused a repeat
	dead      bool
}

func (c *conversation) check() {
	for _, p := range c.posts {
		c.see(p)
	}
	for _, l := range c.letters {
		c.bury(l)
	}
	c.checkCounters()
	if c.history.Failing[c.name] {
		c.checkDead()
		return
	}
	for _, l := range c.letters {
		c.find(Buried, "counter %d is a dead letter (%s), and the endpoint doesn't always fail", l.Counter, l.Reason)
	}
	c.checkArrived()
}

// see takes up a POST, in the order of arrival.
func (c *conversation) see(p *Post) {
	at := place{p.Epoch, p.Counter}
	m := c.messages[p.ID]
	if m == nil {
		if other, ok := c.place[at]; ok {
			c.find(Renumbered, "counter %d belongs to …%s and to …%s", p.Counter, tail(other), tail(p.ID))
		}
		m = &message{place: at, id: p.ID, number: p.Number, first: p, severed: map[*Post]int{}}
		c.checkOrder(m)
		c.messages[p.ID], c.place[at] = m, p.ID
		c.order = append(c.order, m)
	} else if m.place != at || m.number != p.Number {
		c.find(Renumbered, "…%s is counter %d and answers %d, and then counter %d and answers %d", tail(p.ID), m.counter, m.number, p.Counter, p.Number)
	}
	// A repeat that fails is tried again until it is confirmed: that is one.
	if len(m.confirmed) > 0 && m.last.Answer == Confirmed {
		c.repeat(m, p)
	}
	m.last = p
	if p.Answer == Confirmed {
		m.confirmed = append(m.confirmed, p)
	}
}

// checkOrder judges a message's first POST: all before it are confirmed, and
// none behind it was seen.
func (c *conversation) checkOrder(m *message) {
	for _, other := range c.order {
		switch {
		case m.before(other.place):
			c.find(OutOfOrder, "counter %d first arrived at %s, after counter %d", m.counter, clock(m.first.Arrived), other.counter)
			return
		case !c.history.Failing[c.name] && !other.confirmedBy(m.first.Arrived):
			c.find(OutOfOrder, "counter %d first arrived at %s, before counter %d was confirmed", m.counter, clock(m.first.Arrived), other.counter)
			return
		}
	}
}

func (m *message) confirmedBy(t time.Time) bool {
	return slices.ContainsFunc(m.confirmed, func(p *Post) bool { return !p.Ended.After(t) })
}

// repeat finds the excuse of a POST of a confirmed message: one for each
// interruption that caught a POST of it in flight.
func (c *conversation) repeat(m *message, p *Post) {
	if !slices.ContainsFunc(m.confirmed, func(p *Post) bool { return p.Ended.Sub(p.Arrived) <= c.history.Late }) {
		c.report.Repeats[AnsweredLate]++
		return
	}
	for _, earlier := range m.confirmed {
		if gaps := c.interruptions(earlier); m.severed[earlier] < len(gaps) {
			c.report.Stretch = max(c.report.Stretch, gaps[m.severed[earlier]])
			m.severed[earlier]++
			c.report.Repeats[InFlight]++
			return
		}
	}
	if e := c.resumption(p); e != nil {
		c.resumed[e] = true
		c.report.Repeats[Resumed]++
		return
	}
	if c.history.RedisFails {
		c.report.Repeats[WithoutRedis]++
		return
	}
	c.find(Repeated, "counter %d was posted again at %s, after it was confirmed at %s", m.counter, clock(p.Arrived), clock(m.confirmed[0].Ended))
}

// harms reports whether an event was its sender's, as far as that is known.
func (e *Event) harms(p *Post) bool { return p.Sender == "" || p.Sender == e.Target }

// resumption finds a stopped delivery worker that has just gone on: it may have
// been about to write the request. One such request a conversation, since its
// lane does one thing at a time.
func (c *conversation) resumption(p *Post) *Event {
	for i := range c.history.Events {
		e := &c.history.Events[i]
		if e.Severs && e.Undone && !c.resumed[e] && !p.Arrived.Before(e.At) && !p.Arrived.After(e.At.Add(resumes)) && e.harms(p) {
			return e
		}
	}
	return nil
}

// interruptions finds what killed or stopped a delivery worker while a POST was
// in flight: how long after its answer, or before its arrival, the least first.
func (c *conversation) interruptions(p *Post) []time.Duration {
	var gaps []time.Duration
	for i := range c.history.Events {
		e := &c.history.Events[i]
		if e.Severs && !e.Undone && e.harms(p) && !e.At.Before(p.Arrived.Add(-settles)) && !e.At.After(p.Ended.Add(settles)) {
			gaps = append(gaps, max(0, e.At.Sub(p.Ended), p.Arrived.Sub(e.At)))
		}
	}
	slices.Sort(gaps)
	return gaps
}

func (c *conversation) bury(l Letter) {
	m := c.messages[l.ID]
	if m == nil { // given up without an attempt of its own
		m = &message{id: l.ID, place: place{counter: l.Counter}}
		c.messages[l.ID] = m
		c.place[m.place] = l.ID
	}
	m.dead = true
}

// checkCounters requires that the counters of an epoch are 1, 2, 3, …
func (c *conversation) checkCounters() {
	epochs := map[uint64][]uint64{}
	for at := range c.place {
		epochs[at.epoch] = append(epochs[at.epoch], at.counter)
	}
	for _, epoch := range slices.Sorted(maps.Keys(epochs)) {
		want := uint64(1)
		for _, counter := range slices.Sorted(slices.Values(epochs[epoch])) {
			if counter != want {
				c.find(Gap, "counter %d of epoch %d is missing before %d", want, epoch, counter)
				break
			}
			want++
		}
	}
}

// checkArrived requires of what was sent that it arrived, in the order in which
// it was sent, and as often as it may have been stored.
func (c *conversation) checkArrived() {
	answers := map[int]int{} // by number
	last := 0
	for _, m := range c.byPlace() {
		if len(m.confirmed) == 0 {
			c.find(Lost, "counter %d was posted and never confirmed", m.counter)
		} else {
			c.report.Delivered++
		}
		if answers[m.number]++; answers[m.number] > 1 {
			continue
		}
		if m.number < last {
			c.find(OutOfOrder, "counter %d answers %d for the first time, after %d was answered", m.counter, m.number, last)
		}
		last = m.number
	}
	for _, s := range c.sends {
		n := answers[s.Number]
		delete(answers, s.Number)
		may := s.Lost
		if s.Accepted {
			may++
		}
		switch {
		case n == 0 && s.Accepted:
			c.find(Lost, "%d was accepted at %s and never answered", s.Number, clock(s.At))
		case n > may:
			c.find(Doubled, "%d may have been stored %d times and was answered %d times", s.Number, may, n)
		case n > 1:
			c.report.StoredTwice += n - 1
		}
	}
	for _, number := range slices.Sorted(maps.Keys(answers)) {
		c.find(Unknown, "%d was answered and never sent", number)
	}
}

// checkDead requires of a conversation whose endpoint always fails that all of
// it are dead letters.
func (c *conversation) checkDead() {
	accepted, may, letters := 0, 0, 0
	for _, s := range c.sends {
		may += s.Lost
		if s.Accepted {
			accepted, may = accepted+1, may+1
		}
	}
	for _, m := range c.messages {
		switch {
		case len(m.confirmed) > 0:
			c.find(Unknown, "counter %d was confirmed by an endpoint that always fails", m.counter)
		case !m.dead:
			c.find(Lost, "counter %d was posted and is no dead letter", m.counter)
		default:
			letters++
		}
	}
	if letters < accepted {
		c.find(Lost, "%d were accepted, and %d are dead letters", accepted, letters)
	}
	if letters > may {
		c.find(Doubled, "at most %d were stored, and %d are dead letters", may, letters)
	}
}

// byPlace returns the messages in order of their places, those that have one
// together in order of arrival.
func (c *conversation) byPlace() []*message {
	return slices.SortedFunc(maps.Values(c.messages), func(a, b *message) int {
		switch {
		case a.before(b.place):
			return -1
		case b.before(a.place):
			return 1
		}
		return a.first.Arrived.Compare(b.first.Arrived)
	})
}

func (c *conversation) find(v Violation, format string, args ...any) {
	c.report.Violations[v] = append(c.report.Violations[v], Finding{c.name, fmt.Sprintf(format, args...)})
}
