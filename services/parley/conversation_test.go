package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/ops"
)

func TestConversationErase(t *testing.T) {
	env, letter := opsServer(t)
	args := []string{"conversation", "erase", "shop", letter.ConversationID}
	for range 2 {
		out := good(t, env, args...)
		require.Regexp(t, `(?m)^would erase +shop +anna\?\[2J$`, out)
		require.Regexp(t, `(?m)^ +dead letters +2$`, out)
		require.Contains(t, out, "nothing is erased: give --yes")
	}
	out := good(t, env, append(args, "--yes")...)
	require.Regexp(t, `(?m)^erased +shop +anna\?\[2J$`, out)
	require.Regexp(t, `(?m)^ +dead letters +2$`, out)
	require.Contains(t, out, "not complete: 1 lanes whose owner does it as soon as it can, 0 work queues", "no worker runs here")
	require.Empty(t, goodJSON[ops.DeadLetterPage](t, env, "dead", "list").Items)
	again := goodJSON[ops.Erased](t, env, args...)
	require.Equal(t, ops.Erased{ChannelID: "shop", ConversationID: letter.ConversationID, DryRun: true}, again)

	r := parley(t, env, "", "conversation", "erase", "shop")
	require.Equal(t, exitUsage, r.code)
	r = parley(t, env, "", "conversation", "erase", "Shop", "x", "--yes")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "channel")
}
