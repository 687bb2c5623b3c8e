package main

import (
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook"
)

// flagsOf reads the flags of serve from a command line.
func flagsOf(t *testing.T, args ...string) *serviceFlags {
	t.Helper()
	f := &serviceFlags{}
	cmd := &cobra.Command{Use: "test"}
	f.addTo(cmd)
	f.addServeTo(cmd)
	f.addPublicTo(cmd)
	f.addOpsTo(cmd)
	f.addGuardTo(cmd)
	f.addWorkerTo(cmd)
	require.NoError(t, cmd.ParseFlags(append([]string{"--data-dir", t.TempDir()}, args...)))
	return f
}

// opened reads all flags as the start of a process does.
func opened(f *serviceFlags) error {
	if err := f.validate(); err != nil {
		return err
	}
	if _, err := f.layout(); err != nil {
		return err
	}
	if _, err := f.guard(); err != nil {
		return err
	}
	_, err := f.sealer()
	return err
}

func TestDefaultsWork(t *testing.T) {
	f := flagsOf(t)
	require.NoError(t, opened(f))
	l, err := f.layout()
	require.NoError(t, err)
	require.EqualValues(t, 10<<30, l.Store)
	require.Equal(t, 8, l.Partitions)
	always, interval, err := f.syncing()
	require.NoError(t, err)
	require.True(t, always, "accepted means kept, unless told otherwise")
	require.Zero(t, interval)
	for _, addr := range []string{f.publicAddr, f.adminAddr} {
		require.Regexp(t, `^127\.0\.0\.1:`, addr)
	}
	g, err := f.guard()
	require.NoError(t, err)
	require.Equal(t, &webhook.Guard{}, g, "public addresses and the usual ports alone")
}

func TestJournalFlags(t *testing.T) {
	f := flagsOf(t, "--journal", "failures", "--journal-bodies=false", "--journal-age", "48h", "--journal-max", "100MiB")
	require.NoError(t, opened(f))
	require.Equal(t, journal.Options{Mode: journal.ModeFailures, NoBodies: true}, f.journalOptions())
	l, err := f.layout()
	require.NoError(t, err)
	for _, s := range l.Streams() {
		if s.Name == topology.StreamJournal {
			require.Equal(t, 48*time.Hour, s.MaxAge)
			require.EqualValues(t, 100<<20, s.MaxBytes)
			return
		}
	}
	require.Fail(t, "there is no journal")
}

