package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/ledger/redistest"
	"github.com/parleyhq/parley/pkg/registry"
)

// someKey is a sealing key's form.
var someKey = base64.StdEncoding.EncodeToString(make([]byte, registry.KeySize))

func writeFile(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

func readFile(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(data)
}

func dirNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestConfigCheckTellsAllAtOnce(t *testing.T) {
	file := writeFile(t, "parley.yaml", "partitions: 300\nstore-max: 100MiB\nconut: 1\njournal-age: soon\nseal-key: hunter2\nlog-level: [a, b]\n", 0o644)
	r := parley(t, []string{
		"PARLEY_CONFIG=" + file, "PARLEY_LOG_FORMAT=xml", "PARLEY_LOG_FROMAT=json", "PARLEY_OPS_TOKEN_FILE=/nowhere/token",
		"PARLEY_INGEST_SERVICE_HOST=10.0.0.1",
	}, "", "config", "check", "--", "--data-dir", t.TempDir(), "--admin-addr", "8081")
	require.Equal(t, exitFailed, r.code)
	require.NotContains(t, r.stdout+r.stderr, "hunter2")
	got := strings.Split(strings.TrimSpace(strings.ReplaceAll(r.stdout, file, "FILE")), "\n")
	require.ElementsMatch(t, []string{
		"error: environment PARLEY_LOG_FROMAT is no flag of any command: did you mean PARLEY_LOG_FORMAT?",
		"error: environment PARLEY_OPS_TOKEN_FILE: open /nowhere/token: no such file or directory",
		"error: FILE:3: conut is no flag of any command: keys are the flags' names without dashes in front",
		`error: FILE:4: journal-age: not a value that --journal-age (duration) takes: time: invalid duration "soon"`,
		"error: FILE:6: log-level: not a value that --log-level (string) takes: takes one value, not a list of 2",
		"error: FILE:5: seal-key: --seal-key: a sealing key is 32 random bytes in base64: make one with `openssl rand -base64 32`",
		"error: FILE:1: partitions: partitions is 300: set it to 1..256",
		"error: FILE:2: store-max: the store is 104857600 bytes: give it at least 268435456",
		`error: environment PARLEY_LOG_FORMAT: --log-format: log format "xml": choose json or console`,
		`error: command line: --admin-addr: listen address "8081": address 8081: missing port in address: write it as host:port, such as 127.0.0.1:8080`,
		"warning: FILE:5: seal-key: everybody on this machine can read the secret in FILE: chmod o-r it",
	}, got)
	require.Equal(t, fmt.Sprintf("parley: settings to change: %d\n", len(got)-1), r.stderr)
}

func TestConfigCheck(t *testing.T) {
	urls := []string{"PARLEY_NATS_URL=nats://h:4222", "PARLEY_REDIS_URL=redis://h:6379/0"}
	for name, tc := range map[string]struct {
		args, env []string
		code      int
		want      []string // of stdout and stderr
	}{
		"nothing is set": {args: []string{"--", "--data-dir", filepath.Join(t.TempDir(), "new")}, want: []string{"the settings of serve will do"}},
		"processes":      {args: []string{"--for", "all"}, env: append([]string{"PARLEY_SEAL_KEY=" + someKey}, urls...), want: []string{"will do"}},
		"a process without what it needs": {
			args: []string{"--for", "all"}, code: exitFailed,
			want: []string{"error: --nats-url is missing", "error: --redis-url is missing", "error: --seal-key is missing", "settings to change: 3"},
		},
		"a flag of another service": {args: []string{"--for", "ingest", "--", "--lease-ttl", "1s"}, code: exitUsage, want: []string{"ingest: unknown flag: --lease-ttl"}},
		"no such service":           {args: []string{"--for", "demo"}, code: exitUsage, want: []string{`--for has "demo"`}},
		"no such file":              {args: []string{"--config", "/nowhere.yaml"}, code: exitFailed, want: []string{"error: --config: open /nowhere.yaml"}},
		"a quota that bounds nothing": {
			env: []string{"PARLEY_CHANNEL_BACKLOG_BYTES=20GiB"}, args: []string{"--", "--data-dir", t.TempDir()},
			want: []string{"warning: environment PARLEY_CHANNEL_BACKLOG_BYTES: --channel-backlog-bytes is 20GiB, and --store-max 10GiB", "will do"},
		},
		"a secret that all can read": {
			env:  append([]string{"PARLEY_SEAL_KEY_FILE=" + writeFile(t, "key", someKey+"\n", 0o644)}, urls...),
			args: []string{"--for", "ingest"}, want: []string{"warning: environment PARLEY_SEAL_KEY_FILE: everybody", "will do"},
		},
		"a data directory with a key that is none": {
			args: []string{"--", "--data-dir", filepath.Dir(writeFile(t, "seal.key", "x", 0o600))}, code: exitFailed, want: []string{"seal.key: a sealing key is"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := parley(t, tc.env, "", append([]string{"config", "check"}, tc.args...)...)
			require.Equal(t, tc.code, r.code, r.stdout+r.stderr)
			for _, want := range tc.want {
				require.Contains(t, r.stdout+r.stderr, want)
			}
		})
	}
}

func TestConfigCheckMakesNothing(t *testing.T) {
	dir := t.TempDir()
	r := parley(t, nil, "", "config", "check", "--", "--data-dir", filepath.Join(dir, "new"))
	require.Equal(t, exitOK, r.code, r.stdout)
	require.Empty(t, dirNames(t, dir))
}

func TestConfigCheckAsJSON(t *testing.T) {
	r := parley(t, []string{"PARLEY_PARTITIONS=0"}, "", "config", "check", "--json", "--", "--data-dir", t.TempDir())
	require.Equal(t, exitFailed, r.code)
	var got report
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &got))
	require.Equal(t, report{[]string{"serve"}, []finding{
		{severityError, "environment PARLEY_PARTITIONS", "partitions is 0: set it to 1..256"},
	}}, got)
}

