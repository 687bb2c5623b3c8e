package tutorial

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadRefusesWhatItWouldNotRun(t *testing.T) {
	for _, c := range []struct{ name, page, problem string }{
		{"no end", "text\n```sh\nls\n", "line 2: the block has no end"},
		{"a language without a file", "```yaml\na: b\n```\n", `line 1: a block of "yaml" is neither run, nor printed, nor a file`},
		{"no language", "```\nls\n```\n", `line 1: a block of "" is neither`},
		{"an unknown word", "\n\n```sh once\nls\n```\n", `line 3: a block can't be "once"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.page)
			require.ErrorContains(t, err, c.problem)
		})
	}
}

func TestRead(t *testing.T) {
	blocks, err := read("Save:\n```yaml file=a.yaml\na: b\n```\nand run `it`:\n```sh terminal=bot wait\none\ntwo\n```\n")
	require.NoError(t, err)
	require.Equal(t, []block{
		{line: 2, language: "yaml", file: "a.yaml", text: "a: b\n"},
		{line: 6, language: "sh", terminal: "bot", wait: true, text: "one\ntwo\n"},
	}, blocks)
}

func TestExpect(t *testing.T) {
	for _, c := range []struct {
		name, page, printed string
		matches             bool
	}{
		{"the same", "a\nb", "a\nb\n", true},
		{"one line less", "a\nb", "a\n", false},
		{"a line between", "a\nb", "a\nx\nb\n", false},
		{"a longer line", "a", "ab\n", false},
		{"lines left out", "a\n…\nb", "a\nx\ny\nb\n", true},
		{"a part left out", "at … of a", "at 1 of a\n", true},
		{"a dot is a dot", "a.c", "abc\n", false},
		{"ids", "accepted msg_…", "accepted msg_06h2v72vis1hei\n", true},
		{"another kind of id", "accepted msg_…", "accepted rpl_06h2v72vis1hei\n", false},
		{"lanes", "bot.crm.…  ann", "bot.crm.03174891976ddfb8c7deb160d9b5a9e2     ann\n", true},
		{"secrets", "whsec_… (keep)", "whsec_IRRFN+/a= (keep)\n", true},
		{"times", "2026-01-01 10:00:00.001  +0s  due in 2s", "2026-12-31 23:59:59.999  +1m2.5s  due in 40ms\n", true},
		{"numbers count", "3 messages", "4 messages\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.matches, expect(c.page).MatchString(masked(c.printed)))
		})
	}
}