func TestBadFlagsSayWhatToChange(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--partitions", "0"}, "partitions is 0: set it to 1..256"},
		{[]string{"--partitions", "257"}, "partitions is 257: set it to 1..256"},
		{[]string{"--partitions", "200", "--store-max", "1GiB"}, "give it at least"},
		{[]string{"--replicas", "2", "--nats-url", "nats://h:4222"}, "replicas is 2: set it to 1, 3 or 5"},
		{[]string{"--replicas", "-1"}, "replicas is -1: set it to 1, 3 or 5"},
		{[]string{"--replicas", "3"}, "--replicas is 3, and the embedded broker keeps one copy: set it to 1, or give the --nats-url of a cluster"},
		{[]string{"--store-max", "lots"}, `--store-max is "lots": write a size such as 10GiB`},
		{[]string{"--store-max", "-1"}, `--store-max is "-1": write a size such as 10GiB`},
		{[]string{"--store-max", "1MiB"}, "give it at least"},
		{[]string{"--journal", "some"}, "set it to all, failures or off"},
		{[]string{"--journal-age", "1s"}, "--journal-age is 1s: set it to a minute or more"},
		{[]string{"--journal-max", "lots"}, `--journal-max is "lots": write a size such as 500MiB`},
		{[]string{"--journal-max", "1GiB"}, "the journal may have at most 563 MiB of a store of 10240 MiB"},
		{[]string{"--sync", "never"}, `--sync is "never": set it to always or to a duration such as 1s`},
		{[]string{"--sync", "0s"}, `--sync is "0s": set it to always`},
		{[]string{"--sync", "-1s"}, `--sync is "-1s": set it to always`},
		{[]string{"--sync", "never", "--nats-url", "nats://h:4222"}, `--sync is "never"`},
		{[]string{"--shutdown-timeout", "0"}, "--shutdown-timeout is 0s: set it above 0, such as 25s"},
		{[]string{"--shutdown-timeout", "-5s"}, "--shutdown-timeout is -5s: set it above 0"},
		{[]string{"--journal", "some"}, `--journal: the journal's mode is "some": set it to all, failures or off`},
		{[]string{"--allow-cidrs", "127.0.0.1"}, `--allow-cidrs has "127.0.0.1": write a network such as 127.0.0.0/8`},
		{[]string{"--allow-cidrs", "10.0.0.0/8,x"}, `--allow-cidrs has "x"`},
		{[]string{"--allow-ports", "80,http"}, `--allow-ports has "http": write ports such as 80,443,9000, or any`},
		{[]string{"--allow-ports", "0"}, `--allow-ports has "0"`},
		{[]string{"--allow-ports", "65536"}, `--allow-ports has "65536"`},
		{[]string{"--allow-ports", "80,any"}, `--allow-ports has "any"`},
		{[]string{"--admin-addr", "8081"}, `--admin-addr: listen address "8081"`},
		{[]string{"--public-addr", "127.0.0.1:80800"}, `--public-addr: listen address "127.0.0.1:80800"`},
		{[]string{"--public-addr", "127.0.0.1:8081"}, "--public-addr and --admin-addr are both 127.0.0.1:8081"},
		{[]string{"--nats-url", "http://h:4222"}, `--nats-url: the NATS URL of h:4222 has the scheme "http"`},
		{[]string{"--nats-creds", os.Args[0]}, "are for a NATS outside: give its --nats-url"},
		{[]string{"--nats-url", "tls://h:4222", "--nats-ca", "/nowhere"}, "--nats-ca: the authorities: open /nowhere"},
		{[]string{"--nats-url", "tls://h:4222", "--nats-creds", "/nowhere"}, "--nats-creds: the credentials: open /nowhere"},
		{[]string{"--nats-url", "tls://h:4222", "--nats-key", "/nowhere"}, "--nats-cert: a client certificate has two files"},
		{[]string{"--nats-url", " , "}, "--nats-url: there is no NATS URL"},
		{[]string{"--redis-url", "h:6379"}, "--redis-url: "},
		{[]string{"--lease-ttl", "1500ms"}, "--lease-ttl: the lease TTL is 1.5s: set it to whole seconds"},
		{[]string{"--lease-ttl", "0"}, "--lease-ttl is 0s"},
		{[]string{"--channel-backlog-bytes", "lots"}, `--channel-backlog-bytes is "lots"`},
		{[]string{"--limit-channel", "fast"}, `--limit-channel: "fast" is no rate`},
		{[]string{"--log-level", "loud"}, `--log-level: log level "loud"`},
		{[]string{"--log-format", "xml"}, `--log-format: log format "xml"`},
		{[]string{"--ops-token", "tiny"}, "--ops-token: "},
		{[]string{"--data-dir", os.Args[0]}, "is no directory"},
		{[]string{"--seal-key", "short"}, "--seal-key: a sealing key is 32 random bytes in base64: make one with `openssl rand -base64 32`"},
	} {
		err := opened(flagsOf(t, tc.args...))
		require.ErrorContains(t, err, tc.want, tc.args)
		require.NotContains(t, err.Error(), "short", "a secret stays secret")
	}
	f := flagsOf(t)
	f.dataDir = "" // a service in a process of its own
	require.ErrorContains(t, opened(f), "--nats-url is missing: ")
	require.ErrorContains(t, opened(f), "--redis-url is missing: ")
	require.ErrorContains(t, opened(f), "--seal-key is missing: make one with `openssl rand -base64 32` and give it to every service")
}

