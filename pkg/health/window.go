package health

import "time"

// A window is 30 s long and slides in steps of 3 s, so that it covers the last
// 27 s to 30 s.
const (
	windowStep  = 3 * time.Second
	windowSlots = 10
)

// window counts attempts and failures of the last 30 s, in constant memory.
type window struct {
	slot          int64 // the newest step, counted from 1970
	all, failures [windowSlots]uint32
	sum, failed   uint32 // over all slots
}

// add counts an attempt. What comes with an older time counts as of now.
func (w *window) add(now time.Time, failed bool) {
	w.slide(now.UnixNano() / int64(windowStep))
	i := w.slot % windowSlots
	w.all[i]++
	w.sum++
	if failed {
		w.failures[i]++
		w.failed++
	}
}

// slide forgets what is older than the window that ends with slot.
func (w *window) slide(slot int64) {
	if slot-w.slot >= windowSlots {
		*w = window{slot: slot}
		return
	}
	for w.slot < slot {
		w.slot++
		i := w.slot % windowSlots
		w.sum -= w.all[i]
		w.failed -= w.failures[i]
		w.all[i], w.failures[i] = 0, 0
	}
}
