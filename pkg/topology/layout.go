package topology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/chat"
)

// Defaults and bounds of the layout.
const (
	DefaultPartitions = 8
	MaxPartitions     = 256
	// MinStore is the least store that the streams fit into usefully.
	MinStore = 256 << 20
	// MinPartition is the least that one partition's work queue has: room for
	// some messages of the largest size.
	MinPartition = 4 << 20
)

// Layout is how the streams are laid out: the same for every process of a
// deployment.
type Layout struct {
	Partitions int   // of each stage
	Replicas   int   // of each stream and bucket
	Store      int64 // bytes that all streams together may use; they take at most 80 % of it

	DeadAge    time.Duration // 0 means 30 days
	JournalAge time.Duration // 0 means 7 days
	SessionTTL time.Duration // since the last turn; 0 means 30 days
	LedgerTTL  time.Duration // 0 means 7 days
	AuditAge   time.Duration // 0 means 400 days
}

// Validate reports the first setting that can't work.
func (l Layout) Validate() error {
	switch {
	case l.Partitions < 1 || l.Partitions > MaxPartitions:
		return fmt.Errorf("partitions is %d: set it to 1..%d", l.Partitions, MaxPartitions)
	case l.Replicas != 1 && l.Replicas != 3 && l.Replicas != 5:
		return fmt.Errorf("replicas is %d: set it to 1, 3 or 5, or to 0 for as many as the servers can keep", l.Replicas)
	case l.Store < MinStore:
		return fmt.Errorf("the store is %d bytes: give it at least %d", l.Store, MinStore)
	case l.bytes(shareUser)/int64(l.Partitions) < MinPartition:
		return fmt.Errorf("the store of %d MiB leaves too little for each of %d partitions: give it at least %d MiB, or set fewer partitions",
			l.Store>>20, l.Partitions, leastStore(l.Partitions)>>20)
	case l.DeadAge < 0 || l.JournalAge < 0 || l.SessionTTL < 0 || l.LedgerTTL < 0 || l.AuditAge < 0:
		return errors.New("an age limit is negative: set it above 0, or to 0 for its default")
	}
	return nil
}

// leastStore is the least store for so many partitions, in whole MiB.
func leastStore(partitions int) int64 {
	const mib = 1 << 20
	return (int64(partitions)*MinPartition*1000/shareUser + 2*mib) / mib * mib
}

// Shares of the store in thousandths; they sum to 799, so that a fifth stays
// free for consumer state, indexes and what is being compacted. Where sessions
// are full, new conversations wait until old ones have aged out: so they have
// more than they seem to need (1,000,000 of 1 kB in 10 GiB).
const (
	shareUser       = 160 // all partitions together
	shareBot        = 160
	shareUserParked = 80
	shareBotParked  = 140
	shareDead       = 60
	shareJournal    = 55
	shareSessions   = 100
	shareAudit      = 5 // 100,000 entries of 500 bytes in 10 GiB
	shareLedger     = 20
	shareConfig     = 13
	shareLeases     = 2
	shareMembers    = 1
	shareCommands   = 1
	shareHealth     = 1
	shareReplays    = 1
)

func (l Layout) bytes(share int64) int64 { return l.Store / 1000 * share }

