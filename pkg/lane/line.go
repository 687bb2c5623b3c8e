package lane

// line is the lanes that wait at a gate. Their groups take turns, so that one
// with many lanes keeps no other waiting; within a group it is in order of
// arrival. A step costs the same however many wait, and no map while there is
// one group.
type line struct {
	n    int
	last *queue            // of the ring of groups; whose turn it is comes after it
	of   map[string]*queue // by group, where the ring has several
	idle *queue            // one to be used again
}

// queue is a group's lanes, from the first that still waits on. One that stands
// alone in the ring may be empty.
type queue struct {
	group string
	lanes []*lane
	first int
	next  *queue
}

// maxIdleQueue is for how many lanes there is room in a queue that is kept.
const maxIdleQueue = 1024

func (w *line) push(l *lane) {
	q := w.find(l.id.Group)
	if q == nil {
		q = w.join(l.id.Group)
	}
	w.n++
	if n := len(q.lanes); n == cap(q.lanes) && q.first > n/2 { // rather than grow
		q.lanes = q.lanes[:copy(q.lanes, q.lanes[q.first:])]
		clear(q.lanes[len(q.lanes):n])
		q.first = 0
	}
	q.lanes = append(q.lanes, l)
}

func (w *line) find(group string) *queue {
	if w.last == nil || w.last.group == group {
		return w.last
	}
	return w.of[group]
}

// join lets a group in, behind all others.
func (w *line) join(group string) *queue {
	if w.n == 0 && w.last != nil { // the one in the ring has left
		w.last.group = group
		return w.last
	}
	q := w.idle
	if q == nil {
		q = &queue{}
	}
	q.group, w.idle = group, nil
	if w.last == nil {
		q.next, w.last = q, q
		return q
	}
	if w.of == nil {
		w.of = map[string]*queue{}
	}
	if w.last.next == w.last {
		w.of[w.last.group] = w.last
	}
	q.next, w.last.next = w.last.next, q
	w.of[group], w.last = q, q
	return q
}

// pop takes the lane whose turn it is; there must be one.
func (w *line) pop() *lane {
	w.n--
	q := w.last.next
	l := q.lanes[q.first]
	q.lanes[q.first] = nil
	if q.first++; q.first < len(q.lanes) {
		w.last = q
		return l
	}
	q.lanes, q.first = q.lanes[:0], 0
	if cap(q.lanes) > maxIdleQueue {
		q.lanes = nil
	}
	if q.next != q {
		w.part(q)
	}
	return l
}

// part takes an empty queue out of the ring; it comes behind the last, and is
// not alone.
func (w *line) part(q *queue) {
	w.last.next = q.next
	delete(w.of, q.group)
	if w.last.next == w.last {
		delete(w.of, w.last.group)
	}
	q.next, w.idle = nil, q
}

// has reports whether a lane of the group waits.
func (w *line) has(group string) bool {
	q := w.find(group)
	return q != nil && len(q.lanes) > 0
}
