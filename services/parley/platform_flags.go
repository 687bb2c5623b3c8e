package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/health"
	"github.com/parleyhq/parley/pkg/httpserver"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/ledger"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/telemetry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/services/ingest"
	"github.com/parleyhq/parley/services/ops"
)

// serviceFlags are the flags of the commands that run services.
type serviceFlags struct {
	natsURL, redisURL    string
	natsAccess           broker.Access
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
	logAttempts         bool
	service             string // what the process is called in traces
	traces              traceFlags
	readyFile           string
	startTimeout        time.Duration
	shutdownTimeout     time.Duration
	leaseTTL            time.Duration
	disableAfter        time.Duration
	quotas              struct{ channel, endpoint quotaFlags }
	limits              struct{ token, channel, conversation string }

	checks []check
}

// check is what must hold of a flag before anything is opened.
type check struct {
	flag  string
	holds func() error
	// doubt makes it one that is only pointed out.
	doubt bool
}

// flagError is what is wrong with a flag.
type flagError struct {
	flag string
	err  error
}

func (e *flagError) Error() string { return e.err.Error() }

func (e *flagError) Unwrap() error { return e.err }

// validate reports all that can't work, as far as it can be known without
// opening anything.
func (f *serviceFlags) validate() error { return f.failing(false).orNil() }

// doubts reports what works, and hardly as it is meant.
func (f *serviceFlags) doubts() faults { return f.failing(true) }

func (f *serviceFlags) failing(doubt bool) (found faults) {
	for _, c := range f.checks {
		if c.doubt != doubt {
			continue
		}
		if err := c.holds(); err != nil {
			found = append(found, &flagError{c.flag, err})
		}
	}
	return found
}

// addTo declares the flags that every service has.
func (f *serviceFlags) addTo(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.service = "parley"
	if name := cmd.Name(); name != "serve" {
		f.service += "-" + name
	}
	f.traces.addTo(cmd)
	fs.StringVar(&f.natsURL, "nats-url", "", "`URL` of NATS (2.12 or later); several separated by commas")
	fs.StringVar(&f.natsAccess.Credentials, "nats-creds", "", "`FILE` with the user's JWT and seed (.creds) for NATS")
	fs.StringVar(&f.natsAccess.Authorities, "nats-ca", "", "`FILE` with the authorities that NATS's certificate may be of, in PEM; without it the system's")
	fs.StringVar(&f.natsAccess.Cert, "nats-cert", "", "`FILE` with the client certificate for NATS, in PEM")
	fs.StringVar(&f.natsAccess.Key, "nats-key", "", "`FILE` with the key of --nats-cert, in PEM")
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
	fs.BoolVar(&f.logAttempts, "log-attempts", true, "log a line for each attempt, of a bot's turn or a POST, at level info")
	fs.StringVar(&f.readyFile, "ready-file", "", "`FILE` to write, once ready, with the addresses in use")
	fs.DurationVar(&f.startTimeout, "start-timeout", 2*time.Minute, "how long the start may take, and wait for NATS")
	fs.DurationVar(&f.shutdownTimeout, "shutdown-timeout", 25*time.Second, "how long the end may take")
	markSecret(fs, "seal-key", "nats-url", "redis-url")
	markValues(fs, "replicas", "0", "1", "3", "5")
	markValues(fs, "journal", string(journal.ModeAll), string(journal.ModeFailures), string(journal.ModeOff))
	markValues(fs, "otlp-protocol", telemetry.ProtocolHTTP, telemetry.ProtocolGRPC)
	markValues(fs, "log-level", "debug", "info", "warn", "error")
	markValues(fs, "log-format", "json", "console")
	f.checks = append(f.checks,
		check{flag: "nats-url", holds: f.checkNATS},
		check{flag: "nats-creds", holds: func() error {
			return named("nats-creds", broker.Access{Credentials: f.natsAccess.Credentials}.Validate())
		}},
		check{flag: "nats-ca", holds: func() error { return named("nats-ca", broker.Access{Authorities: f.natsAccess.Authorities}.Validate()) }},
		check{flag: "nats-cert", holds: func() error {
			return named("nats-cert", broker.Access{Cert: f.natsAccess.Cert, Key: f.natsAccess.Key}.Validate())
		}},
		check{flag: "redis-url", holds: f.checkRedis},
		check{flag: "seal-key", holds: f.checkSealKey},
		check{flag: "partitions", holds: func() error {
			return topology.Layout{Partitions: f.partitions, Replicas: 1, Store: roomForAll}.Validate()
		}},
		check{flag: "replicas", holds: f.checkReplicas},
		check{flag: "store-max", holds: f.checkStore},
		check{flag: "journal-max", holds: f.checkJournalMax},
		check{flag: "journal", holds: func() error { return named("journal", f.journalOptions().Validate()) }},
		check{flag: "journal-age", holds: func() error {
			if f.journal.age < time.Minute {
				return fmt.Errorf("--journal-age is %s: set it to a minute or more, such as 168h", f.journal.age)
			}
			return nil
		}},
		check{flag: "admin-addr", holds: func() error { return checkAddr("admin-addr", f.adminAddr) }},
		check{flag: "otlp-endpoint", holds: func() error {
			_, _, err := f.traces.options(os.Getenv)
			return named("otlp-endpoint", err)
		}},
		check{flag: "log-level", holds: func() error {
			_, _, err := telemetry.NewLogger(io.Discard, f.logLevel, "json")
			return named("log-level", err)
		}},
		check{flag: "log-format", holds: func() error {
			_, _, err := telemetry.NewLogger(io.Discard, "info", f.logFormat)
			return named("log-format", err)
		}},
		check{flag: "start-timeout", holds: func() error { return checkAboveZero("start-timeout", f.startTimeout, "2m") }},
		check{flag: "shutdown-timeout", holds: func() error { return checkAboveZero("shutdown-timeout", f.shutdownTimeout, "25s") }},
	)
}

