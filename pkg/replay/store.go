package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/topology"
)

// Errors of a Store, beside broker.ErrUnavailable.
var (
	ErrNotFound = errors.New("there is no such job")
	ErrEnded    = errors.New("the job has ended")
	ErrTooMany  = fmt.Errorf("%d jobs have not ended: wait for some, or cancel them", maxOpen)
)

const (
	// maxOpen is how many jobs may be open at once: they are read together.
	maxOpen = 100
	// kept is how long an ended job is remembered.
	kept = 90 * 24 * time.Hour
)

// Store keeps the jobs. It reads at the leader, and writes on condition that
// nobody has written since.
type Store struct {
	conn   *broker.Conn
	stream jetstream.Stream
}

// NewStore opens the store; its bucket must exist.
func NewStore(ctx context.Context, conn *broker.Conn) (*Store, error) {
	stream, err := conn.JS.Stream(ctx, topology.BucketStream(topology.BucketReplays))
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", topology.BucketReplays, err)
	}
	return &Store{conn: conn, stream: stream}, nil
}

// record is a job as it is stored.
type record struct {
	Job
	revision uint64
}

func (s *Store) put(ctx context.Context, r *record) error {
	data, err := json.Marshal(&r.Job)
	if err != nil {
		return fmt.Errorf("encoding job %s: %w", r.ID, err)
	}
	m := broker.Message{Subject: topology.KeySubject(topology.BucketReplays, r.ID), Data: data, ExpectLast: &r.revision}
	if r.State.Ended() {
		m.Headers = map[string]string{jetstream.MsgTTLHeader: kept.String()}
	}
	revision, err := s.conn.Publish(ctx, m)
	if err != nil {
		return fmt.Errorf("writing job %s: %w", r.ID, err)
	}
	r.revision = revision
	return nil
}

func (s *Store) get(ctx context.Context, id string) (*record, error) {
	if !validID(id) {
		return nil, ErrNotFound
	}
	msg, err := s.stream.GetLastMsgForSubject(ctx, topology.KeySubject(topology.BucketReplays, id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading job %s: %w: %w", id, broker.ErrUnavailable, err)
	}
	if len(msg.Data) == 0 { // that it has been forgotten
		return nil, ErrNotFound
	}
	r := &record{revision: msg.Sequence}
	if err := json.Unmarshal(msg.Data, &r.Job); err != nil {
		return nil, fmt.Errorf("reading job %s: %w", id, err)
	}
	return r, nil
}

// Get returns a job. The error is ErrNotFound, or wraps broker.ErrUnavailable.
func (s *Store) Get(ctx context.Context, id string) (*Job, error) {
	r, err := s.get(ctx, id)
	if err != nil {
		return nil, err
	}
	return &r.Job, nil
}

// List returns all jobs, the newest first.
func (s *Store) List(ctx context.Context) ([]Job, error) {
	records, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	jobs := make([]Job, 0, len(records))
	for _, r := range records {
		jobs = append(jobs, r.Job)
	}
	slices.SortFunc(jobs, func(a, b Job) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return jobs, nil
}

func (s *Store) all(ctx context.Context) ([]record, error) {
	var records []record
	err := s.conn.Scan(ctx, topology.BucketStream(topology.BucketReplays), topology.KeySubject(topology.BucketReplays, ">"), 0,
		func(m broker.Stored) bool {
			r := record{revision: m.Seq}
			if json.Unmarshal(m.Data, &r.Job) == nil && r.ID != "" { // else none that this version knows
				records = append(records, r)
			}
			return true
		})
	return records, err
}

// last returns the sequence of what was written last: as long as it stays, so do
// all jobs.
func (s *Store) last(ctx context.Context) (uint64, error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading bucket %s: %w: %w", topology.BucketReplays, broker.ErrUnavailable, err)
	}
	return info.State.LastSeq, nil
}

// create stores a new job.
func (s *Store) create(ctx context.Context, j *Job) error {
	records, err := s.all(ctx)
	if err != nil {
		return err
	}
	open := 0
	for i := range records {
		if !records[i].State.Ended() {
			open++
		}
	}
	if open >= maxOpen {
		return ErrTooMany
	}
	return s.put(ctx, &record{Job: *j})
}

// change changes a job by what change makes of it, again where somebody else was
// quicker. An error of change is returned, and nothing changed.
func (s *Store) change(ctx context.Context, id string, change func(*record) error) (*record, error) {
	for {
		r, err := s.get(ctx, id)
		if err != nil {
			return nil, err
		}
		if err := change(r); err != nil {
			return r, err
		}
		err = s.put(ctx, r)
		if !errors.Is(err, broker.ErrConflict) {
			return r, err
		}
	}
}

// Pause stops a job for now, Resume lets it go on, Cancel ends it: what it has done
// stays done, and the rest where it is. They return the job as it is then. The error
// is ErrNotFound or ErrEnded, or wraps broker.ErrUnavailable.
func (s *Store) Pause(ctx context.Context, id string) (*Job, error) { return s.steer(ctx, id, Paused) }

// Resume is described at Pause.
func (s *Store) Resume(ctx context.Context, id string) (*Job, error) {
	return s.steer(ctx, id, Running)
}

// Cancel is described at Pause.
func (s *Store) Cancel(ctx context.Context, id string) (*Job, error) {
	return s.steer(ctx, id, Cancelled)
}

func (s *Store) steer(ctx context.Context, id string, to State) (*Job, error) {
	r, err := s.change(ctx, id, func(r *record) error {
		switch {
		case r.State == to:
			return errNoChange
		case r.State.Ended():
			return fmt.Errorf("%w: it is %s", ErrEnded, r.State)
		}
		r.State, r.Error = to, ""
		if to.Ended() {
			r.EndedAt = time.Now().UTC()
		}
		return nil
	})
	if err != nil && !errors.Is(err, errNoChange) {
		return nil, err
	}
	return &r.Job, nil
}

// errNoChange says that nothing is to be changed.
var errNoChange = errors.New("nothing to change")

// validID says whether an id may be a key.
func validID(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return id != ""
}
