package partition

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Member is a live worker of a stage.
type Member struct {
	Instance   string    `json:"instance"`
	Since      time.Time `json:"since"`
	RenewedAt  time.Time `json:"renewedAt"`
	Leaving    bool      `json:"leaving,omitempty"`
	Partitions []int     `json:"partitions"` // those that it holds
}

// Ownership is who holds a partition.
type Ownership struct {
	Partition int `json:"partition"`
	// Instance is the holder; empty when the partition is free.
	Instance string    `json:"instance,omitempty"`
	Sole     bool      `json:"sole,omitempty"` // it works the whole stage alone, without consumers
	Epoch    uint64    `json:"epoch,omitempty"`
	Since    time.Time `json:"since"` // when it was taken or released
	// Vanished is how many holders vanished in the last 10 minutes; Suspects how
	// many messages may have been the reason, as far as it was noted.
	Vanished int `json:"vanishedOwners,omitempty"`
	Suspects int `json:"suspects,omitempty"`
}

// Owners is who works on a stage, and on what.
type Owners struct {
	Stage      chat.Stage  `json:"stage"`
	Members    []Member    `json:"members"`    // oldest first
	Partitions []Ownership `json:"partitions"` // by number
}

// ReadOwners reads who works on a stage. It shows the moment: partitions on
// their way from one worker to another are free. A Sole is a holder that is no
// member.
func ReadOwners(ctx context.Context, js jetstream.JetStream, stage chat.Stage, partitions int) (*Owners, error) {
	now := time.Now()
	members, err := snapshot(ctx, js, topology.BucketMembers, stage)
	if err != nil {
		return nil, err
	}
	leases, err := snapshot(ctx, js, topology.BucketLeases, stage)
	if err != nil {
		return nil, err
	}
	o := &Owners{Stage: stage, Members: []Member{}, Partitions: make([]Ownership, partitions)}
	held := map[string][]int{}
	for p := range o.Partitions {
		o.Partitions[p].Partition = p
		e, ok := leases[topology.LeaseKey(stage, p)]
		if !ok {
			continue
		}
		r := decodeLease(e.Value())
		_, alive := members[r.Member]
		o.Partitions[p] = ownership(p, r, alive, e.Revision(), now)
		if alive {
			held[r.Member] = append(held[r.Member], p)
		}
	}
	for key, e := range members {
		var r memberRecord
		if err := json.Unmarshal(e.Value(), &r); err != nil {
			return nil, fmt.Errorf("reading worker %s: %w", key, err)
		}
		o.Members = append(o.Members, Member{
			Instance: r.Instance, Since: r.Since, RenewedAt: e.Created().UTC(), Leaving: r.Leaving,
			Partitions: append([]int{}, held[key]...),
		})
	}
	slices.SortFunc(o.Members, func(a, b Member) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Instance, b.Instance)
	})
	return o, nil
}

func ownership(p int, r leaseRecord, alive bool, revision uint64, now time.Time) Ownership {
	o := Ownership{Partition: p, Since: r.Since, Vanished: len(r.recent(now)), Suspects: len(r.Suspects)}
	if alive || r.Sole {
		o.Instance, o.Sole, o.Epoch = r.Instance, r.Sole, revision
		if r.Epoch != 0 {
			o.Epoch = r.Epoch
		}
	}
	return o
}

// FreeSolesBefore takes from the partitions what a Sole had taken before a time
// and never released: for whoever knows that it is gone.
func (o *Owners) FreeSolesBefore(t time.Time) {
	for i := range o.Partitions {
		if p := &o.Partitions[i]; p.Sole && p.Since.Before(t) {
			p.Instance, p.Sole, p.Epoch = "", false, 0
		}
	}
}

// snapshot reads a stage's keys of a bucket.
func snapshot(ctx context.Context, js jetstream.JetStream, name string, stage chat.Stage) (map[string]jetstream.KeyValueEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*opTimeout)
	defer cancel()
	b, err := openBucket(ctx, js, name)
	if err != nil {
		return nil, err
	}
	w, err := b.kv.Watch(ctx, topology.KeyFilter(stage), jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("reading bucket %s: %w", name, err)
	}
	defer w.Stop() //nolint:errcheck // it only fails where there is nothing to stop
	all := map[string]jetstream.KeyValueEntry{}
	return all, untilComplete(ctx, w, func(e jetstream.KeyValueEntry) { all[e.Key()] = e })
}
