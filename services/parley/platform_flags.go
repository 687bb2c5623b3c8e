package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/services/ingest"
)

// serviceFlags are the flags of the commands that run services.
type serviceFlags struct {
	natsURL, redisURL    string
	dataDir              string
	partitions, replicas int
	storeMax             string
	sync                 string
	sealKey              string
	publicAddr           string
	adminAddr            string
	opsToken             string
	apply                []string
	applyPrune           bool
	allowCIDRs           []string
	allowPorts           string
	journal              struct {
		mode   string
		bodies bool
		age    time.Duration
		max    string
	}
	logLevel, logFormat string
	readyFile           string
	startTimeout        time.Duration
	shutdownTimeout     time.Duration
	leaseTTL            time.Duration
	disableAfter        time.Duration
	quotas              struct{ channel, endpoint quotaFlags }
	limits              struct{ token, channel, conversation string }
}

// addTo declares the flags that every service has.
func (f *serviceFlags) addTo(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.natsURL, "nats-url", "", "`URL` of NATS (2.12 or later); several separated by commas")
	fs.StringVar(&f.redisURL, "redis-url", "", "`URL` of Redis (7 or later), such as redis://host:6379/0")
	fs.IntVar(&f.partitions, "partitions", topology.DefaultPartitions, "partitions of a stage: the most workers that it can use; fixed once the streams exist")
	fs.IntVar(&f.replicas, "replicas", 0, "copies of each stream that a NATS cluster keeps: 1, 3 or 5; 0: as before, and at first 3 where there are as many servers")
	fs.StringVar(&f.storeMax, "store-max", "10GiB", "`SIZE` that the streams together may have on disk")
	fs.StringVar(&f.sealKey, "seal-key", "", "32 bytes in base64 that seal secrets at rest; the same for all services")
	fs.StringVar(&f.adminAddr, "admin-addr", "127.0.0.1:8081", "`ADDRESS` of /metrics, /livez, /readyz, /debug/pprof and, with ops, the ops API")
	fs.StringVar(&f.journal.mode, "journal", string(journal.ModeAll), "turns and attempts to record: all, failures or off")
	fs.BoolVar(&f.journal.bodies, "journal-bodies", true, "record what was said too; with false ids, times and outcomes only")
	fs.DurationVar(&f.journal.age, "journal-age", topology.DefaultJournalAge, "how long the journal keeps an entry; the same for all services")
	fs.StringVar(&f.journal.max, "journal-max", "", "`SIZE` at which the journal forgets its oldest entries; the same for all services (default 5.5 % of --store-max, which is also the most)")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "json", "json or console")
	fs.StringVar(&f.readyFile, "ready-file", "", "`FILE` to write, once ready, with the addresses in use")
	fs.DurationVar(&f.startTimeout, "start-timeout", 2*time.Minute, "how long the start may take, and wait for NATS")
	fs.DurationVar(&f.shutdownTimeout, "shutdown-timeout", 25*time.Second, "how long the end may take")
	markSecret(fs, "seal-key", "nats-url", "redis-url")
}

// addWorkerTo declares what workers of a stage have.
func (f *serviceFlags) addWorkerTo(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.leaseTTL, "lease-ttl", partition.DefaultTTL, "how long a worker that has vanished keeps its partitions: whole seconds, the same for all workers")
}

// addDeliveryTo declares what delivery workers have.
func (f *serviceFlags) addDeliveryTo(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.disableAfter, "endpoint-disable-after", health.DefaultFailingFor, "for how long an endpoint may do nothing but fail before it is disabled, after a warning; 0: for ever")
}

// addGuardTo declares what may be sent to.
func (f *serviceFlags) addGuardTo(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&f.allowCIDRs, "allow-cidrs", nil, "networks that endpoints and http bots may be in though they are not public, such as 127.0.0.0/8")
	fs.StringVar(&f.allowPorts, "allow-ports", "", "`PORTS` that endpoints and http bots may have, separated by commas, or any (default 80,443,8080,8443)")
}

