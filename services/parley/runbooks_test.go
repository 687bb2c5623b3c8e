package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every command in the runbooks is one that there is, with the flags that it has.
func TestRunbooksCommandsExist(t *testing.T) {
	text, err := os.ReadFile("../../docs/runbooks.md")
	require.NoError(t, err)
	commands := regexp.MustCompile("`parley ([a-z][^`]*)`").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(commands), 20)
	for _, c := range commands {
		cmd, rest, err := newRoot(&binder{}).Find(strings.Fields(c[1]))
		require.NoError(t, err, c[1])
		require.True(t, cmd.Runnable() && !cmd.HasSubCommands(), c[1])
		for _, word := range rest {
			if flag, isFlag := strings.CutPrefix(word, "--"); isFlag {
				require.NotNil(t, cmd.Flag(flag), c[1])
			}
		}
	}
}
