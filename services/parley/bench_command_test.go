package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

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
	root := newRoot()
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
