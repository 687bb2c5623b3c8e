package main

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/ops"
)

func TestPausedServeKeepsMessagesForLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	serve := []string{
		"serve", "--data-dir", dir, "--public-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0",
		"--store-max", "300MiB", "--sync", "1s", "--log-level", "error",
	}
	t.Run("paused", func(t *testing.T) {
		at := background(t, append(serve, "--paused")...)
		tell := func(args ...string) string {
			r := parley(t, nil, "", append(args, "--ops-url", at.AdminURL, "--data-dir", dir, "--json")...)
			require.Equal(t, exitOK, r.code, r.stderr)
			return r.stdout
		}
		tell("bot", "create", "b", "--kind", "echo")
		tell("channel", "create", "c", "--bot", "b")
		var token ops.Token
		require.NoError(t, json.Unmarshal([]byte(tell("token", "create", "--channel", "c")), &token))
		r := parley(t, nil, "", "send", "--url", at.PublicURL, "--channel", "c", "--token", token.Token, "--conversation", "ann", "hello")
		require.Equal(t, exitOK, r.code, r.stderr)

		var s ops.Status
		require.NoError(t, json.Unmarshal([]byte(tell("status")), &s))
		require.EqualValues(t, 1, s.Stages[0].Waiting)
		for _, stage := range s.Owners {
			for _, p := range stage.Partitions {
				require.Empty(t, p.Instance, "nobody works")
			}
		}
		for _, h := range s.Health {
			require.True(t, h.OK, h.Name)
		}
		require.Contains(t, parley(t, nil, "", "status", "--ops-url", at.AdminURL, "--data-dir", dir).stdout, "none")
	})
	t.Run("at work again", func(t *testing.T) {
		at := background(t, serve...)
		require.Eventually(t, func() bool {
			var s ops.Status
			r := parley(t, nil, "", "status", "--ops-url", at.AdminURL, "--data-dir", dir, "--json")
			return json.Unmarshal([]byte(r.stdout), &s) == nil && s.Stages[0].Waiting == 0 &&
				s.Waiting[0].Answered == 1 && s.Waiting[1].Answered == 1
		}, 30*time.Second, 10*time.Millisecond)
	})
}