// roomForAll is a store that no number of partitions is too much for.
const roomForAll = 1 << 60

// named puts a flag's name before what is wrong with it.
func named(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--%s: %w", flag, err)
}

func checkAboveZero(flag string, d time.Duration, example string) error {
	if d <= 0 {
		return fmt.Errorf("--%s is %s: set it above 0, such as %s", flag, d, example)
	}
	return nil
}

func checkAddr(flag, addr string) error {
	return named(flag, httpserver.Options{Addr: addr}.Validate())
}

func (f *serviceFlags) checkNATS() error {
	switch {
	case f.natsURL != "":
		return named("nats-url", broker.CheckURLs(f.natsURL))
	case f.natsAccess != broker.Access{}:
		return errors.New("--nats-creds, --nats-ca, --nats-cert and --nats-key are for a NATS outside: give its --nats-url, or leave them out")
	case f.dataDir == "":
		return errors.New("--nats-url is missing: give the URL of a NATS server with JetStream, or use `parley serve`")
	}
	return nil
}

func (f *serviceFlags) checkRedis() error {
	switch {
	case f.redisURL != "":
		return named("redis-url", ledger.CheckURL(f.redisURL))
	case f.dataDir == "":
		return errors.New("--redis-url is missing: give the URL of a Redis, or use `parley serve`")
	}
	return nil
}