func (f *serviceFlags) addPublicTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.publicAddr, "public-addr", "127.0.0.1:8080", "`ADDRESS` of the public API")
	f.quotas.channel.addTo(cmd, "channel", "for its bot, or for a first attempt", 6)
	f.quotas.endpoint.addTo(cmd, "endpoint", "to be tried again there", 10.5)
	fs := cmd.Flags()
	fs.StringVar(&f.limits.token, "limit-token", "off", "`RATE` at which messages are taken with one access token, such as 100/s, 30/m, or 100/s:200 with a burst; beyond it ingest answers 429")
	fs.StringVar(&f.limits.channel, "limit-channel", "off", "the same for one channel")
	fs.StringVar(&f.limits.conversation, "limit-conversation", "off", "the same for one conversation")
}

// quotaFlags are a backlog's bounds.
type quotaFlags struct {
	name     string
	messages uint64
	bytes    string
}

func (q *quotaFlags) addTo(cmd *cobra.Command, name, waits string, percent float64) {
	q.name = name
	fs := cmd.Flags()
	fs.Uint64Var(&q.messages, name+"-backlog", 0, "`MESSAGES` of one "+name+" that may wait "+waits+"; beyond it ingest answers 503 for that channel alone; 0: no bound")
	fs.StringVar(&q.bytes, name+"-backlog-bytes", "", fmt.Sprintf("the same as a `SIZE`; 0: no bound (default %v %% of --store-max)", percent))
}

func (q *quotaFlags) quota(def int64) (ingest.Quota, error) {
	if q.bytes == "" {
		return ingest.Quota{Messages: q.messages, Bytes: uint64(def)}, nil
	}
	size, err := units.RAMInBytes(q.bytes)
	if err != nil || size < 0 {
		return ingest.Quota{}, fmt.Errorf("--%s-backlog-bytes is %q: write a size such as 500MiB, or 0", q.name, q.bytes)
	}
	return ingest.Quota{Messages: q.messages, Bytes: uint64(size)}, nil
}

// ingestLimits reads the rates of ingest.
func (f *serviceFlags) ingestLimits() (ingest.Limits, error) {
	var l ingest.Limits
	for _, limit := range []struct {
		flag, text string
		rate       *chat.Rate
	}{
		{"token", f.limits.token, &l.Token},
		{"channel", f.limits.channel, &l.Channel},
		{"conversation", f.limits.conversation, &l.Conversation},
	} {
		r, err := chat.ParseRate(limit.text)
		if err != nil {
			return l, fmt.Errorf("--limit-%s: %w", limit.flag, err)
		}
		*limit.rate = r
	}
	return l, nil
}

func (f *serviceFlags) addOpsTo(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.opsToken, "ops-token", "", "a `TOKEN` that opens the ops API beside those that it makes")
	fs.StringSliceVar(&f.apply, "apply", nil, "`FILE` or directory of YAML that declares the configuration: applied at the start and whenever it changes; may be repeated")
	fs.BoolVar(&f.applyPrune, "apply-prune", false, "delete what the --apply files declared before and no longer do")
	markSecret(fs, "ops-token")
}

func (f *serviceFlags) addServeTo(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.dataDir, "data-dir", defaultDataDir(), "`DIRECTORY` of the messages, the seal key and the ops token")
	fs.StringVar(&f.sync, "sync", "always", "always: fsync before a message counts as accepted; a duration such as 1s: what a power loss may cost")
}

// defaultDataDir is where a user's programs keep their state (XDG Base
// Directory Specification).
func defaultDataDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "parley")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "parley")
	}
	return "parley-data"
}

// check reports the first flag that can't work and that nothing else would
// look at before the start is half done, if at all.
func (f *serviceFlags) check() error {
	switch {
	case f.startTimeout <= 0:
		return fmt.Errorf("--start-timeout is %s: set it above 0, such as 2m", f.startTimeout)
	case f.disableAfter < 0:
		return fmt.Errorf("--endpoint-disable-after is %s: set it above 0, such as 120h, or to 0 for never", f.disableAfter)
	case f.journal.age < time.Minute:
		return fmt.Errorf("--journal-age is %s: set it to a minute or more, such as 168h", f.journal.age)
	case f.shutdownTimeout <= 0:
		return fmt.Errorf("--shutdown-timeout is %s: set it above 0, such as 25s", f.shutdownTimeout)
	case f.natsURL == "" && f.dataDir != "" && f.replicas > 1:
		return fmt.Errorf("--replicas is %d, and the embedded broker keeps one copy: set it to 1, or give the --nats-url of a cluster", f.replicas)
	}
	if slices.Contains(f.apply, "-") {
		return errors.New("--apply is -: name a file, which can be read again")
	}
	if f.dataDir != "" {
		if _, _, err := f.syncing(); err != nil {
			return err
		}
	}
	if err := f.journalOptions().Validate(); err != nil {
		return fmt.Errorf("--journal: %w", err)
	}
	return nil
}

