package ready_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/parley/ready"
)

func TestWriteThenWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ready")
	want := ready.File{PublicURL: "http://127.0.0.1:1", AdminURL: "http://127.0.0.1:2", OpsToken: "t", PID: 7}
	go func() { _ = ready.Write(path, want) }()

	got, err := ready.Wait(t.Context(), path, nil)

	require.NoError(t, err)
	require.Equal(t, want, got)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it may hold a token")
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing temporary stays")
}

func TestWaitGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ready")
	exited := make(chan struct{})
	close(exited)
	_, err := ready.Wait(t.Context(), path, exited)
	require.ErrorContains(t, err, "ended before it was ready")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = ready.Wait(ctx, path, nil)
	require.ErrorIs(t, err, context.Canceled)

	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = ready.Wait(t.Context(), path, nil)
	require.ErrorContains(t, err, path)
}
