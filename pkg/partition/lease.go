package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/topology"
)

// acquire takes the partition's lease if it is free; nil if it isn't.
func (r *run) acquire(ctx context.Context, t *term, p int) (*sharedLease, error) {
	key := topology.LeaseKey(r.stage, p)
	before, err := r.leases.read(ctx, key)
	if err != nil {
		return nil, err
	}
	was := decodeLease(before.value)
	free, vanished, err := r.isFree(ctx, was.Member, t)
	if err != nil || !free {
		return nil, err
	}
	now := time.Now()
	vanished = vanished || was.Sole
	record := was.taken(t.key, r.instance, now, vanished)
	epoch, err := r.leases.write(ctx, key, record, before.revision, 0)
	switch {
	case errors.Is(err, errConflict):
		return nil, nil //nolint:nilnil // documented: another was quicker
	case err != nil:
		// It may have gone through: the next try finds its own name there.
		return nil, err
	}
	if vanished {
		r.Log.Warn("taking over from an owner that has vanished", zap.Int("partition", p),
			zap.String("owner", was.Instance), zap.Any("inFlight", was.InFlight), zap.Int("times", len(record.Vanished)))
	}
	l := &sharedLease{run: r, term: t}
	l.held = held{leases: r.leases, stage: r.stage, partition: p, key: key, own: func(r leaseRecord) bool { return r.Member == t.key }}
	l.taken(epoch, record)
	return l, nil
}

// isFree reports whether a lease that names this member may be taken, and
// whether its holder has vanished.
func (r *run) isFree(ctx context.Context, member string, t *term) (free, vanished bool, err error) {
	r.mu.Lock()
	own := member == t.key || r.former[member]
	r.mu.Unlock()
	if member == "" || own {
		return true, false, nil
	}
	s, err := r.members.read(ctx, member)
	switch {
	case err != nil:
		return false, false, err
	case s.gone:
		return true, true, nil
	case s.revision != 0:
		return false, false, nil
	}
	switch err := r.members.seal(ctx, member); {
	case errors.Is(err, errConflict):
		return false, false, nil
	case err != nil:
		return false, false, err
	}
	return true, true, nil
}

// sharedLease is a partition that this worker owns.
type sharedLease struct {
	held

	run  *run
	term *term
}

func (l *sharedLease) Deadline() time.Time { return l.term.deadline() }

func (l *sharedLease) lapsed() error {
	if time.Now().Before(l.Deadline()) {
		return nil
	}
	return fmt.Errorf("partition %d: %w", l.partition, ErrLapsed)
}

func (l *sharedLease) Verify(ctx context.Context) error {
	if err := l.lapsed(); err != nil {
		return err
	}
	return l.check(ctx)
}

func (l *sharedLease) NoteInFlight(ctx context.Context, works []Work) error {
	if err := l.lapsed(); err != nil {
		return err
	}
	return l.note(ctx, works)
}
