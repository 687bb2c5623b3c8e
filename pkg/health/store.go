package health

import "context"

// Store is where a [Board] keeps records, for all processes.
type Store interface {
	// Put stores a record over the expected revision (0: there is none) and
	// returns the new one. The error wraps broker.ErrConflict where another
	// revision is there; after any other one it may be stored nevertheless.
	Put(ctx context.Context, key string, r Record, expected uint64) (revision uint64, err error)
	// Get returns what is stored. Where nothing ever was, or isn't any more, the
	// record is empty, and the revision is what Put expects.
	Get(ctx context.Context, key string) (Entry, error)
	// Watch calls apply for every record that is stored, then alive, and then
	// apply for every change; and alive once in a while, as long as the store
	// answers and nothing was missed. It returns when that ends, or ctx.
	Watch(ctx context.Context, apply func(Entry), alive func()) error
}

// Entry is a record as it is stored.
type Entry struct {
	Key      string
	Record   Record // empty if it has gone
	Revision uint64
}