func TestConfigCheckConnects(t *testing.T) {
	nats, redis := brokertest.NewServer(t).URL(), redistest.Start(t).URL
	for name, tc := range map[string]struct {
		nats, redis string
		code        int
		want        string
	}{
		"both are there": {nats, redis, exitOK, "will do"},
		"no NATS":        {"nats://joe:s3cret@127.0.0.1:1", redis, exitFailed, "error: environment PARLEY_NATS_URL: --nats-url: NATS at 127.0.0.1:1"},
		"no Redis":       {nats, "redis://:s3cret@127.0.0.1:1", exitFailed, "error: environment PARLEY_REDIS_URL: --redis-url: asking Redis"},
	} {
		t.Run(name, func(t *testing.T) {
			env := []string{"PARLEY_NATS_URL=" + tc.nats, "PARLEY_REDIS_URL=" + tc.redis, "PARLEY_SEAL_KEY=" + someKey}
			r := parley(t, env, "", "config", "check", "--connect", "--for", "ingest")
			require.Equal(t, tc.code, r.code, r.stdout+r.stderr)
			require.Contains(t, r.stdout, tc.want)
			require.NotContains(t, r.stdout+r.stderr, "s3cret")
		})
	}
}

func TestConfigShow(t *testing.T) {
	file := writeFile(t, "parley.yaml", "store-max: 1GiB\nallow-cidrs: [10.0.0.0/8, 127.0.0.0/8]\n", 0o600)
	r := parley(t, []string{"PARLEY_SEAL_KEY=" + someKey, "PARLEY_LOG_LEVEL=warn"}, "",
		"config", "show", "--json", "--config", file, "--", "--sync", "1s", "--data-dir", t.TempDir())
	require.Equal(t, exitOK, r.code, r.stderr)
	require.NotContains(t, r.stdout, someKey)
	var list []shownSetting
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &list))
	got := map[string]shownSetting{}
	for _, s := range list {
		got[s.Name] = s
	}
	for _, want := range []shownSetting{
		{"serve", "store-max", "1GiB", file + ":1: store-max"},
		{"serve", "allow-cidrs", "[10.0.0.0/8,127.0.0.0/8]", file + ":2: allow-cidrs"},
		{"serve", "seal-key", "[redacted]", "environment PARLEY_SEAL_KEY"},
		{"serve", "log-level", "warn", "environment PARLEY_LOG_LEVEL"},
		{"serve", "sync", "1s", "command line"},
		{"serve", "partitions", "8", "default"},
		{"serve", "allow-ports", "80,443,8080,8443", "default"},
		{"serve", "channel-backlog-bytes", "61.44MiB", "default"},
	} {
		require.Equal(t, want, got[want.Name])
	}
	r = parley(t, []string{"PARLEY_PARTITIONS=x"}, "", "config", "show")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "environment PARLEY_PARTITIONS")
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// The reference is a file that works, and has every setting.
func TestReference(t *testing.T) {
	r := parley(t, nil, "", "config", "reference")
	require.Equal(t, exitOK, r.code, r.stderr)
	block := yamlBlock.FindStringSubmatch(r.stdout)
	require.NotNil(t, block)
	file := writeFile(t, "parley.yaml", block[1], 0o600)
	checked := parley(t, nil, "", "config", "check", "--config", file, "--", "--data-dir", t.TempDir())
	require.Equal(t, result{code: exitOK, stdout: "the settings of serve will do\n"}, checked)

	root := newRoot(&binder{})
	for _, name := range configurable {
		c, _, err := root.Find([]string{name})
		require.NoError(t, err)
		require.Equal(t, name, c.Name())
		for flag := range allFlags(c) {
			require.Regexp(t, `(?m)^(# ?)?`+flag+`:`, block[1], "of "+name)
			require.Contains(t, r.stdout, "`"+envName(flag)+"`")
		}
	}
	walk(root, func(c *cobra.Command) {
		for name, f := range allFlags(c) {
			if isSecret(f) {
				require.NotRegexp(t, `(?m)^`+name+`:`, block[1], "a secret has no value that works")
			}
		}
	})
}