// checkSealKey makes no key, which the start of a new data directory does.
func (f *serviceFlags) checkSealKey() error {
	if f.sealKey == "" && f.dataDir != "" {
		if _, err := os.Stat(f.sealKeyFile()); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	_, err := f.sealer()
	return err
}

func (f *serviceFlags) checkReplicas() error {
	if f.natsURL == "" && f.dataDir != "" && f.replicas > 1 {
		return fmt.Errorf("--replicas is %d, and the embedded broker keeps one copy: set it to 1, or give the --nats-url of a cluster", f.replicas)
	}
	if f.replicas == 0 { // the servers decide
		return nil
	}
	return topology.Layout{Partitions: 1, Replicas: f.replicas, Store: roomForAll}.Validate()
}

func (f *serviceFlags) checkStore() error {
	l, err := f.layout()
	if _, ok := errors.AsType[*flagError](err); ok { // of --journal-max
		return nil
	}
	if err != nil {
		return err
	}
	l.JournalBytes, l.Replicas = 0, 1
	l.Partitions = min(max(l.Partitions, 1), topology.MaxPartitions)
	return l.Validate()
}

func (f *serviceFlags) checkJournalMax() error {
	l, err := f.layout()
	if wrong, ok := errors.AsType[*flagError](err); ok {
		return wrong
	}
	if err != nil || f.checkStore() != nil {
		return nil //nolint:nilerr // it is the store that is wrong
	}
	l.Partitions, l.Replicas = 1, 1
	return l.Validate()
}

// addWorkerTo declares what workers of a stage have.
func (f *serviceFlags) addWorkerTo(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.leaseTTL, "lease-ttl", partition.DefaultTTL, "how long a worker that has vanished keeps its partitions: whole seconds, the same for all workers")
	f.checks = append(f.checks, check{flag: "lease-ttl", holds: func() error {
		if f.leaseTTL == 0 {
			return errors.New("--lease-ttl is 0s: set it to whole seconds, such as 10s")
		}
		return named("lease-ttl", partition.Options{TTL: f.leaseTTL}.Validate())
	}})
}

// addDeliveryTo declares what delivery workers have.
func (f *serviceFlags) addDeliveryTo(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.disableAfter, "endpoint-disable-after", health.DefaultFailingFor, "for how long an endpoint may do nothing but fail before it is disabled, after a warning; 0: for ever")
	f.checks = append(f.checks, check{flag: "endpoint-disable-after", holds: func() error {
		if f.disableAfter < 0 {
			return fmt.Errorf("--endpoint-disable-after is %s: set it above 0, such as 120h, or to 0 for never", f.disableAfter)
		}
		return nil
	}})
}

// addGuardTo declares what may be sent to.
func (f *serviceFlags) addGuardTo(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&f.allowCIDRs, "allow-cidrs", nil, "networks that endpoints and http bots may be in though they are not public, such as 127.0.0.0/8")
	fs.StringVar(&f.allowPorts, "allow-ports", "", "`PORTS` that endpoints and http bots may have, separated by commas, or any (default 80,443,8080,8443)")
	f.checks = append(f.checks,
		check{flag: "allow-cidrs", holds: func() error { _, err := f.allowed(); return err }},
		check{flag: "allow-ports", holds: func() error { _, _, err := f.ports(); return err }},
	)
}

func (f *serviceFlags) addPublicTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.publicAddr, "public-addr", "127.0.0.1:8080", "`ADDRESS` of the public API")
	f.quotas.channel.addTo(cmd, "channel", "for its bot, or for a first attempt", 6)
	f.quotas.endpoint.addTo(cmd, "endpoint", "to be tried again there", 10.5)
	fs := cmd.Flags()
	f.checks = append(f.checks, check{flag: "public-addr", holds: f.checkPublicAddr})
	for _, q := range []*quotaFlags{&f.quotas.channel, &f.quotas.endpoint} {
		f.checks = append(f.checks,
			check{flag: q.flag(), holds: func() error { _, err := q.quota(0); return err }},
			check{flag: q.flag(), doubt: true, holds: func() error { return f.checkQuota(q) }},
		)
	}
	for _, l := range f.rates(&ingest.Limits{}) {
		fs.StringVar(l.text, l.flag, "off", l.usage)
		f.checks = append(f.checks, check{flag: l.flag, holds: func() error { return l.parse() }})
	}
}

func (f *serviceFlags) checkPublicAddr() error {
	if err := checkAddr("public-addr", f.publicAddr); err != nil {
		return err
	}
	if _, port, err := net.SplitHostPort(f.publicAddr); err == nil && port != "0" && f.publicAddr == f.adminAddr {
		return fmt.Errorf("--public-addr and --admin-addr are both %s: give them different ones", f.publicAddr)
	}
	return nil
}