func TestGoodFlags(t *testing.T) {
	f := flagsOf(t, "--sync", "250ms", "--store-max", "300MiB", "--allow-cidrs", "127.0.0.0/8,::1/128", "--allow-ports", "80,9000,",
		"--nats-url", "nats://h:4222", "--replicas", "3", "--seal-key", base64.StdEncoding.EncodeToString(make([]byte, registry.KeySize)))
	require.NoError(t, opened(f))
	always, interval, err := f.syncing()
	require.NoError(t, err)
	require.False(t, always)
	require.Equal(t, 250*time.Millisecond, interval)
	g, err := f.guard()
	require.NoError(t, err)
	require.Len(t, g.Allow, 2)
	require.Equal(t, []uint16{80, 9000}, g.Ports)
	g, err = flagsOf(t, "--allow-ports", "any").guard()
	require.NoError(t, err)
	require.True(t, g.AnyPort)
}

func TestDataDirKeepsKeyAndToken(t *testing.T) {
	f := flagsOf(t)
	token, err := f.ensureOpsToken()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(token.Reveal()), 40)
	again, err := f.ensureOpsToken()
	require.NoError(t, err)
	require.Equal(t, token.Reveal(), again.Reveal())
	_, err = f.sealer()
	require.NoError(t, err)
	for _, name := range []string{opsTokenFile, "seal.key"} {
		info, err := os.Stat(filepath.Join(f.dataDir, name))
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "for its owner's eyes only")
	}
	given, err := flagsOf(t, "--ops-token", "mine").ensureOpsToken()
	require.NoError(t, err)
	require.Equal(t, "mine", given.Reveal())

	f.dataDir = filepath.Join(f.dataDir, opsTokenFile) // a file
	_, err = f.ensureOpsToken()
	require.ErrorContains(t, err, "the ops token: ")
}

func TestDefaultDataDir(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	require.Equal(t, "/state/parley", defaultDataDir())
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "/home/ada")
	require.Equal(t, "/home/ada/.local/state/parley", defaultDataDir())
	t.Setenv("HOME", "")
	require.Equal(t, "parley-data", defaultDataDir())
}

func TestStartThatFailsClosesWhatItOpened(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	f := flagsOf(t, "--log-level", "error", "--store-max", "300MiB", "--sync", "1s", "--admin-addr", taken.Addr().String())
	_, err = openPlatform(t.Context(), f)
	require.ErrorContains(t, err, "address already in use")
	// The broker has let go of the directory: a second start gets as far.
	_, err = openPlatform(t.Context(), f)
	require.ErrorContains(t, err, "address already in use")

	f = flagsOf(t, "--log-level", "error", "--nats-url", "nats://joe:s3cret@127.0.0.1:1", "--start-timeout", "1s")
	_, err = openPlatform(t.Context(), f)
	require.ErrorContains(t, err, "not ready within --start-timeout 1s")
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.NotContains(t, err.Error(), "s3cret")
	f = flagsOf(t)
	f.dataDir = ""
	_, err = openPlatform(t.Context(), f)
	require.ErrorContains(t, err, "--nats-url is missing")
}

func TestIngestLimits(t *testing.T) {
	l, err := flagsOf(t).ingestLimits()
	require.NoError(t, err)
	require.Zero(t, l, "no limit unless told")
	l, err = flagsOf(t, "--limit-token", "10/s", "--limit-channel", "100/s:200", "--limit-conversation", "30/m").ingestLimits()
	require.NoError(t, err)
	require.Equal(t, []string{"10/s", "100/s:200", "30/m"}, []string{l.Token.String(), l.Channel.String(), l.Conversation.String()})
	_, err = flagsOf(t, "--limit-conversation", "fast").ingestLimits()
	require.ErrorContains(t, err, `--limit-conversation: "fast" is no rate`)
}
