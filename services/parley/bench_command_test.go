package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/parley/bench"
	"github.com/parleyhq/parley/services/parley/ready"
)

// background runs a command until the test ends and returns its ready file.
func background(t *testing.T, args ...string) ready.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ready")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan result, 1)
	exited := make(chan struct{})
	root := newRoot(&binder{})
	go func() {
		ended <- execute(ctx, root, nil, "", append(args, "--ready-file", path)...)
		close(exited)
	}()
	t.Cleanup(func() {
		cancel()
		r := <-ended
		require.Equal(t, exitOK, r.code, r.stderr)
	})
	at, err := ready.Wait(t.Context(), path, exited)
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), at.PID)
	return at
}

func TestBenchSinkAndRelay(t *testing.T) {
	sink := background(t, "bench-sink")
	relay := background(t, "bench-relay", "--target", sink.PublicURL+"/")
	require.Equal(t, http.StatusNoContent, status(t, post(t, sink.PublicURL+"/round?number=1&conversations=1", "")))
	require.Equal(t, http.StatusBadRequest, status(t, post(t, sink.PublicURL+"/round?number=1&conversations=0", "")))

	require.Equal(t, http.StatusAccepted, status(t, post(t, relay.PublicURL, "parleybench/1/0/0/1/")))

	resp, err := http.DefaultClient.Do(get(t, sink.PublicURL+"/stats"))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var stats bench.SinkStats
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&stats))
	require.Equal(t, 1, stats.Unique)
}

func TestBenchRefusesWhatCannotWork(t *testing.T) {
	r := parley(t, nil, "", "bench", "--connections", "10", "--conversations", "5")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "--conversations is 5")
}

func post(t *testing.T, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, io.NopCloser(bytes.NewBufferString(body)))
	require.NoError(t, err)
	return req
}

func TestBenchScenariosRefuseWhatCannotWork(t *testing.T) {
	for command, want := range map[string]string{
		"backlog --backlog 0": "--backlog has 0",
		"parked --lanes 1":    "--lanes is 1",
		"idle --length 0s":    "--length is 0s",
		"bulkhead --rate 0":   "--rate is 0",
		"--batch 1001":        "--batch is 1001",
	} {
		r := parley(t, nil, "", append([]string{"bench"}, strings.Fields(command)...)...)
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.stderr, want)
	}
}

// The commands that docs/performance.md tells to run exist, with their flags.
func TestDocumentedBenchCommands(t *testing.T) {
	page, err := os.ReadFile("../../docs/performance.md")
	require.NoError(t, err)
	commands := regexp.MustCompile("`bin/parley (bench[^`]*)`").FindAllSubmatch(page, -1)
	require.Len(t, commands, 12)
	for _, c := range commands {
		cmd, args, err := newRoot(&binder{}).Find(strings.Fields(string(c[1])))
		require.NoError(t, err)
		require.NoError(t, cmd.ParseFlags(args), "%s", c[1])
		require.Empty(t, cmd.Flags().Args(), "%s", c[1])
	}
}

func TestBenchDefaultsThatHangOnOthers(t *testing.T) {
	for args, want := range map[string]bench.Options{
		"":                  {Connections: 64, Duration: 10 * time.Second},
		"--messages 5":      {Connections: 64, Messages: 5},
		"--batch 10":        {Connections: 8, Batch: 10, Duration: 10 * time.Second},
		"--connections 3":   {Connections: 3, Duration: 10 * time.Second},
		"--sink-delay 0s":   {Connections: 64, Duration: 10 * time.Second},
		"--duration 1s":     {Connections: 64, Duration: time.Second},
		"--sink-delay 11ms": {Connections: 64, Duration: 10 * time.Second, Setup: bench.Setup{SinkDelay: 11 * time.Millisecond}},
	} {
		var o bench.Options
		cmd := &cobra.Command{Use: "test"}
		addBenchLoad(cmd, &o)
		cmd.Flags().DurationVar(&o.SinkDelay, "sink-delay", 0, "")
		require.NoError(t, cmd.ParseFlags(strings.Fields(args)))
		settleBench(cmd, &o, false)
		o.Conversations, o.Rounds = 0, 0
		require.Equal(t, want, o, args)
	}
}