// checkQuota doubts one that is never reached.
func (f *serviceFlags) checkQuota(q *quotaFlags) error {
	l, err := f.layout()
	quota, quotaErr := q.quota(0)
	if errors.Join(err, quotaErr) != nil || quota.Bytes <= uint64(l.Store) {
		return nil //nolint:nilerr // told as what it is
	}
	return fmt.Errorf("--%s is %s, and --store-max %s: it bounds nothing, as 0 would say", q.flag(), q.bytes, f.storeMax)
}

// rate is a flag that is read into a rate.
type rate struct {
	flag, usage string
	text        *string
	to          *chat.Rate
}

func (r rate) parse() (err error) {
	*r.to, err = chat.ParseRate(*r.text)
	return named(r.flag, err)
}

func (f *serviceFlags) rates(l *ingest.Limits) []rate {
	return []rate{
		{"limit-token", "`RATE` at which messages are taken with one access token, such as 100/s, 30/m, or 100/s:200 with a burst; off: no limit; beyond it ingest answers 429", &f.limits.token, &l.Token},
		{"limit-channel", "`RATE` at which messages are taken for one channel, as --limit-token", &f.limits.channel, &l.Channel},
		{"limit-conversation", "`RATE` at which messages are taken for one conversation, as --limit-token", &f.limits.conversation, &l.Conversation},
	}
}

// ingestLimits reads the rates of ingest.
func (f *serviceFlags) ingestLimits() (ingest.Limits, error) {
	var l ingest.Limits
	for _, r := range f.rates(&l) {
		if err := r.parse(); err != nil {
			return l, err
		}
	}
	return l, nil
}

// quotaFlags are a backlog's bounds.
type quotaFlags struct {
	name     string
	messages uint64
	bytes    string
}

func (q *quotaFlags) flag() string { return q.name + "-backlog-bytes" }

func (q *quotaFlags) addTo(cmd *cobra.Command, name, waits string, percent float64) {
	q.name = name
	fs := cmd.Flags()
	fs.Uint64Var(&q.messages, name+"-backlog", 0, "`MESSAGES` of one "+name+" that may wait "+waits+"; beyond it ingest answers 503 for that channel alone; 0: no bound")
	fs.StringVar(&q.bytes, q.flag(), "", fmt.Sprintf("the same bound as a `SIZE`; 0: no bound (default %v %% of --store-max)", percent))
}

func (q *quotaFlags) quota(def int64) (ingest.Quota, error) {
	if q.bytes == "" {
		return ingest.Quota{Messages: q.messages, Bytes: uint64(def)}, nil
	}
	size, err := units.RAMInBytes(q.bytes)
	if err != nil || size < 0 {
		return ingest.Quota{}, fmt.Errorf("--%s is %q: write a size such as 500MiB, or 0", q.flag(), q.bytes)
	}
	return ingest.Quota{Messages: q.messages, Bytes: uint64(size)}, nil
}

func (f *serviceFlags) addOpsTo(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.opsToken, "ops-token", "", "a `TOKEN` that opens the ops API beside those that it makes")
	fs.StringSliceVar(&f.apply, "apply", nil, "`FILE` or directory of YAML that declares the configuration: applied at the start and whenever it changes; may be repeated")
	fs.BoolVar(&f.applyPrune, "apply-prune", false, "delete what the --apply files declared before and no longer do")
	markSecret(fs, "ops-token")
	f.checks = append(f.checks, check{flag: "apply", holds: func() error {
		if slices.Contains(f.apply, "-") {
			return errors.New("--apply is -: name a file, which can be read again")
		}
		return nil
	}})
	f.checks = append(f.checks, check{flag: "ops-token", holds: func() error {
		return named("ops-token", f.opsOptions().Validate())
	}})
}

func (f *serviceFlags) opsOptions() ops.Options {
	return ops.Options{BootstrapToken: chat.Secret(f.opsToken)}
}