// Streams returns the configuration of every stream, partitions first.
func (l Layout) Streams() []jetstream.StreamConfig {
	var out []jetstream.StreamConfig
	for _, stage := range []chat.Stage{chat.StageUser, chat.StageBot} {
		share := int64(shareUser)
		if stage == chat.StageBot {
			share = shareBot
		}
		for p := range l.Partitions {
			out = append(out, jetstream.StreamConfig{
				Name:       HotStream(stage, p),
				Subjects:   []string{fmt.Sprintf("%s.%d.*.*", stage, p)},
				Retention:  jetstream.WorkQueuePolicy,
				Discard:    jetstream.DiscardNew,
				MaxBytes:   l.bytes(share) / int64(l.Partitions),
				Duplicates: 10 * time.Second, AllowDirect: l.direct(),
				Replicas: l.Replicas,
			})
		}
	}
	return append(out,
		l.parked(chat.StageUser, shareUserParked),
		l.parked(chat.StageBot, shareBotParked),
		jetstream.StreamConfig{
			Name: StreamDead, Subjects: []string{"dead.>"}, Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1,
			MaxBytes: l.bytes(shareDead), MaxAge: orDefault(l.DeadAge, 30*24*time.Hour),
			Duplicates: 10 * time.Second, Replicas: l.Replicas,
		},
		jetstream.StreamConfig{
			Name: StreamJournal, Subjects: []string{"journal.>"}, Discard: jetstream.DiscardOld,
			MaxBytes: l.bytes(shareJournal), MaxAge: orDefault(l.JournalAge, 7*24*time.Hour),
			Duplicates: 10 * time.Second, Replicas: l.Replicas,
		},
		jetstream.StreamConfig{
			Name: StreamSessions, Subjects: []string{"session.*.*"}, Discard: jetstream.DiscardNew,
			MaxMsgsPerSubject: 1, MaxBytes: l.bytes(shareSessions), AllowDirect: l.direct(),
			MaxAge:     orDefault(l.SessionTTL, 30*24*time.Hour),
			Duplicates: 10 * time.Second, Replicas: l.Replicas,
		},
		// What is recorded can't be edited: only age and size take it.
		jetstream.StreamConfig{
			Name: StreamAudit, Subjects: []string{"audit.*"}, Discard: jetstream.DiscardOld,
			MaxBytes: l.bytes(shareAudit), MaxAge: orDefault(l.AuditAge, 400*24*time.Hour),
			DenyDelete: true, DenyPurge: true, Duplicates: 10 * time.Second, Replicas: l.Replicas,
		},
		l.ownership(BucketLeases, shareLeases),
		l.ownership(BucketMembers, shareMembers),
		l.ownership(BucketHealth, shareHealth),
		l.ownership(BucketReplays, shareReplays),
	)
}

// ownership is the stream of a key-value bucket, made as a stream because a
// bucket's own making allows reads at a replica: who has a lease or a probe, and
// who lives, are questions to the leader, and replicas lag.
func (l Layout) ownership(bucket string, share int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: BucketStream(bucket), Subjects: []string{KeySubject(bucket, ">")},
		Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1, MaxBytes: l.bytes(share),
		AllowRollup: true, DenyDelete: true, AllowMsgTTL: true, SubjectDeleteMarkerTTL: markerTTL,
		Duplicates: 10 * time.Second, Replicas: l.Replicas,
	}
}

// direct says whether messages are read directly, which is cheaper, instead of
// by a request to the leader: where there are replicas these reads lag.
func (l Layout) direct() bool { return l.Replicas == 1 }

// parked: a state record replaces the one before by rollup.
func (l Layout) parked(stage chat.Stage, share int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: ParkedStream(stage), Subjects: []string{fmt.Sprintf("parked.%s.*.*.*", stage), fmt.Sprintf("lane.%s.*.*.*", stage)},
		Discard: jetstream.DiscardNew, MaxBytes: l.bytes(share), AllowRollup: true, AllowDirect: l.direct(),
		Duplicates: 10 * time.Second, Replicas: l.Replicas,
	}
}

// markerTTL is how long a bucket says that a key has expired: its watchers see
// that, and keys may have an age of their own.
const markerTTL = time.Minute

// Buckets returns the configuration of the key-value buckets but those of
// ownership, which are among the streams.
func (l Layout) Buckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{Bucket: BucketConfig, History: 10, MaxBytes: l.bytes(shareConfig), Replicas: l.Replicas},
		{Bucket: BucketLedger, History: 1, MaxBytes: l.bytes(shareLedger), Replicas: l.Replicas, TTL: orDefault(l.LedgerTTL, 7*24*time.Hour)},
		{Bucket: BucketCommands, History: 1, MaxBytes: l.bytes(shareCommands), Replicas: l.Replicas, LimitMarkerTTL: markerTTL},
	}
}

