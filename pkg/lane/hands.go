package lane

import "sync/atomic"

// hands are the goroutines at the lanes' heads. One that is done waits for
// another lane: its stack has grown by then, which is a good part of what a
// short step costs.
type hands struct {
	lanes   chan *lane
	stop    chan struct{}
	waiting *atomic.Int32
}

// maxWaiting is how many wait at most.
const maxWaiting = 128

func newHands() hands {
	return hands{lanes: make(chan *lane), stop: make(chan struct{}), waiting: new(atomic.Int32)}
}

// take gives a lane to a goroutine, and doesn't wait.
func (h *hands) take(l *lane) {
	select {
	case h.lanes <- l:
	default:
		go h.work(l)
	}
}

func (h *hands) work(l *lane) {
	for {
		l.shard.work(l)
		if h.waiting.Add(1) > maxWaiting {
			h.waiting.Add(-1)
			return
		}
		select {
		case l = <-h.lanes:
			h.waiting.Add(-1)
		case <-h.stop:
			return
		}
	}
}

// close lets those go that wait. The engine ends with it.
func (h *hands) close() { close(h.stop) }
