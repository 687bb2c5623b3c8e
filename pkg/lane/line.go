package lane

// line is the lanes that wait at a gate. Their groups take turns, so that one
// with many lanes keeps no other waiting; within a group it is in order of
// arrival. A step costs the same however many wait.
type line struct {
	n    int
	last *queue            // of the ring of groups; whose turn it is comes after it
	of   map[string]*queue // by group
	idle *queue            // one to be used again
}

// queue is a group's lanes, from the first that still waits on.
type queue struct {
	group string
	lanes []*lane
	first int
	next  *queue
}

// maxIdleQueue is for how many lanes there is room in a queue that is kept.
const maxIdleQueue = 1024

func (w *line) push(l *lane) {
	w.n++
	q := w.last
	if q == nil || q.group != l.id.Group {
		q = w.of[l.id.Group]
	}
	if q == nil {
		q = w.join(l.id.Group)
	}
	if n := len(q.lanes); n == cap(q.lanes) && q.first > n/2 { // rather than grow
		q.lanes = q.lanes[:copy(q.lanes, q.lanes[q.first:])]
		clear(q.lanes[len(q.lanes):n])
		q.first = 0
	}
	q.lanes = append(q.lanes, l)
}

// join lets a group in, behind all others.
func (w *line) join(group string) *queue {
	q := w.idle
	if q == nil {
		q = &queue{}
	}
	q.group, w.idle = group, nil
	if w.of == nil {
		w.of = map[string]*queue{}
	}
	if w.last == nil {
		q.next = q
	} else {
		q.next, w.last.next = w.last.next, q
	}
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
	w.last.next = q.next
	if q.next == q {
		w.last = nil
	}
	delete(w.of, q.group)
	if cap(q.lanes) <= maxIdleQueue {
		q.lanes, q.first, q.next = q.lanes[:0], 0, nil
		w.idle = q
	}
	return l
}

// has reports whether a lane of the group waits.
func (w *line) has(group string) bool { return w.of[group] != nil }
