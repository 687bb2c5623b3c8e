package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// beParley makes the test binary be the parley binary, for child processes.
const beParley = "TEST_BINARY_IS_PARLEY"

func TestMain(m *testing.M) {
	if os.Getenv(beParley) != "" {
		main()
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// result is what a command line came to.
type result struct {
	code           int
	stdout, stderr string
}

// parley runs a command line in this process.
func parley(t *testing.T, env []string, stdin string, args ...string) result {
	t.Helper()
	b := &binder{environ: env, readFile: os.ReadFile}
	return executeWith(t.Context(), newRoot(b), b, stdin, args...)
}

func execute(ctx context.Context, root *cobra.Command, env []string, stdin string, args ...string) result {
	return executeWith(ctx, root, &binder{environ: env, readFile: os.ReadFile}, stdin, args...)
}

func executeWith(ctx context.Context, root *cobra.Command, b *binder, stdin string, args ...string) result {
	var out, errs bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	b.warnings = &errs
	code := run(ctx, root, b, args, &errs)
	return result{code, out.String(), errs.String()}
}

func TestExitCodes(t *testing.T) {
	for name, tc := range map[string]struct {
		args   []string
		env    []string
		code   int
		stderr string
	}{
		"good":             {args: []string{"version"}, code: exitOK},
		"help":             {args: []string{"help"}, code: exitOK},
		"unknown command":  {args: []string{"serv"}, code: exitUsage, stderr: `unknown command "serv"`},
		"unknown flag":     {args: []string{"health", "--ulr", "x"}, code: exitUsage, stderr: "unknown flag: --ulr"},
		"bad value":        {args: []string{"bench", "--rounds", "x"}, code: exitUsage, stderr: "--rounds"},
		"missing flag":     {args: []string{"send", "hello"}, code: exitUsage, stderr: `"channel", "conversation" not set`},
		"missing argument": {args: []string{"send"}, code: exitUsage, stderr: "accepts 1 arg"},
		"bad environment":  {args: []string{"bench"}, env: []string{"PARLEY_ROUNDS=many"}, code: exitUsage, stderr: "environment PARLEY_ROUNDS"},
		"failure":          {args: []string{"health", "--url", "http://127.0.0.1:1/readyz"}, code: exitFailed, stderr: "not ready"},
	} {
		t.Run(name, func(t *testing.T) {
			r := parley(t, tc.env, "", tc.args...)
			require.Equal(t, tc.code, r.code, r.stderr)
			require.Contains(t, r.stderr, tc.stderr)
			if tc.code != exitOK {
				require.True(t, strings.HasPrefix(r.stderr, "parley: "), r.stderr)
				require.Equal(t, 1, strings.Count(r.stderr, tc.stderr), "an error is printed once")
			}
		})
	}
}

func TestVersion(t *testing.T) {
	require.Equal(t, result{code: exitOK, stdout: "parley dev\n"}, parley(t, nil, "", "--version"))
	r := parley(t, nil, "", "version")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `^parley dev\n(commit +\S+\n)?(modified +yes\n)?go +go\S+\nplatform +\w+/\w+\n$`, r.stdout)
	var b build
	require.NoError(t, json.Unmarshal([]byte(parley(t, nil, "", "version", "--json").stdout), &b))
	require.Equal(t, thisBuild(), b)
}

// One name means one thing in the environment and the file, whatever the
// command; so flags of one name have one type.
func TestFlagsOfOneNameHaveOneType(t *testing.T) {
	types := map[string]string{}
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for name, f := range allFlags(c) {
			if seen, ok := types[name]; ok {
				require.Equal(t, seen, f.Value.Type(), "--%s of %s", name, c.CommandPath())
			}
			types[name] = f.Value.Type()
		}
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(newRoot(&binder{}))
	require.Contains(t, types, "ready-file")
}

// Only the root may bind flags: a PersistentPreRun below would replace it.
func TestNoCommandBypassesTheBinder(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		require.Nil(t, c.PersistentPreRun, c.CommandPath())
		require.Nil(t, c.PersistentPreRunE, c.CommandPath())
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(newRoot(&binder{}))
}

func TestSignals(t *testing.T) {
	signals := make(chan os.Signal)
	exited := make(chan int, 1)
	ctx, stop := untilSignal(t.Context(), signals, func(code int) { exited <- code })
	defer stop()
	require.NoError(t, ctx.Err())

	signals <- syscall.SIGTERM
	<-ctx.Done()
	require.ErrorContains(t, context.Cause(ctx), "stopped by SIGTERM")
	require.ErrorIs(t, context.Cause(ctx), context.Canceled)
	require.Empty(t, exited)

	signals <- syscall.SIGINT
	require.Equal(t, exitSignal+2, <-exited, "the second signal exits at once")
}

func TestInterruptedCommandSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	root := newRoot(&binder{})
	root.AddCommand(&cobra.Command{Use: "wait", RunE: func(cmd *cobra.Command, _ []string) error {
		cancel(&signalError{syscall.SIGINT})
		return cmd.Context().Err()
	}})
	r := execute(ctx, root, nil, "", "wait")
	require.Equal(t, result{code: exitSignal + 2, stderr: "parley: stopped by SIGINT\n"}, r)
}
