package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/ops"
)

func TestAudit(t *testing.T) {
	env, _ := opsServer(t)
	good(t, env, "bot", "create", "pizza")
	good(t, env, "channel", "create", "shop", "--bot", "pizza", "--name", strings.Repeat("shop", 30))
	good(t, env, "channel", "pause", "shop")
	good(t, env, "channel", "resume", "shop")

	out := good(t, env, "audit", "list")
	require.Regexp(t, `(?m)^[-0-9]+ [:0-9]+ +the bootstrap token +channel\.resume +shop +200 +\{"id":"shop".*…$`, out)
	require.Less(t, strings.Index(out, "channel.resume"), strings.Index(out, "channel.pause"), "newest first")
	require.Regexp(t, `(?m) bot\.create +pizza +201 `, out)
	require.NotContains(t, out, "more:")

	require.Regexp(t, `(?m)^more: --before \d+$`, good(t, env, "audit", "list", "--limit", "3"))
	page := goodJSON[ops.AuditPage](t, env, "audit", "list", "--kind", "channel", "--object", "shop", "--by", "the bootstrap token", "--since", "1h", "--limit", "2")
	require.Len(t, page.Items, 2)
	page = goodJSON[ops.AuditPage](t, env, "audit", "list", "--kind", "channel", "--before", page.Next)
	require.Len(t, page.Items, 1)
	require.Equal(t, "channel.create", page.Items[0].Action)
	require.Empty(t, goodJSON[ops.AuditPage](t, env, "audit", "list", "--until", "1h").Items)
	require.Empty(t, goodJSON[ops.AuditPage](t, env, "audit", "list", "--since", "2100-01-01").Items)

	for want, args := range map[string][]string{
		"this is no time":  {"--since", "yesterday"},
		"is no kind":       {"--kind", "x"},
		"set it to 1..500": {"--limit", "0"},
	} {
		r := parley(t, env, "", append([]string{"audit", "list"}, args...)...)
		require.NotEqual(t, exitOK, r.code)
		require.Contains(t, r.stderr, want)
	}
}

func TestParseWhen(t *testing.T) {
	now := time.Date(2026, 2, 1, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"":                          {},
		"90m":                       now.Add(-90 * time.Minute),
		"2026-01-31":                time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31T08:00:00+01:00": time.Date(2026, 1, 31, 7, 0, 0, 0, time.UTC),
	} {
		got, err := parseWhen(text, now)
		require.NoError(t, err)
		require.True(t, want.Equal(got), "%s: %s", text, got)
	}
	for _, bad := range []string{"-1h", "soon", "31.1.2026"} {
		_, err := parseWhen(bad, now)
		require.Error(t, err, bad)
	}
}
