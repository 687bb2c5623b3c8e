package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	const (
		pass       = `{"Action":"pass","Package":"p","Test":"TestA"}`
		pkgPass    = `{"Action":"pass","Package":"p","Elapsed":1.5}`
		pkgFail    = `{"Action":"fail","Package":"p","Elapsed":1.5}`
		skipOut    = `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:9: no redis-server\n"}`
		skip       = `{"Action":"skip","Package":"p","Test":"TestB"}`
		failOut    = `{"Action":"output","Package":"p","Test":"TestC/x","Output":"    c_test.go:9: boom\n"}`
		failSub    = `{"Action":"fail","Package":"p","Test":"TestC/x"}`
		passSub    = `{"Action":"pass","Package":"p","Test":"TestC/y"}`
		failParent = `{"Action":"fail","Package":"p","Test":"TestC"}`
		leak       = `{"Action":"output","Package":"p","Output":"goleak: found a goroutine\n"}`
		noTests    = `{"Action":"skip","Package":"q"}`
		buildOut   = `{"ImportPath":"p","Action":"build-output","Output":"a.go:1: syntax error\n"}`
		buildFail  = `{"ImportPath":"p","Action":"build-fail"}`
	)
	tests := map[string]struct {
		events  []string
		exit    string
		noSkips bool
		line    string
		ok      bool
		says    []string
	}{
		"passes":                 {events: []string{pass, pkgPass}, line: "1 passed, 0 failed", ok: true, says: []string{"pass     1.50s  p"}},
		"package without tests":  {events: []string{pass, pkgPass, noTests}, noSkips: true, line: "1 passed, 0 failed", ok: true, says: []string{"no test files: q"}},
		"skip tolerated":         {events: []string{pass, skipOut, skip, pkgPass}, line: "1 passed, 0 failed", ok: true, says: []string{"skipped: p TestB", "no redis-server"}},
		"skip refused":           {events: []string{pass, skipOut, skip, pkgPass}, noSkips: true, line: "1 passed, 1 failed", says: []string{"skipped: p TestB"}},
		"subtest counts once":    {events: []string{failOut, failSub, passSub, failParent, pkgFail}, exit: "1", line: "1 passed, 1 failed", says: []string{"boom"}},
		"parent fails by itself": {events: []string{passSub, failParent, pkgFail}, exit: "1", line: "1 passed, 1 failed"},
		"package fails by itself": {
			events: []string{pass, leak, pkgFail}, exit: "1", line: "1 passed, 1 failed", says: []string{"goleak: found"},
		},
		"does not build":        {events: []string{buildOut, buildFail, pkgFail}, exit: "1", line: "0 passed, 1 failed", says: []string{"syntax error"}},
		"killed half way":       {events: []string{pass}, exit: "2", line: "1 passed, 1 failed", says: []string{"exit status 2"}},
		"nothing ran":           {events: []string{noTests}, line: "0 passed, 0 failed", says: []string{"no test ran"}},
		"words of the go tool":  {events: []string{"go: warning", pass, pkgPass}, line: "1 passed, 0 failed", ok: true, says: []string{"go: warning"}},
		"exit without a reason": {events: []string{pass, pkgPass}, exit: "1", line: "1 passed, 1 failed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			events := filepath.Join(dir, "events")
			require.NoError(t, os.WriteFile(events, []byte(strings.Join(tt.events, "\n")+"\n"), 0o600))
			raw, summary := filepath.Join(dir, "raw"), filepath.Join(dir, "summary")
			args := []string{"-json", raw, "-summary", summary}
			if tt.noSkips {
				args = append(args, "-no-skips")
			}
			exit := tt.exit
			if exit == "" {
				exit = "0"
			}
			args = append(args, "sh", "-c", `cat "$0"; exit "$1"`, events, exit)

			var out, errOut strings.Builder
			ok, err := run(t.Context(), args, &out, &errOut)

			require.NoError(t, err)
			require.Equal(t, tt.ok, ok, out.String())
			require.True(t, strings.HasSuffix(out.String(), "\n"+tt.line+"\n"), out.String())
			for _, word := range tt.says {
				require.Contains(t, out.String(), word)
			}
			written, err := os.ReadFile(summary)
			require.NoError(t, err)
			require.Equal(t, tt.line+"\n", string(written))
			kept, err := os.ReadFile(raw)
			require.NoError(t, err)
			require.Equal(t, strings.Join(tt.events, "\n")+"\n", string(kept))
		})
	}
}

func TestRunRefuses(t *testing.T) {
	var out, errOut strings.Builder
	_, err := run(t.Context(), nil, &out, &errOut)
	require.ErrorContains(t, err, "give the command")

	_, err = run(t.Context(), []string{filepath.Join(t.TempDir(), "missing")}, &out, &errOut)
	require.ErrorContains(t, err, "start the tests")

	_, err = run(t.Context(), []string{"-json", filepath.Join(t.TempDir(), "no", "dir"), "true"}, &out, &errOut)
	require.ErrorContains(t, err, "keep the raw events")
}