// keyLayout is where the deployment's partition count stands in BucketConfig.
const keyLayout = "layout"

type storedLayout struct {
	Partitions int `json:"partitions"`
}

// Ensure creates what is missing, brings limits up to date, and refuses a
// partition count other than the one that the deployment began with: a
// conversation's place depends on it.
func Ensure(ctx context.Context, js jetstream.JetStream, l Layout) error {
	if err := l.Validate(); err != nil {
		return err
	}
	for _, b := range l.Buckets() {
		if err := insist(ctx, func(ctx context.Context) error {
			_, err := js.CreateOrUpdateKeyValue(ctx, b)
			return err
		}); err != nil {
			return l.explain(fmt.Errorf("bucket %s: %w", b.Bucket, err))
		}
	}
	if err := insist(ctx, func(ctx context.Context) error { return checkPartitions(ctx, js, l.Partitions) }); err != nil {
		return err
	}
	for _, s := range l.Streams() {
		if err := insist(ctx, func(ctx context.Context) error {
			_, err := js.CreateOrUpdateStream(ctx, s)
			return err
		}); err != nil {
			return l.explain(fmt.Errorf("stream %s: %w", s.Name, err))
		}
	}
	return nil
}

// JetStream's error codes where the servers can't do what is asked.
const (
	codeNoRoom     = 10047 // "insufficient storage resources available"
	codeNoPeers    = 10005 // "no suitable peers for placement"
	codeNoReplicas = 10074 // "replicas > 1 not supported in non-clustered mode"
)

// Replicas is how many copies of a stream to keep where nobody has said: as many
// as the deployment has kept so far; in a new one 3 where the servers can keep
// 3, else 1. It creates the bucket of the configuration to find out.
func Replicas(ctx context.Context, js jetstream.JetStream, l Layout) (replicas int, err error) {
	err = insist(ctx, func(ctx context.Context) error {
		stream, err := js.Stream(ctx, BucketStream(BucketConfig))
		if err == nil {
			replicas = stream.CachedInfo().Config.Replicas
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		l.Replicas, replicas = 3, 3
		_, err = js.CreateOrUpdateKeyValue(ctx, l.Buckets()[0])
		if tooFewServers(err) && !peerOffline(err) {
			replicas, err = 1, nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("asking how many copies the servers can keep: %w", err)
	}
	return replicas, nil
}

func tooFewServers(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == codeNoPeers || api.ErrorCode == codeNoReplicas)
}

// explain says what to change where the server has too little room.
func (l Layout) explain(err error) error {
	if tooFewServers(err) {
		return fmt.Errorf("the NATS servers can't keep %d copies of a stream: have as many servers with JetStream in the cluster, or lower --replicas: %w", l.Replicas, err)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeNoRoom {
		return fmt.Errorf("the NATS server has not the %d MiB that --store-max asks for: raise its max_file_store, or lower --store-max: %w", l.Store>>20, err)
	}
	return err
}

func checkPartitions(ctx context.Context, js jetstream.JetStream, partitions int) error {
	kv, err := js.KeyValue(ctx, BucketConfig)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", BucketConfig, err)
	}
	value, err := json.Marshal(storedLayout{Partitions: partitions})
	if err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	if _, err = kv.Create(ctx, keyLayout, value); err == nil {
		return nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("storing the layout: %w", err)
	}
	entry, err := kv.Get(ctx, keyLayout)
	if err != nil {
		return fmt.Errorf("reading the layout: %w", err)
	}
	var stored storedLayout
	if err := json.Unmarshal(entry.Value(), &stored); err != nil {
		return fmt.Errorf("reading the layout: %w", err)
	}
	if stored.Partitions != partitions {
		return fmt.Errorf("the deployment has %d partitions, this process was told %d: start it with --partitions %d",
			stored.Partitions, partitions, stored.Partitions)
	}
	return nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}
