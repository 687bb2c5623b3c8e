package bench

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func runOptions(t *testing.T) Options {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each child's end takes a second
	self, err := os.Executable()
	require.NoError(t, err)
	o := good()
	o.Binary, o.Rounds = self, 2
	return o
}

func TestRun(t *testing.T) {
	t.Setenv(fakeBinary, "works")
	leavesNothing(t)
	var progress bytes.Buffer

	r, err := Run(t.Context(), runOptions(t), &progress)

	require.NoError(t, err)
	require.Len(t, r.Rounds, 4)
	for i, kind := range []string{KindRelay, KindPipeline, KindRelay, KindPipeline} {
		require.Equal(t, kind, r.Rounds[i].Kind, "the two alternate")
		require.Equal(t, 100, r.Rounds[i].Delivered)
	}
	require.Equal(t, 4, strings.Count(progress.String(), "\n"))
	require.Positive(t, r.Ratio.Delivered)
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		require.Positive(t, r.Median[KindPipeline].PeakRSS[KindPipeline])
	}
}

func TestRunWithARedisOfItsOwn(t *testing.T) {
	t.Setenv(fakeBinary, "works")
	o := runOptions(t)
	bin := t.TempDir()
	require.NoError(t, os.Symlink(o.Binary, filepath.Join(bin, "redis-server")))
	t.Setenv("PATH", bin)
	o.Redis, o.Rounds, o.Paused = true, 1, true

	r, err := Run(t.Context(), o, io.Discard)

	require.NoError(t, err)
	require.Len(t, r.Rounds, 1, "nothing to compare with")
	require.Contains(t, r.Rounds[0].CPU, "redis")
	require.Contains(t, r.Rounds[0].CPU, "serve")
	require.InDelta(t, r.Rounds[0].CPU["serve"]+r.Rounds[0].CPU["redis"], r.Rounds[0].CPU[KindPipeline], 1e-6)
	var table bytes.Buffer
	require.NoError(t, r.WriteTable(&table))
	require.Contains(t, table.String(), "CPU µs/message, redis")
	require.NotContains(t, table.String(), "delivered")

	t.Setenv("PATH", t.TempDir())
	_, err = Run(t.Context(), o, io.Discard)
	require.ErrorContains(t, err, "--redis starts a redis-server: install one")
}

func TestRunSaysWhyAProcessDidNotStart(t *testing.T) {
	t.Setenv(fakeBinary, "broken")
	_, err := Run(t.Context(), runOptions(t), &bytes.Buffer{})
	require.ErrorContains(t, err, "serve: the process ended before it was ready")
	require.ErrorContains(t, err, "the disk is full")
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Setenv(fakeBinary, "works")
	ctx, cancel := context.WithCancel(t.Context())
	o := runOptions(t)
	o.Messages = maxMessages
	ended := make(chan error, 1)
	go func() {
		_, err := Run(ctx, o, io.Discard)
		ended <- err
	}()
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}
