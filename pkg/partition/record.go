package partition

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// memberRecord is what a worker says of itself, under its member key.
type memberRecord struct {
	Instance string    `json:"instance"`
	Since    time.Time `json:"since"`
	// Leaving: it keeps its leases until it has released them, and takes none.
	Leaving bool `json:"leaving,omitempty"`
	// Refuses are partitions that it can't work on.
	Refuses []int `json:"refuses,omitempty"`
}

// leaseRecord is a partition's lease.
type leaseRecord struct {
	// Member is the key that keeps the holder alive; empty when the lease is
	// released.
	Member   string    `json:"member,omitempty"`
	Instance string    `json:"instance,omitempty"` // the holder's name, or the last one's
	Since    time.Time `json:"since"`              // when it was taken, or released
	// Epoch is the revision at acquisition; 0: this record's own revision.
	Epoch uint64 `json:"epoch,omitempty"`

	// Vanished are the times of the take-overs from holders that had not
	// released, oldest first.
	Vanished []time.Time `json:"vanished,omitempty"`
	// InFlight is what the holder has noted.
	InFlight []Work `json:"inFlight,omitempty"`
	// Suspects are what was in flight when a holder vanished; with several in a
	// row, as Suspected counts, what was in flight with each of them.
	Suspects  []Work `json:"suspects,omitempty"`
	Suspected int    `json:"suspected,omitempty"`

	// Sole says that a [Sole] holds it, which no member key keeps alive.
	Sole bool `json:"sole,omitempty"`
}

const (
	// vanishedWithin is how long a take-over from a vanished owner counts.
	vanishedWithin = 10 * time.Minute
	// carefulFrom is how many of them make the next owner careful.
	carefulFrom = 2
	// keptVanished bounds the record.
	keptVanished = 16
)

// decodeLease reads a lease. One that can't be read is a name alone, which is
// what a Sole wrote once.
func decodeLease(value []byte) leaseRecord {
	var r leaseRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return leaseRecord{Instance: string(value)}
	}
	return r
}

// taken is the record after a take-over; vanished says that the former holder
// had not released it.
func (r leaseRecord) taken(member, instance string, now time.Time, vanished bool) leaseRecord {
	next := leaseRecord{
		Member: member, Instance: instance, Since: now.UTC(),
		Vanished: r.recent(now), Suspects: r.Suspects, Suspected: r.Suspected,
	}
	if !vanished {
		return next
	}
	next.Vanished = append(next.Vanished, now.UTC())
	if n := len(next.Vanished); n > keptVanished {
		next.Vanished = next.Vanished[n-keptVanished:]
	}
	if len(r.InFlight) == 0 {
		return next
	}
	next.Suspects, next.Suspected = keep(r.Suspects, r.InFlight, true), r.Suspected+1
	if len(next.Suspects) == 0 {
		next.Suspects, next.Suspected = r.InFlight, 1
	}
	return next
}

// released is the record after its holder has let go of it.
func (r leaseRecord) released(now time.Time) leaseRecord {
	return leaseRecord{
		Instance: r.Instance, Since: now.UTC(),
		Vanished: r.recent(now), Suspects: r.Suspects, Suspected: r.Suspected,
	}
}

// noted is the record with other work in flight. A suspect that was in flight
// before and is not any more has been survived: it is none any more. One whose
// turn has not come stays one, whatever is handled before it.
func (r leaseRecord) noted(epoch uint64, works []Work) leaseRecord {
	r.Suspects = keep(r.Suspects, keep(r.InFlight, works, false), false)
	if len(r.Suspects) == 0 {
		r.Suspected = 0
	}
	r.Epoch, r.InFlight = epoch, slices.Clone(works)
	return r
}

// keep returns what of works is among the others, or what is not.
func keep(works, others []Work, among bool) []Work {
	is := make(map[Work]bool, len(others))
	for _, w := range others {
		is[w] = true
	}
	var out []Work
	for _, w := range works {
		if is[w] == among {
			out = append(out, w)
		}
	}
	return out
}

// recent are the take-overs from vanished holders that still count.
func (r leaseRecord) recent(now time.Time) []time.Time {
	var out []time.Time
	for _, at := range r.Vanished {
		if now.Sub(at) < vanishedWithin {
			out = append(out, at)
		}
	}
	return out
}

// carefulUntil is until when a partition is to be handled with care: as long as
// enough of its owners vanished within the last 10 minutes.
func (r leaseRecord) carefulUntil() time.Time {
	n := len(r.Vanished)
	if n < carefulFrom {
		return time.Time{}
	}
	return r.Vanished[n-carefulFrom].Add(vanishedWithin)
}

func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a lease's record: %w", err)
	}
	return data, nil
}