func (f *serviceFlags) addServeTo(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.dataDir, "data-dir", defaultDataDir(), "`DIRECTORY` of the messages, the seal key and the ops token")
	fs.StringVar(&f.sync, "sync", "always", "always: fsync before a message counts as accepted; a duration such as 1s: what a power loss may cost")
	markDefault(fs, "data-dir", defaultDataDirText)
	f.checks = append(f.checks,
		check{flag: "data-dir", holds: f.checkDataDir},
		check{flag: "sync", holds: func() error { _, _, err := f.syncing(); return err }},
	)
}

// checkDataDir lets one be that isn't there yet: the start makes it.
func (f *serviceFlags) checkDataDir() error {
	info, err := os.Stat(f.dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory: choose another", f.dataDir)
	}
	return named("data-dir", err)
}

// defaultDataDirText is defaultDataDir in words.
const defaultDataDirText = "$XDG_STATE_HOME/parley, or ~/.local/state/parley"

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

func (f *serviceFlags) journalOptions() journal.Options {
	return journal.Options{Mode: journal.Mode(f.journal.mode), NoBodies: !f.journal.bodies}
}

// layout reads the flags of the streams; it doesn't ask whether they fit.
func (f *serviceFlags) layout() (topology.Layout, error) {
	store, err := units.RAMInBytes(f.storeMax)
	if err != nil {
		return topology.Layout{}, fmt.Errorf("--store-max is %q: write a size such as 10GiB", f.storeMax)
	}
	l := topology.Layout{Partitions: f.partitions, Replicas: f.replicas, Store: store, JournalAge: f.journal.age}
	if f.journal.max != "" {
		if l.JournalBytes, err = units.RAMInBytes(f.journal.max); err != nil || l.JournalBytes <= 0 {
			return topology.Layout{}, &flagError{"journal-max", fmt.Errorf("--journal-max is %q: write a size such as 500MiB", f.journal.max)}
		}
	}
	if l.Replicas == 0 && f.natsURL == "" { // the embedded broker
		l.Replicas = 1
	}
	return l, nil
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
	allow, err := f.allowed()
	if err != nil {
		return nil, err
	}
	ports, anyPort, err := f.ports()
	if err != nil {
		return nil, err
	}
	return &webhook.Guard{Allow: allow, Ports: ports, AnyPort: anyPort}, nil
}

// allowed reads --allow-cidrs.
func (f *serviceFlags) allowed() (networks []netip.Prefix, err error) {
	for _, s := range f.allowCIDRs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--allow-cidrs has %q: write a network such as 127.0.0.0/8", s)
		}
		networks = append(networks, p)
	}
	return networks, nil
}

// ports reads --allow-ports.
func (f *serviceFlags) ports() (ports []uint16, anyPort bool, err error) {
	if f.allowPorts == "any" {
		return nil, true, nil
	}
	for s := range strings.SplitSeq(f.allowPorts, ",") {
		if s == "" {
			continue
		}
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return nil, false, fmt.Errorf("--allow-ports has %q: write ports such as 80,443,9000, or any", s)
		}
		ports = append(ports, uint16(n))
	}
	return ports, false, nil
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
		key, err = registry.LoadOrCreateKey(f.sealKeyFile())
	default:
		err = errors.New("--seal-key is missing: make one with `openssl rand -base64 32` and give it to every service")
	}
	if err != nil {
		return nil, err
	}
	return registry.NewSealer(key)
}

func (f *serviceFlags) sealKeyFile() string { return filepath.Join(f.dataDir, "seal.key") }

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

// computed says what flags come to that are not given and are no fixed value.
func (f *serviceFlags) computed() map[string]string {
	texts := map[string]string{"allow-ports": "80,443,8080,8443"}
	l, err := f.layout()
	if err != nil || f.checkStore() != nil {
		return texts
	}
	texts["channel-backlog-bytes"] = units.BytesSize(float64(l.ChannelBytes()))
	texts["endpoint-backlog-bytes"] = units.BytesSize(float64(l.EndpointBytes()))
	for _, s := range l.Streams() {
		if s.Name == topology.StreamJournal {
			texts["journal-max"] = units.BytesSize(float64(s.MaxBytes))
		}
	}
	return texts
}
