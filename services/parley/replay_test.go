package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/replay"
	"github.com/parleyhq/parley/services/ops"
)

// A letter's message can't be decoded here, so a replay leaves both of them.
func TestReplayCommands(t *testing.T) {
	env, letter := opsServer(t)
	require.Regexp(t, `ID +ACTION`, good(t, env, "replay", "list"))
	dry := good(t, env, "dead", "replay", "--endpoint", "crm", "--dry-run")
	require.Contains(t, dry, "1 dead letters\n1 of them can't be decoded and would stay where they are\nthe first 1:\n")
	require.Contains(t, dry, letter.MessageID)

	none := parley(t, env, "", "dead", "replay")
	require.Equal(t, exitFailed, none.code)
	require.Contains(t, none.stderr, `neither a filter nor messages are given`)
	why := parley(t, env, "", "dead", "discard", letter.MessageID)
	require.Equal(t, exitFailed, why.code)
	require.Contains(t, why.stderr, "say why the letters are discarded")

	out := good(t, env, "dead", "replay", "--all", "--since", "1h", "--rate", "100", "--wait")
	require.Regexp(t, `(?ms)^state +done$.*^done +0 of 2$.*^left +2 that can't be decoded.*^rate +100 a second$`, out)

	made := goodJSON[ops.ReplayJob](t, env, "dead", "discard", letter.MessageID, "--endpoint", "crm", "--why", "a test")
	require.Equal(t, replay.Discard, made.Action)
	shown := good(t, env, "replay", "show", made.ID, "--wait")
	require.Regexp(t, `(?ms)^action +discard$.*^reason +a test$.*^done +1 of 1$.*^by +the bootstrap token$.*^ended `, shown)
	require.Contains(t, good(t, env, "dead", "list"), " archive ", "the other endpoint's stays")
	require.NotContains(t, good(t, env, "dead", "list"), " crm ")
	require.Regexp(t, `(?m)^`+made.ID+` +discard +done +1 +1 +0 `, good(t, env, "replay", "list"))
	for _, action := range []string{"pause", "resume", "cancel"} {
		ended := parley(t, env, "", "replay", action, made.ID)
		require.Equal(t, exitFailed, ended.code)
		require.Contains(t, ended.stderr, "the job has ended: it is done")
	}
	require.Regexp(t, `replay.create +\S*rpl_`, good(t, env, "audit", "list"))
}
