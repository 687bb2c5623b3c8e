package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWrite(t *testing.T) {
	var dep debug.Module
	require.NoError(t, query(t.Context(), &dep, "list", "-m", "-json", "github.com/stretchr/testify"))
	var b strings.Builder
	require.NoError(t, write(t.Context(), &b, &debug.BuildInfo{GoVersion: "go1.26", Deps: []*debug.Module{&dep}}))
	require.Contains(t, b.String(), "=== Go go1.")
	require.Contains(t, b.String(), "The Go Authors")
	require.Contains(t, b.String(), "=== github.com/stretchr/testify v")
	require.Contains(t, b.String(), "Mat Ryer")
}

func TestNotices(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		found []string // nil: refused
	}{
		{"licence and notice", []string{"LICENSE", "NOTICE.txt", "main.go", "README.md"}, []string{"LICENSE", "NOTICE.txt"}},
		{"two licences", []string{"LICENSE-APACHE", "LICENSE.MIT"}, []string{"LICENSE-APACHE", "LICENSE.MIT"}},
		{"British", []string{"licence.md"}, []string{"licence.md"}},
		{"copying", []string{"COPYING"}, []string{"COPYING"}},
		{"only code about licences", []string{"licenses.go", "main.go"}, nil},
		{"nothing", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range c.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name+"\n"), 0o600))
			}
			text, err := notices(dir)
			if c.found == nil {
				require.ErrorContains(t, err, "it can't be shipped")
				return
			}
			require.NoError(t, err)
			require.Equal(t, strings.Join(c.found, "\n\n"), text)
		})
	}
}