func (f *serviceFlags) journalOptions() journal.Options {
	return journal.Options{Mode: journal.Mode(f.journal.mode), NoBodies: !f.journal.bodies}
}

func (f *serviceFlags) layout() (topology.Layout, error) {
	store, err := units.RAMInBytes(f.storeMax)
	if err != nil {
		return topology.Layout{}, fmt.Errorf("--store-max is %q: write a size such as 10GiB", f.storeMax)
	}
	l := topology.Layout{Partitions: f.partitions, Replicas: f.replicas, Store: store, JournalAge: f.journal.age}
	if f.journal.max != "" {
		if l.JournalBytes, err = units.RAMInBytes(f.journal.max); err != nil || l.JournalBytes <= 0 {
			return topology.Layout{}, fmt.Errorf("--journal-max is %q: write a size such as 500MiB", f.journal.max)
		}
	}
	if l.Replicas == 0 && f.natsURL == "" { // the embedded broker
		l.Replicas = 1
	}
	checked := l
	checked.Replicas = max(l.Replicas, 1) // 0: the servers decide
	return l, checked.Validate()
}

// syncing reads --sync.
func (f *serviceFlags) syncing() (always bool, interval time.Duration, err error) {
	if f.sync == "always" {
		return true, 0, nil
	}
	d, err := time.ParseDuration(f.sync)
	if err != nil || d < time.Millisecond {
		return false, 0, fmt.Errorf("--sync is %q: set it to always or to a duration such as 1s", f.sync)
	}
	return false, d, nil
}

func (f *serviceFlags) guard() (*webhook.Guard, error) {
	g := &webhook.Guard{}
	for _, s := range f.allowCIDRs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--allow-cidrs has %q: write a network such as 127.0.0.0/8", s)
		}
		g.Allow = append(g.Allow, p)
	}
	if f.allowPorts == "any" {
		g.AnyPort = true
		return g, nil
	}
	for s := range strings.SplitSeq(f.allowPorts, ",") {
		if s == "" {
			continue
		}
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("--allow-ports has %q: write ports such as 80,443,9000, or any", s)
		}
		g.Ports = append(g.Ports, uint16(n))
	}
	return g, nil
}

// sealer takes the key from --seal-key or, with a data directory, from there.
func (f *serviceFlags) sealer() (*registry.Sealer, error) {
	var key []byte
	var err error
	switch {
	case f.sealKey != "":
		if key, err = registry.ParseKey(f.sealKey); err != nil {
			err = fmt.Errorf("--seal-key: %w", err)
		}
	case f.dataDir != "":
		key, err = registry.LoadOrCreateKey(filepath.Join(f.dataDir, "seal.key"))
	default:
		err = errors.New("--seal-key is missing: make one with `openssl rand -base64 32` and give it to every service")
	}
	if err != nil {
		return nil, err
	}
	return registry.NewSealer(key)
}

// opsTokenFile is where serve keeps the token that it makes; the commands that
// use the ops API look there.
const opsTokenFile = "ops-token"

// ensureOpsToken reads the ops token of the data directory, made at the first
// start, unless one is given.
func (f *serviceFlags) ensureOpsToken() (chat.Secret, error) {
	if f.opsToken != "" {
		return chat.Secret(f.opsToken), nil
	}
	path := filepath.Join(f.dataDir, opsTokenFile)
	if _, err := registry.LoadOrCreateKey(path); err != nil { // 32 random bytes in base64: a token as good as any
		return "", fmt.Errorf("the ops token: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("the ops token: %w", err)
	}
	return chat.Secret(strings.TrimSpace(string(data))), nil
}
