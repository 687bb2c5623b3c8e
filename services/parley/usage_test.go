package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// What --help prints is all that somebody may have.
func TestHelpSuffices(t *testing.T) {
	walk(newRoot(&binder{}), func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		require.NotEmpty(t, c.Short, c.CommandPath())
		if strings.ContainsAny(strings.ReplaceAll(c.Use, "[flags]", ""), " ") {
			require.NotEmpty(t, c.Long+c.Example, "%s takes arguments: say more, or give an example", c.CommandPath())
		}
		for _, set := range []*pflag.FlagSet{c.LocalFlags(), c.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) { require.NotEmpty(t, f.Usage, "--%s of %s", f.Name, c.CommandPath()) })
		}
	})
}

// Each line of an example is a command line that its command takes.
func TestExamplesParse(t *testing.T) {
	seen := map[string]bool{}
	walk(newRoot(&binder{}), func(listed *cobra.Command) {
		for line := range strings.Lines(listed.Example) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			words := split(t, line)
			require.Equal(t, "parley", words[0], line)
			root := newRoot(&binder{})
			c, args, err := root.Find(words[1:])
			require.NoError(t, err, line)
			require.Equal(t, listed.CommandPath(), c.CommandPath(), line)
			require.NoError(t, c.ParseFlags(args), line)
			require.NoError(t, c.ValidateArgs(c.Flags().Args()), line)
			require.NoError(t, c.ValidateRequiredFlags(), line)
			require.NoError(t, c.ValidateFlagGroups(), line)
			seen[strings.TrimPrefix(c.CommandPath(), "parley ")] = true
		}
	})
	for command := range examples {
		require.True(t, seen[command], "the examples of %q are of no command", command)
	}
}

// split splits a line as a shell does that knows quotes, and no more.
func split(t *testing.T, line string) []string {
	t.Helper()
	var words []string
	var quote rune
	word, begun := strings.Builder{}, false
	for _, r := range line {
		switch {
		case quote == 0 && (r == '"' || r == '\''):
			quote, begun = r, true
		case r == quote:
			quote = 0
		case quote == 0 && r == ' ':
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	require.Zero(t, quote, "a quote is open: %s", line)
	if begun {
		words = append(words, word.String())
	}
	return words
}

func TestManPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1764547200")
	dir := t.TempDir()
	r := parley(t, nil, "", "man", dir)
	require.Equal(t, exitOK, r.code, r.stderr)
	pages := dirNames(t, dir)
	require.Contains(t, pages, "parley.1")
	require.Contains(t, pages, "parley-endpoint-rotate-secret.1")
	require.False(t, slices.ContainsFunc(pages, func(p string) bool { return strings.Contains(p, "relay") }), "what is hidden has none")
	require.Contains(t, readFile(t, dir, "parley-serve.1"), `$XDG_STATE_HOME`, "no page says where its maker's files are")
	require.Contains(t, readFile(t, dir, "parley-serve.1"), "Dec 2025")
}
