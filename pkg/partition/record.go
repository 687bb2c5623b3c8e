package partition

import (
	"encoding/json"
	"fmt"
	"time"
)

// memberRecord is what a worker says of itself, under its member key.
type memberRecord struct {
	Instance string    `json:"instance"`
	Since    time.Time `json:"since"`
	// Leaving: it keeps its leases until it has released them, and takes none.
	Leaving bool `json:"leaving,omitempty"`
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
	// InFlight is the sequence that the holder has noted.
	InFlight uint64 `json:"inFlight,omitempty"`
	// Suspect is what was in flight when a holder vanished, Suspected with how
	// many in a row.
	Suspect   uint64 `json:"suspect,omitempty"`
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
		Vanished: r.recent(now), Suspect: r.Suspect, Suspected: r.Suspected,
	}
	if !vanished {
		return next
	}
	next.Vanished = append(next.Vanished, now.UTC())
	if n := len(next.Vanished); n > keptVanished {
		next.Vanished = next.Vanished[n-keptVanished:]
	}
	switch r.InFlight {
	case 0:
	case r.Suspect:
		next.Suspected++
	default:
		next.Suspect, next.Suspected = r.InFlight, 1
	}
	return next
}

// released is the record after its holder has let go of it.
func (r leaseRecord) released(now time.Time) leaseRecord {
	return leaseRecord{
		Instance: r.Instance, Since: now.UTC(),
		Vanished: r.recent(now), Suspect: r.Suspect, Suspected: r.Suspected,
	}
}

// noted is the record with a sequence in flight. A suspect that was in flight
// before has been survived, and is none any more; one whose turn has not come
// stays one, whatever is handled before it.
func (r leaseRecord) noted(epoch, seq uint64) leaseRecord {
	if r.InFlight == r.Suspect && seq != r.Suspect {
		r.Suspect, r.Suspected = 0, 0
	}
	r.Epoch, r.InFlight = epoch, seq
	return r
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

func (r leaseRecord) careful(now time.Time) bool { return len(r.recent(now)) >= carefulFrom }

func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a lease's record: %w", err)
	}
	return data, nil
}
