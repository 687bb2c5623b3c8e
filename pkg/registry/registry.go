package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Options configure a Registry.
type Options struct {
	// Sealer seals secrets; required.
	Sealer *Sealer
	// Log takes what goes wrong with the watch; nil means nothing.
	Log *zap.Logger
	// URLCheck says whether an endpoint's address may be sent to; nil accepts
	// every well-formed one.
	URLCheck func(url string) error
	// FlowCheck checks a flow bot's YAML; nil accepts every flow.
	FlowCheck FlowCheck
	// NewSecret makes a signing secret (whsec_…) for an endpoint that is put
	// without one; nil leaves it without.
	NewSecret func() chat.Secret
	// CheckEvery is how often the snapshot is compared with the leader's
	// revision; 0 means 5 s.
	CheckEvery time.Duration
	// Sync, if any, returns when a stream is on disk. What is written counts only
	// then.
	Sync func(ctx context.Context, stream string) error
	// OnlyWriter says that no other process writes the configuration, so that
	// CatchUp needs no question to the leader.
	OnlyWriter bool
}

const (
	defaultCheckEvery = 5 * time.Second
	// leaderTimeout bounds a question to the leader and the wait for the watch
	// to show what it said.
	leaderTimeout = 3 * time.Second
)

// Registry is the configuration, watched. Its methods are safe for concurrent
// use.
type Registry struct {
	js   jetstream.JetStream
	kv   jetstream.KeyValue
	opts Options
	log  *zap.Logger

	current   atomic.Pointer[Snapshot]
	unreached atomic.Uint64 // the snapshot's revision when Reach last warned
	asking    asking

	mu       sync.Mutex // orders changes of current, and guards what follows
	watchErr error      // why the watch is down
	checkErr error      // why the last comparison with the leader failed
}

// Open reads the whole configuration. It fails when the secrets were sealed
// with another key ([ErrWrongKey]) or a record can't be read.
func Open(ctx context.Context, js jetstream.JetStream, o Options) (*Registry, error) {
	if o.Sealer == nil {
		return nil, errors.New("the registry needs a sealing key")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.CheckEvery == 0 {
		o.CheckEvery = defaultCheckEvery
	}
	kv, err := js.KeyValue(ctx, topology.BucketConfig)
	if err != nil {
		return nil, fmt.Errorf("opening the bucket %s: %w", topology.BucketConfig, err)
	}
	r := &Registry{js: js, kv: kv, opts: o, log: o.Log.Named("registry"), watchErr: errNotRunning}
	if err := r.checkSeal(ctx); err != nil {
		return nil, err
	}
	r.current.Store(&Snapshot{superseded: make(chan struct{})})
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	for _, err := range r.Snapshot().unreadable {
		return nil, err
	}
	return r, nil
}

var errNotRunning = errors.New("the configuration is not watched yet")

// checkSeal compares the key with the one that the deployment began with.
func (r *Registry) checkSeal(ctx context.Context) error {
	entry, err := r.kv.Get(ctx, keySeal)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		_, err = r.kv.Create(ctx, keySeal, []byte(r.opts.Sealer.seal(sealConstant, keySeal, "")))
		if err == nil {
			return nil
		}
		if errors.Is(err, jetstream.ErrKeyExists) {
			entry, err = r.kv.Get(ctx, keySeal)
		}
	}
	if err != nil {
		return fmt.Errorf("checking the sealing key: %w", err)
	}
	_, err = r.opts.Sealer.open(string(entry.Value()), keySeal, "")
	return err
}

// load takes up every record as one change.
func (r *Registry) load(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch, err := r.kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	defer r.stopWatch(watch)
	var entries []jetstream.KeyValueEntry
	for {
		select {
		case e, open := <-watch.Updates():
			if !open {
				return errors.New("reading the configuration: the broker ended the watch")
			}
			if e == nil {
				r.apply(entries)
				return nil
			}
			entries = append(entries, e)
		case <-ctx.Done():
			return fmt.Errorf("reading the configuration: %w", context.Cause(ctx))
		}
	}
}

// Snapshot returns the latest configuration that is known here; never nil.
func (r *Registry) Snapshot() *Snapshot { return r.current.Load() }

// Follow calls changed with each snapshot and the one before, the first time for
// the one that follows the present, until ctx ends, which is no error.
func (r *Registry) Follow(ctx context.Context, changed func(last, next *Snapshot)) error {
	for last := r.Snapshot(); ; {
		if err := r.WaitRevision(ctx, last.Revision()+1); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("following the configuration: %w", err)
		}
		next := r.Snapshot()
		changed(last, next)
		last = next
	}
}

// WaitRevision waits until the snapshot shows the revision, and returns ctx's
// cause when that ends first. Run must be running.
func (r *Registry) WaitRevision(ctx context.Context, revision uint64) error {
	for {
		s := r.Snapshot()
		if s.revision >= revision {
			return nil
		}
		select {
		case <-s.superseded:
		case <-ctx.Done():
			return fmt.Errorf("waiting for configuration revision %d, now at %d: %w",
				revision, r.Snapshot().revision, context.Cause(ctx))
		}
	}
}

// ConfirmChannel looks a channel up as the leader has it.
func (r *Registry) ConfirmChannel(ctx context.Context, id string) (*chat.Channel, bool, error) {
	s, err := r.CatchUp(ctx)
	if err != nil {
		return nil, false, err
	}
	c, ok := s.Channel(id)
	return c, ok, nil
}

// ConfirmBot looks a bot up as the leader has it.
func (r *Registry) ConfirmBot(ctx context.Context, id string) (*chat.Bot, bool, error) {
	s, err := r.CatchUp(ctx)
	if err != nil {
		return nil, false, err
	}
	b, ok := s.Bot(id)
	return b, ok, nil
}

// Ready reports why the snapshot may be out of date; nil when it is not.
func (r *Registry) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(r.watchErr, r.checkErr); err != nil {
		return err
	}
	for _, err := range r.current.Load().unreadable {
		return err
	}
	return nil
}

// entry is one write as the bucket shows it.
type entry interface {
	Key() string
	Value() []byte
	Revision() uint64
	Operation() jetstream.KeyValueOp
}

// apply puts entries, in the order of their revisions, into a new snapshot.
// What the snapshot has already is passed over.
func (r *Registry) apply(entries []jetstream.KeyValueEntry) {
	list := make([]entry, len(entries))
	for i, e := range entries {
		list[i] = e
	}
	r.applyAll(list)
}

func (r *Registry) applyAll(entries []entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.current.Load()
	d := newDraft(old)
	for _, e := range entries {
		if e.Revision() <= d.next.revision {
			continue
		}
		d.next.revision = e.Revision()
		r.applyOne(d, e)
	}
	if d.next.revision == old.revision {
		return
	}
	r.current.Store(d.finish())
	close(old.superseded)
}

func (r *Registry) applyOne(d *draft, e entry) {
	kind, id, ok := splitKey(e.Key())
	if !ok {
		return
	}
	if e.Operation() != jetstream.KeyValuePut {
		d.remove(kind, id)
		d.unreadable(e.Key(), nil)
		return
	}
	value, err := r.opts.Sealer.decode(kind, id, e.Value())
	d.unreadable(e.Key(), err)
	if err != nil {
		r.log.Error("a record can't be read: its former value stays in use", zap.String("key", e.Key()), zap.Error(err))
		return
	}
	d.put(kind, id, value, e.Revision())
}
