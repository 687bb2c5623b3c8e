package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/ledger/idempotency"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/tracing"
)

// Options are the service's settings; a zero takes the default.
type Options struct {
	Addr       string // host:port to listen on; port 0 takes a free one
	Partitions int    // of the user stage; required, the same everywhere

	MaxBody       int64 // bytes of one message; 64 KiB
	MaxBatch      int64 // bytes of a batch; 16 MiB
	MaxBatchLines int   // messages in a batch; 1,000
	MaxRequests   int   // under way at once; 1,024
	MaxBatches    int   // batches under way at once; 16

	Limits Limits // none

	PublishTimeout time.Duration // for the broker to confirm one message; 5 s
	BatchTimeout   time.Duration // for all of a batch; 30 s
	RepeatWait     time.Duration // of a repeat for the first request under its key; 5 s
}

func (o Options) withDefaults() Options {
	o.MaxBody = orDefault(o.MaxBody, 64<<10)
	o.MaxBatch = orDefault(o.MaxBatch, 16<<20)
	o.MaxBatchLines = orDefault(o.MaxBatchLines, 1000)
	o.MaxRequests = orDefault(o.MaxRequests, 1024)
	o.MaxBatches = orDefault(o.MaxBatches, 16)
	o.PublishTimeout = orDefault(o.PublishTimeout, 5*time.Second)
	o.BatchTimeout = orDefault(o.BatchTimeout, 30*time.Second)
	o.RepeatWait = orDefault(o.RepeatWait, 5*time.Second)
	return o
}

// Validate reports the first setting that can't work.
func (o Options) Validate() error {
	if o.Partitions < 1 || o.Partitions > topology.MaxPartitions {
		return fmt.Errorf("ingest: partitions is %d: set it to 1..%d", o.Partitions, topology.MaxPartitions)
	}
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"max body", o.MaxBody},
		{"max batch", o.MaxBatch},
		{"max batch lines", int64(o.MaxBatchLines)},
		{"max requests", int64(o.MaxRequests)},
		{"max batches", int64(o.MaxBatches)},
		{"publish timeout", int64(o.PublishTimeout)},
		{"batch timeout", int64(o.BatchTimeout)},
		{"repeat wait", int64(o.RepeatWait)},
	} {
		if limit.value < 0 {
			return fmt.Errorf("ingest: %s is %d: set it above 0", limit.name, limit.value)
		}
	}
	if claim := 20 * time.Second; o.PublishTimeout > claim {
		return fmt.Errorf("ingest: publish timeout is %s: set it to at most %s, so that a key stays claimed while its message is published", o.PublishTimeout, claim)
	}
	return nil
}

// Publisher stores messages in the broker; *broker.Conn is one. A nil error
// means stored.
type Publisher interface {
	Publish(ctx context.Context, m broker.Message) (sequence uint64, err error)
}

// Config is the configuration at one moment; *registry.Snapshot is one.
type Config interface {
	Revision() uint64
	// Authenticate returns the token whose clear form is given.
	Authenticate(clear string) (chat.Token, bool)
	Channel(id string) (*chat.Channel, bool)
	EndpointsOf(channelID string) []*chat.Endpoint
	Bot(id string) (*chat.Bot, bool)
	ChannelsOfBot(botID string) []*chat.Channel
}

// Once remembers idempotency keys; *idempotency.Store is one.
type Once interface {
	Begin(ctx context.Context, channelID, key string, body [sha256.Size]byte) (idempotency.State, idempotency.Claim, error)
	Finish(ctx context.Context, c idempotency.Claim) error
	Release(ctx context.Context, c idempotency.Claim) error
}

// Deps are what the service works with.
type Deps struct {
	Publisher Publisher
	Config    func() Config // the newest snapshot that is known here; never nil
	// CatchUp returns a snapshot that shows all that was confirmed before;
	// required.
	CatchUp func(ctx context.Context) (Config, error)
	Once    Once     // nil: keys make ids, and nothing else
	Backlog *Backlog // nil: no quotas
	Limiter Limiter  // nil: no limits, whatever is configured
	// Journal and Sessions are what the legacy reads read; nil: there are none.
	Journal  Journal
	Sessions Sessions
	Tracer   *tracing.Tracer // nil: no spans
	Metrics  prometheus.Registerer
	Log      *zap.Logger

	Now    func() time.Time // nil: time.Now
	Random func() uint64    // nil: math/rand/v2
}

func (d Deps) withDefaults() (Deps, error) {
	if d.Publisher == nil || d.Config == nil || d.CatchUp == nil || d.Metrics == nil || d.Log == nil {
		return d, errors.New("ingest needs a publisher, a configuration, a metrics registry and a logger")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Random == nil {
		d.Random = rand.Uint64
	}
	return d, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
